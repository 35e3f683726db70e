/** `domain autostart|rename|title|description|metadata`: what is known about a domain, not what it is made of. */
import { Option } from 'commander';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { forEachDomain, nameOf, withDomain } from '../domains.ts';
import { safeLines } from '../format/table.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';
import { readDocument } from './domain-define.ts';

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

/** `title` and `description` show the text, set it when one is given, or remove it. */
function addText(field: 'title' | 'description'): AddCommand {
  return (parent, cli) => {
    parent
      .command(field)
      .summary(`show or set the ${field}`)
      .description(`Shows the ${field} of a domain, or sets it.`)
      .argument('<domain>', 'Name, uuid or id.')
      .argument('[text]', `The new ${field}.`)
      .option('--remove', 'Remove it.')
      .action((name: string, text: string | undefined, { remove = false }: { readonly remove?: boolean }) =>
        showOrSetText(cli, field, { name, text, remove }),
      );
  };
}

export const addTitle = addText('title');
export const addDescription = addText('description');

async function showOrSetText(
  cli: Cli,
  field: 'title' | 'description',
  wish: { readonly name: string; readonly text: string | undefined; readonly remove: boolean },
): Promise<void> {
  const { name, text, remove } = wish;
  if (remove && text !== undefined) throw badOption('--remove', text, `a new ${field} was given too`);
  const shown = await withDomain(cli, name, async (client, domain) => {
    if (!remove && text === undefined) return (await client.call('domain.get', { domain }))[field];
    const value = remove ? null : (text ?? null);
    await (field === 'title'
      ? client.call('domain.set-title', { domain, title: value })
      : client.call('domain.set-description', { domain, description: value }));
    return value;
  });
  cli.out.result({ [field]: shown }, () =>
    shown === null || text !== undefined ? '' : `${safeLines(shown)}\n`,
  );
}

interface MetadataOptions {
  readonly set?: string;
  readonly key?: string;
  readonly remove?: boolean;
  readonly inactive?: boolean;
}

export const addMetadata: AddCommand = (parent, cli) => {
  parent
    .command('metadata')
    .summary("show or set a program's metadata")
    .description('Shows the metadata element of one namespace, sets it, or removes it.')
    .argument('<domain>', 'Name, uuid or id.')
    .argument('<uri>', paramHelp('domain.get-metadata', 'uri'))
    .addOption(
      new Option('--set <file>', 'Set it to the element in this file; - is standard input.').conflicts(
        'remove',
      ),
    )
    .option('--key <prefix>', paramHelp('domain.set-metadata', 'key'))
    .option('--remove', 'Remove it.')
    .option('--inactive', paramHelp('domain.get-metadata', 'inactive'))
    .action((name: string, uri: string, options: MetadataOptions) =>
      metadata(cli, { name, uri, ...options }),
    );
};

async function metadata(
  cli: Cli,
  wish: MetadataOptions & { readonly name: string; readonly uri: string },
): Promise<void> {
  const { name, uri, key, remove = false, inactive = false } = wish;
  if (wish.set !== undefined && key === undefined)
    throw badOption('--set', wish.set, 'no prefix was given', 'give one with --key, like --key app');
  const xml = wish.set === undefined ? null : await readDocument(cli, wish.set);
  await withDomain(cli, name, async (client, domain) => {
    if (xml === null && !remove) {
      const result = await client.call('domain.get-metadata', { domain, uri, inactive });
      cli.out.result(result, () => `${safeLines(result.xml).trimEnd()}\n`);
      return;
    }
    await client.call('domain.set-metadata', { domain, uri, xml, ...(key !== undefined && { key }) });
    cli.out.result({ uri, xml }, () => `The metadata of '${name}' is ${remove ? 'removed' : 'set'}.\n`);
  });
}
