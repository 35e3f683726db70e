/** `secret list|show|define|undefine|set-value|value|xml`: passphrases and keys for disks and pools. */
import { readFile } from 'node:fs/promises';
import { buffer as readAll } from 'node:stream/consumers';
import type { Result } from '../../api/index.ts';
import { fileError } from '../../base/errors.ts';
import { methodSummary } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { safeLines } from '../format/table.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';
import { lenientHelp, readDocument, warnDropped } from './domain-define.ts';

type Secret = Result<'secret.list'>['secrets'][number];

const SECRET_HELP = 'Its uuid, or type and name of its usage: ceph:client.admin, volume:/var/lib/a.img.';

export const addSecret: AddCommand = (parent, cli) => {
  const secret = parent
    .command('secret')
    .summary('passphrases and keys for disks and pools')
    .description('Manages secrets. Definitions of disks and pools refer to them; values are kept apart.');
  addSecretList(secret, cli);
  addSecretShow(secret, cli);
  addSecretDefine(secret, cli);
  addSecretUndefine(secret, cli);
  addSecretSetValue(secret, cli);
  addSecretValue(secret, cli);
  addSecretXml(secret, cli);
};

const addSecretList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the secrets')
    .description(methodSummary('secret.list'))
    .action(async () => {
      const result = await cli.withClient((client) => client.call('secret.list', {}));
      cli.out.result(result, () =>
        result.secrets.length === 0
          ? "There are no secrets. 'vireo secret define --help' tells how to make one.\n"
          : cli.out.table(result.secrets, [
              { title: 'UUID', value: ({ uuid }) => uuid },
              { title: 'USAGE', value: usageText, shrinks: true },
              { title: 'VALUE', value: ({ hasValue }) => (hasValue ? 'set' : 'none') },
              { title: 'KEPT', value: keptText },
            ]),
      );
      for (const { file, reason } of result.quarantined)
        cli.out.warn(`a secret could not be read: ${reason} (now in ${file})`);
    });
};

function usageText({ usageType, usage }: Secret): string {
  return usageType === null ? '' : `${usageType} ${usage ?? ''}`;
}

function keptText(secret: Secret): string {
  return `${secret.ephemeral ? 'in memory' : 'stored'}${secret.private ? ', private' : ''}`;
}

const addSecretShow: AddCommand = (parent, cli) => {
  parent
    .command('show')
    .alias('info')
    .summary('show a secret without its value')
    .description(methodSummary('secret.get'))
    .argument('<secret>', SECRET_HELP)
    .action(async (secret: string) => {
      const found = await cli.withClient((client) => client.call('secret.get', { secret }));
      cli.out.result(found, () =>
        cli.out.facts([
          ['UUID', found.uuid, 'strong'],
          ['Usage', usageText(found)],
          ['Description', found.description ?? undefined],
          ['Value', found.hasValue ? 'set' : 'none'],
          ['Kept', keptText(found)],
        ]),
      );
    });
};

const addSecretDefine: AddCommand = (parent, cli) => {
  parent
    .command('define')
    .summary('store a definition from a file')
    .description(`${methodSummary('secret.define')} Its value is given with 'vireo secret set-value'.`)
    .argument('<file>', 'File with secret XML; - is standard input.')
    .option('--lenient', lenientHelp)
    .action(async (file: string, { lenient = false }: { readonly lenient?: boolean }) => {
      const xml = await readDocument(cli, file);
      const result = await cli.withClient((client) =>
        client.call('secret.define', { xml, strict: !lenient }),
      );
      warnDropped(cli, result.dropped);
      const { uuid, hasValue } = result.secret;
      const next = hasValue ? '' : ` Give it a value with 'vireo secret set-value ${uuid}'.`;
      cli.out.result(result, () => `Secret ${uuid} is stored.${next}\n`);
    });
};

const addSecretUndefine: AddCommand = (parent, cli) => {
  parent
    .command('undefine')
    .summary('forget a secret and its value')
    .description(methodSummary('secret.undefine'))
    .argument('<secret>', SECRET_HELP)
    .action(async (secret: string) => {
      const gone = await cli.withClient((client) => client.call('secret.undefine', { secret }));
      cli.out.result(gone, () => `Secret ${gone.uuid} and its value are gone.\n`);
    });
};

interface SetValueOptions {
  readonly file?: string;
  readonly base64?: boolean;
}

const addSecretSetValue: AddCommand = (parent, cli) => {
  parent
    .command('set-value')
    .summary('give a secret its value')
    .description(
      `${methodSummary('secret.set-value')} It is read from standard input, or a file, since a command line can be seen by everybody. One final new line of standard input does not count.`,
    )
    .argument('<secret>', SECRET_HELP)
    .option('--file <file>', 'Take the whole file as the value, byte for byte.')
    .option('--base64', 'What is read is base64.')
    .action((secret: string, options: SetValueOptions) => setValue(cli, secret, options));
};

async function setValue(cli: Cli, secret: string, { file, base64 = false }: SetValueOptions): Promise<void> {
  const read = await readValue(cli, file);
  const value = base64 ? read.toString('latin1').replace(/\s/g, '') : read.toString('base64');
  read.fill(0);
  if (value === '')
    throw badOption('the value', '', 'it is empty', 'give it on standard input, or with --file');
  const done = await cli.withClient((client) => client.call('secret.set-value', { secret, value }));
  cli.out.result(done, () => `Secret ${done.uuid} has its value.\n`);
}

async function readValue(cli: Cli, file: string | undefined): Promise<Buffer> {
  if (file !== undefined) {
    const path = cli.absolute(file);
    return readFile(path).catch((error: unknown) => {
      throw fileError(error, 'read the value', path);
    });
  }
  if (cli.world.stdin.isTTY === true)
    cli.out.note('Type the value, then Enter and Ctrl-D; it shows on the screen.');
  const all = await readAll(cli.world.stdin);
  return all.at(-1) === 0x0a ? all.subarray(0, -1) : all;
}

const addSecretValue: AddCommand = (parent, cli) => {
  parent
    .command('value')
    .summary('print the value of a secret that is not private')
    .description(`${methodSummary('secret.value')} It is printed in base64.`)
    .argument('<secret>', SECRET_HELP)
    .option('--plain', 'Print the bytes as they are, without a new line.')
    .action(async (secret: string, { plain = false }: { readonly plain?: boolean }) => {
      const result = await cli.withClient((client) => client.call('secret.value', { secret }));
      if (plain) cli.world.stdout.write(Buffer.from(result.value, 'base64'));
      else cli.out.result(result, () => `${result.value}\n`);
    });
};

const addSecretXml: AddCommand = (parent, cli) => {
  parent
    .command('xml')
    .alias('dumpxml')
    .summary('print the definition')
    .description(methodSummary('secret.xml'))
    .argument('<secret>', SECRET_HELP)
    .action(async (secret: string) => {
      const result = await cli.withClient((client) => client.call('secret.xml', { secret }));
      cli.out.result(result, () => safeLines(result.xml));
    });
};
