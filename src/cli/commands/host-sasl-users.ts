/** `host sasl-user list|set|remove`: names and passwords for clients of other hosts. */
import { buffer as readAll } from 'node:stream/consumers';
import { methodSummary, paramHelp } from '../api-help.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

export const addSaslUsers: AddCommand = (host, cli) => {
  const users = host
    .command('sasl-user')
    .summary('who may come in from other hosts by name and password')
    .description(
      "Users for qemu+tls:// with SASL. They count where 'tls_auth' in section [libvirt] of vireod.toml is 'sasl'.",
    );
  addList(users, cli);
  addSet(users, cli);
  addRemove(users, cli);
};

const addList: AddCommand = (users, cli) => {
  users
    .command('list')
    .summary('list users')
    .description(methodSummary('host.sasl-users'))
    .action(async () => {
      const result = await cli.withClient((client) => client.call('host.sasl-users', {}));
      cli.out.result(result, () =>
        result.users.length === 0
          ? 'There are no users.\n'
          : cli.out.table(result.users, [
              { title: 'NAME', value: ({ name }) => name },
              { title: 'MAY', value: ({ readOnly }) => (readOnly ? 'look' : 'do everything') },
            ]),
      );
    });
};

const addSet: AddCommand = (users, cli) => {
  users
    .command('set')
    .alias('add')
    .summary('add a user, or give one another password')
    .description(
      `${methodSummary('host.set-sasl-user')} The password is read from standard input, since a command line can be seen by everybody.`,
    )
    .argument('<name>', paramHelp('host.set-sasl-user', 'name'))
    .option('--read-only', paramHelp('host.set-sasl-user', 'readOnly'))
    .action(async (name: string, { readOnly = false }: { readonly readOnly?: boolean }) => {
      if (cli.world.stdin.isTTY === true)
        cli.out.note('Type the password, then Enter and Ctrl-D; it shows on the screen.');
      const password = (await readAll(cli.world.stdin)).toString('utf8').replace(/\r?\n$/, '');
      if (password === '') throw badOption('the password', '', 'it is empty', 'give it on standard input');
      const user = await cli.withClient((client) =>
        client.call('host.set-sasl-user', { name, password, readOnly }),
      );
      cli.out.result(user, () => `User ${user.name} has a password.\n`);
    });
};

const addRemove: AddCommand = (users, cli) => {
  users
    .command('remove')
    .summary('remove a user')
    .description(methodSummary('host.remove-sasl-user'))
    .argument('<name>', paramHelp('host.remove-sasl-user', 'name'))
    .action(async (name: string) => {
      const user = await cli.withClient((client) => client.call('host.remove-sasl-user', { name }));
      cli.out.result(user, () => `User ${user.name} is gone.\n`);
    });
};
