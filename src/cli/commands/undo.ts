/** `undo [ENTRY]`, `undo list|forget`: takes deletions back. */
import { Option } from 'commander';
import type { Result } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import type { Column } from '../format/table.ts';
import { confirm } from '../prompt.ts';
import type { AddCommand } from './command.ts';

type Entry = Result<'undo.list'>['deletions'][number];
type EntryType = Entry['type'];

const columns: readonly Column<Entry>[] = [
  { title: 'ID', value: ({ id }) => id },
  { title: 'TYPE', value: ({ type }) => type },
  { title: 'NAME', value: ({ pool, name }) => (pool === null ? name : `${pool}/${name}`), shrinks: true },
  { title: 'DELETED', value: ({ deletedAt }) => deletedAt.slice(0, 19).replace('T', ' ') },
  { title: 'GONE ON', value: ({ until }) => until.slice(0, 10) },
];

const typeOption = () =>
  new Option('--type <type>', paramHelp('undo.restore', 'type')).choices([
    'domain',
    'network',
    'pool',
    'volume',
  ]);

export const addUndo: AddCommand = (parent, cli) => {
  const undo = parent
    .command('undo')
    .summary('take a deletion back')
    .description(`${methodSummary('undo.restore')} 'vireo undo list' shows all.`)
    .argument('[entry]', paramHelp('undo.restore', 'entry'))
    .addOption(typeOption())
    .action((entry: string | undefined, options: { readonly type?: EntryType }) =>
      restore(cli, entry, options),
    );
  undo
    .command('list')
    .alias('ls')
    .summary('list what can be brought back')
    .description(methodSummary('undo.list'))
    .addOption(typeOption())
    .action(async (_: unknown, command: { optsWithGlobals(): { readonly type?: EntryType } }) => {
      const { type } = command.optsWithGlobals();
      const result = await cli.withClient((client) => client.call('undo.list', { ...(type && { type }) }));
      cli.out.result(result, () =>
        result.deletions.length === 0
          ? 'Nothing was deleted that could be brought back.\n'
          : cli.out.table(result.deletions, columns),
      );
    });
  undo
    .command('forget')
    .summary('make deletions final')
    .description(methodSummary('undo.forget'))
    .argument('[entry]', paramHelp('undo.forget', 'entry'))
    .option('-y, --yes', 'Do not ask.')
    .action(async (entry: string | undefined, { yes = false }: { readonly yes?: boolean }) => {
      await confirm(cli, `Make ${entry ?? 'all'} deleted definitions final?`, yes);
      const result = await cli.withClient((client) =>
        client.call('undo.forget', { ...(entry !== undefined && { entry }) }),
      );
      const count = result.forgotten.length;
      cli.out.result(result, () => `${count} deletion${count === 1 ? ' is' : 's are'} final.\n`);
    });
};

async function restore(
  cli: Cli,
  entry: string | undefined,
  { type }: { readonly type?: EntryType },
): Promise<void> {
  const result = await cli.withClient((client) =>
    client.call('undo.restore', { ...(entry !== undefined && { entry }), ...(type && { type }) }),
  );
  const { restored } = result;
  const name = restored.pool === null ? restored.name : `${restored.pool}/${restored.name}`;
  const noun = `${restored.type.charAt(0).toUpperCase()}${restored.type.slice(1)}`;
  cli.out.result(result, () => `${noun} '${name}' is back, deleted ${restored.deletedAt.slice(0, 19)}.\n`);
}

/** What a deletion that can be taken back says at its end. */
export function undoNote(entry: Entry | null): string {
  return entry === null ? '' : ` 'vireo undo ${entry.id}' brings it back until ${entry.until.slice(0, 10)}.`;
}
