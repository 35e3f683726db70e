/** `domain autostart|rename|title|description|metadata`: what is known about a domain, not what it is made of. */
import { Argument } from 'commander';
import { methodSummary, paramHelp } from '../api-help.ts';
import { DOMAIN_HELP, forEachDomain, nameOf, withDomain } from '../domains.ts';
import type { AddCommand } from './command.ts';
import { metadataCommand, type Settable, textCommand } from './settings.ts';

export const addAutostart: AddCommand = (parent, cli) => {
  parent
    .command('autostart')
    .summary('set whether a domain starts with the daemon')
    .description(methodSummary('domain.set-autostart'))
    .argument('<domain...>', 'Names, uuids or ids.')
    .option('--off', 'Do not start it with the daemon any more.')
    .option('--once', paramHelp('domain.set-autostart', 'once'))
    .action(
      (names: string[], { off = false, once = false }: { readonly off?: boolean; readonly once?: boolean }) =>
        forEachDomain(cli, names, async (client, domain) => {
          await client.call('domain.set-autostart', { domain, autostart: !off, once });
          const when = once ? 'when the host starts the next time' : 'with the daemon';
          const said = `Domain '${nameOf(domain)}' ${off ? 'does not start' : 'starts'} ${when}.`;
          return { document: { domain: nameOf(domain), autostart: !off, once }, said };
        }),
    );
};

const lifecycleEvents = ['poweroff', 'reboot', 'crash'] as const;
const lifecycleActions = ['destroy', 'restart', 'preserve', 'coredump-destroy', 'coredump-restart'] as const;

interface LifecycleOptions {
  readonly live?: boolean;
  readonly stored?: boolean;
}

export const addLifecycleAction: AddCommand = (parent, cli) => {
  parent
    .command('set-action')
    .summary('set what happens when the guest powers off, reboots or crashes')
    .description(methodSummary('domain.set-lifecycle-action'))
    .argument('<domain>', DOMAIN_HELP)
    .addArgument(new Argument('<event>', 'What the guest does.').choices(lifecycleEvents))
    .addArgument(new Argument('<action>', 'What comes of it.').choices(lifecycleActions))
    .option('--live', 'Only of the running guest.')
    .option('--stored', 'Only of the stored definition.')
    .action(
      async (
        name: string,
        event: (typeof lifecycleEvents)[number],
        action: (typeof lifecycleActions)[number],
        options: LifecycleOptions,
      ) => {
        const result = await withDomain(cli, name, (client, domain) =>
          client.call('domain.set-lifecycle-action', { domain, event, action, ...options }),
        );
        cli.out.result(result, () => `Domain '${name}': on ${event}, ${action}.\n`);
      },
    );
};

export const addRename: AddCommand = (parent, cli) => {
  parent
    .command('rename')
    .summary('give a domain another name')
    .description(methodSummary('domain.rename'))
    .argument('<domain>', 'Name or uuid.')
    .argument('<new-name>', 'Its new name.')
    .action(async (old: string, name: string) => {
      const result = await withDomain(cli, old, (client, domain) =>
        client.call('domain.rename', { domain, name }),
      );
      cli.out.result(result, () => `Domain '${old}' is now '${result.name}'.\n`);
    });
};

const domains: Settable = {
  noun: 'domain',
  argumentHelp: DOMAIN_HELP,
  readText: (cli, name, field) =>
    withDomain(cli, name, async (client, domain) => (await client.call('domain.get', { domain }))[field]),
  async writeText(cli, name, field, text) {
    await withDomain(cli, name, (client, domain) =>
      field === 'title'
        ? client.call('domain.set-title', { domain, title: text })
        : client.call('domain.set-description', { domain, description: text }),
    );
  },
  readMetadata: (cli, name, uri, inactive) =>
    withDomain(cli, name, (client, domain) => client.call('domain.get-metadata', { domain, uri, inactive })),
  async writeMetadata(cli, name, change) {
    await withDomain(cli, name, (client, domain) =>
      client.call('domain.set-metadata', { domain, ...change }),
    );
  },
};

export const addTitle = textCommand(domains, 'title');
export const addDescription = textCommand(domains, 'description');
export const addMetadata = metadataCommand(domains);
