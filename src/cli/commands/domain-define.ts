/** `domain define|undefine|create-xml|xml|edit|delete`: definitions as documents. */
import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import { Option } from 'commander';
import type { Result } from '../../api/index.ts';
import { fileError } from '../../base/errors.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, forEachDomain, stateSentence, withDomain } from '../domains.ts';
import { editDefinition } from '../edit-definition.ts';
import { safeLines } from '../format/table.ts';
import { confirm } from '../prompt.ts';
import type { AddCommand } from './command.ts';
import { undoNote } from './undo.ts';

const FILE_HELP = 'File with domain XML; - is standard input.';

/** Reads a document named on the command line. @throws VirtError file.* */
export async function readDocument(cli: Cli, file: string): Promise<string> {
  if (file === '-') return readAll(cli.world.stdin);
  const path = cli.absolute(file);
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw fileError(error, 'read the definition', path);
  });
}

export function warnDropped(cli: Cli, dropped: readonly string[]): void {
  for (const path of dropped) cli.out.warn(`${path} is not known and was dropped`);
}

interface DefineOptions {
  readonly lenient?: boolean;
  readonly start?: boolean;
}

export const lenientHelp =
  'Drop elements and attributes that are not known, with a warning, instead of refusing them.';

export const addDefine: AddCommand = (parent, cli) => {
  parent
    .command('define')
    .summary('store a definition from a file')
    .description(methodSummary('domain.define'))
    .argument('<file>', FILE_HELP)
    .option('--start', paramHelp('domain.define', 'startAfter'))
    .option('--lenient', lenientHelp)
    .action(async (file: string, { lenient = false, start = false }: DefineOptions) => {
      const xml = await readDocument(cli, file);
      const result = await cli.withClient((client) =>
        client.call('domain.define', { xml, strict: !lenient, startAfter: start }),
      );
      reportDefined(cli, result, 'defined');
    });
};

function reportDefined(cli: Cli, result: Result<'domain.define'>, what: string): void {
  const { domain, dropped, warnings } = result;
  warnDropped(cli, dropped);
  for (const warning of warnings) cli.out.warn(warning);
  cli.out.result(result, () => `Domain '${domain.name}' is ${what} (${domain.uuid}).\n`);
}

interface CreateXmlOptions {
  readonly paused?: boolean;
  readonly lenient?: boolean;
}

export const addCreateXml: AddCommand = (parent, cli) => {
  parent
    .command('create-xml')
    .summary('start a transient domain from a file')
    .description(methodSummary('domain.create-xml'))
    .argument('<file>', FILE_HELP)
    .option('--paused', paramHelp('domain.create-xml', 'paused'))
    .option('--lenient', lenientHelp)
    .action(async (file: string, { paused = false, lenient = false }: CreateXmlOptions) => {
      const xml = await readDocument(cli, file);
      const result = await cli.withClient((client) =>
        client.call('domain.create-xml', { xml, paused, strict: !lenient }),
      );
      warnDropped(cli, result.dropped);
      cli.out.result(result, () => `${stateSentence(result.domain)}\n`);
    });
};

interface UndefineOptions {
  readonly removeStorage?: boolean;
  readonly nvram?: 'keep' | 'remove';
  readonly tpm?: 'keep' | 'remove';
  readonly removeSavedState?: boolean;
  readonly forgetSnapshots?: boolean;
}

export const addUndefine: AddCommand = (parent, cli) => {
  parent
    .command('undefine')
    .summary('forget a definition')
    .description(
      `${methodSummary('domain.undefine')} A running domain runs on until it stops. Disks are kept, unless told otherwise.`,
    )
    .argument('<domain...>', 'Names, uuids or ids.')
    .option('--remove-storage', paramHelp('domain.undefine', 'removeStorage'))
    .option('--forget-snapshots', paramHelp('domain.undefine', 'forgetSnapshots'))
    .addOption(
      new Option('--nvram <what>', paramHelp('domain.undefine', 'nvram')).choices(['keep', 'remove']),
    )
    .addOption(new Option('--tpm <what>', paramHelp('domain.undefine', 'tpm')).choices(['keep', 'remove']))
    .option('--remove-saved-state', paramHelp('domain.undefine', 'managedSave'))
    .action((names: string[], options: UndefineOptions) => {
      const {
        nvram,
        tpm,
        removeStorage = false,
        removeSavedState = false,
        forgetSnapshots = false,
      } = options;
      return forEachDomain(cli, names, async (client, domain) => {
        const { name, active } = await client.call('domain.get', { domain });
        const { removed, kept, undo } = await client.call('domain.undefine', {
          domain,
          ...(removeStorage && { removeStorage }),
          ...(forgetSnapshots && { forgetSnapshots }),
          ...(nvram && { nvram }),
          ...(tpm && { tpm }),
          ...(removeSavedState && { managedSave: 'remove' as const }),
        });
        for (const { path, reason } of kept) cli.out.note(`${path} is kept: ${reason}`);
        for (const { pool, volume, trash } of removed)
          cli.out.note(`Volume '${pool}/${volume}' is ${trash === null ? 'gone' : 'in the trash'}.`);
        const rest = active ? '; it runs on until it stops' : '';
        return {
          document: { domain: name, removed, kept, undo },
          said: `The definition of '${name}' is gone${rest}.${undoNote(undo)}`,
        };
      });
    });
};

