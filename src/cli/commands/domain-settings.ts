/** `domain autostart|rename|title|description|metadata`: what is known about a domain, not what it is made of. */
import { methodSummary } from '../api-help.ts';
import { forEachDomain, nameOf, withDomain } from '../domains.ts';
import type { AddCommand } from './command.ts';
import { metadataCommand, type Settable, textCommand } from './settings.ts';

export const addAutostart: AddCommand = (parent, cli) => {
  parent
    .command('autostart')
    .summary('set whether a domain starts with the daemon')
    .description(methodSummary('domain.set-autostart'))
    .argument('<domain...>', 'Names, uuids or ids.')
    .option('--off', 'Do not start it with the daemon any more.')
    .action((names: string[], { off = false }: { readonly off?: boolean }) =>
      forEachDomain(cli, names, async (client, domain) => {
        await client.call('domain.set-autostart', { domain, autostart: !off });
        const said = `Domain '${nameOf(domain)}' ${off ? 'does not start' : 'starts'} with the daemon.`;
        return { document: { domain: nameOf(domain), autostart: !off }, said };
      }),
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
  argumentHelp: 'Name, uuid or id.',
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
