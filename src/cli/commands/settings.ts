/** `title`, `description` and `metadata` of any noun that has them: the same verbs, options and words for all. */
import { Option } from 'commander';
import { paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { safeLines } from '../format/table.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';
import { readDocument } from './domain-define.ts';

type TextField = 'title' | 'description';

/** Metadata as it is set; without `xml` it is removed. */
export interface MetadataChange {
  readonly uri: string;
  readonly xml: string | null;
  readonly key?: string;
}

/** How a noun's texts are read and written. */
export interface Settable {
  readonly noun: 'domain' | 'network';
  /** Help of the argument that names one. */
  readonly argumentHelp: string;
  readText(cli: Cli, name: string, field: TextField): Promise<string | null>;
  /** Null removes it. */
  writeText(cli: Cli, name: string, field: TextField, text: string | null): Promise<void>;
  readMetadata(cli: Cli, name: string, uri: string, inactive: boolean): Promise<{ readonly xml: string }>;
  writeMetadata(cli: Cli, name: string, change: MetadataChange): Promise<void>;
}

/** A verb that shows the text, sets it when one is given, or removes it. */
export function textCommand(what: Settable, field: TextField): AddCommand {
  return (parent, cli) => {
    parent
      .command(field)
      .summary(`show or set the ${field}`)
      .description(`Shows the ${field} of a ${what.noun}, or sets it.`)
      .argument(`<${what.noun}>`, what.argumentHelp)
      .argument('[text]', `The new ${field}.`)
      .option('--remove', 'Remove it.')
      .action((name: string, text: string | undefined, { remove = false }: { readonly remove?: boolean }) =>
        showOrSetText(cli, what, { name, field, text, remove }),
      );
  };
}

async function showOrSetText(
  cli: Cli,
  what: Settable,
  wish: {
    readonly name: string;
    readonly field: TextField;
    readonly text: string | undefined;
    readonly remove: boolean;
  },
): Promise<void> {
  const { name, field, text, remove } = wish;
  if (remove && text !== undefined) throw badOption('--remove', text, `a new ${field} was given too`);
  const isShown = !remove && text === undefined;
  const value = isShown ? await what.readText(cli, name, field) : (text ?? null);
  if (!isShown) await what.writeText(cli, name, field, value);
  cli.out.result({ [field]: value }, () => (!isShown || value === null ? '' : `${safeLines(value)}\n`));
}

interface MetadataOptions {
  readonly set?: string;
  readonly key?: string;
  readonly remove?: boolean;
  readonly inactive?: boolean;
}

/** `metadata`: one element of a program's own, by its namespace. */
export function metadataCommand(what: Settable): AddCommand {
  return (parent, cli) => {
    parent
      .command('metadata')
      .summary("show or set a program's metadata")
      .description('Shows the metadata element of one namespace, sets it, or removes it.')
      .argument(`<${what.noun}>`, what.argumentHelp)
      .argument('<uri>', paramHelp(`${what.noun}.get-metadata`, 'uri'))
      .addOption(
        new Option('--set <file>', 'Set it to the element in this file; - is standard input.').conflicts(
          'remove',
        ),
      )
      .option('--key <prefix>', paramHelp(`${what.noun}.set-metadata`, 'key'))
      .option('--remove', 'Remove it.')
      .option('--inactive', paramHelp(`${what.noun}.get-metadata`, 'inactive'))
      .action((name: string, uri: string, options: MetadataOptions) =>
        metadata(cli, what, { name, uri, ...options }),
      );
  };
}

async function metadata(
  cli: Cli,
  what: Settable,
  wish: MetadataOptions & { readonly name: string; readonly uri: string },
): Promise<void> {
  const { name, uri, key, remove = false, inactive = false } = wish;
  if (wish.set !== undefined && key === undefined)
    throw badOption('--set', wish.set, 'no prefix was given', 'give one with --key, like --key app');
  const xml = wish.set === undefined ? null : await readDocument(cli, wish.set);
  if (xml === null && !remove) {
    const result = await what.readMetadata(cli, name, uri, inactive);
    cli.out.result(result, () => `${safeLines(result.xml).trimEnd()}\n`);
    return;
  }
  await what.writeMetadata(cli, name, { uri, xml, ...(key !== undefined && { key }) });
  cli.out.result({ uri, xml }, () => `The metadata of '${name}' is ${remove ? 'removed' : 'set'}.\n`);
}