interface DeleteOptions {
  readonly yes?: boolean;
}

export const addDelete: AddCommand = (parent, cli) => {
  parent
    .command('delete')
    .alias('rm')
    .summary('stop a domain at once and forget it')
    .description(
      'Ends the domain if it runs, and forgets its definition, snapshots and firmware variables. Disks are kept.',
    )
    .argument('<domain...>', 'Names, uuids or ids.')
    .option('-y, --yes', 'Do not ask.')
    .action((names: string[], { yes = false }: DeleteOptions) =>
      forEachDomain(cli, names, async (client, domain) => {
        const details = await client.call('domain.get', { domain });
        const { name, active, persistent } = details;
        await confirm(cli, `Delete domain '${name}'${active ? ', which runs now' : ''}?`, yes);
        if (active) await client.call('domain.destroy', { domain: details.uuid });
        // A transient domain is gone when it has stopped.
        const undo = persistent
          ? (
              await client.call('domain.undefine', {
                domain: details.uuid,
                nvram: 'remove',
                managedSave: 'remove',
                forgetSnapshots: true,
              })
            ).undo
          : null;
        const kept = details.disks
          .filter((disk) => disk.device === 'disk')
          .flatMap((disk) => disk.source ?? []);
        const disks = kept.length === 0 ? '' : ` Its disks were kept: ${kept.join(', ')}`;
        return {
          document: { domain: name, keptDisks: kept, undo },
          said: `Domain '${name}' is deleted.${undoNote(undo)}${disks}`,
        };
      }),
    );
};

interface XmlOptions {
  readonly inactive?: boolean;
  readonly secure?: boolean;
  readonly migratable?: boolean;
}

export const addXml: AddCommand = (parent, cli) => {
  parent
    .command('xml')
    .alias('dumpxml')
    .summary('print the definition')
    .description(methodSummary('domain.xml'))
    .argument('<domain>', DOMAIN_HELP)
    .option('--inactive', paramHelp('domain.xml', 'inactive'))
    .option('--secure', paramHelp('domain.xml', 'secure'))
    .option('--migratable', paramHelp('domain.xml', 'migratable'))
    .action(async (name: string, options: XmlOptions) => {
      const { inactive = false, secure = false, migratable = false } = options;
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.xml', { domain, inactive, secure, migratable }),
      );
      cli.out.result(result, () => safeLines(result.xml));
    });
};

export const addEdit: AddCommand = (parent, cli) => {
  parent
    .command('edit')
    .summary('change the definition in your editor')
    .description(
      'Opens the stored definition in $VISUAL or $EDITOR, and stores what you made of it. A definition that is refused can be edited again; its text is never lost.',
    )
    .argument('<domain>', DOMAIN_HELP)
    .option('--lenient', lenientHelp)
    .action((name: string, { lenient = false }: { readonly lenient?: boolean }) => edit(cli, name, !lenient));
};

async function edit(cli: Cli, name: string, strict: boolean): Promise<void> {
  await editDefinition(cli, {
    noun: 'domain',
    name,
    read: () =>
      withDomain(cli, name, (client, domain) =>
        client.call('domain.xml', { domain, inactive: true, secure: true }),
      ),
    store: async (xml) => {
      const result = await cli.withClient((client) => client.call('domain.define', { xml, strict }));
      reportDefined(cli, result, result.domain.active ? 'stored, and counts from its next start' : 'stored');
    },
    commands: { show: 'vireo xml --inactive', define: 'vireo define', rename: 'vireo rename' },
  });
}
