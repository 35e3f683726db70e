/** `volume restore`, `volume trash list|empty`: deleted volumes. */
import type { Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import type { Column } from '../format/table.ts';
import { confirm } from '../prompt.ts';
import { newVolumeNamed } from '../volumes.ts';
import type { AddCommand } from './command.ts';

type Entry = Result<'volume.trash-list'>['volumes'][number];

const columns: readonly Column<Entry>[] = [
  { title: 'ID', value: ({ id }) => id },
  { title: 'VOLUME', value: ({ pool, name }) => `${pool}/${name}`, shrinks: true },
  { title: 'TAKES', value: ({ allocationBytes }) => formatBytes(allocationBytes), align: 'right' },
  { title: 'DELETED', value: ({ deletedAt }) => deletedAt.slice(0, 19).replace('T', ' ') },
  { title: 'GONE ON', value: ({ until }) => until.slice(0, 10) },
];

const ENTRY_HELP = "POOL/NAME or POOL/ID as 'volume trash list' shows it; in pool 'default' without POOL.";

export const addVolumeRestore: AddCommand = (parent, cli) => {
  parent
    .command('restore')
    .summary('bring a deleted volume back')
    .description(methodSummary('volume.restore'))
    .argument('<volume>', ENTRY_HELP)
    .option('--name <name>', paramHelp('volume.restore', 'name'))
    .action(async (text: string, { name }: { readonly name?: string }) => {
      const found = await cli.withClient((client) =>
        client.call('volume.restore', { ...newVolumeNamed(text), ...(name !== undefined && { name }) }),
      );
      cli.out.result(found, () => `Volume '${found.pool}/${found.name}' is back.\n`);
    });
};

export const addVolumeTrash: AddCommand = (parent, cli) => {
  const trash = parent
    .command('trash')
    .summary('deleted volumes that can be restored')
    .description('Looks at deleted volumes and takes them away for good.');
  trash
    .command('list')
    .alias('ls')
    .summary('list deleted volumes')
    .description(methodSummary('volume.trash-list'))
    .argument('[pool]', 'Name or uuid of the pool.')
    .action((pool: string | undefined) => list(cli, pool));
  trash
    .command('empty')
    .summary('take deleted volumes away for good')
    .description(methodSummary('volume.trash-empty'))
    .argument('[pool]', 'Name or uuid of the pool.', 'default')
    .option('--volume <id>', paramHelp('volume.trash-empty', 'volume'))
    .option('-y, --yes', 'Do not ask.')
    .action(async (pool: string, options: { readonly volume?: string; readonly yes?: boolean }) => {
      const { volume, yes = false } = options;
      await confirm(cli, `Take ${volume ?? 'all'} in the trash of pool '${pool}' away for good?`, yes);
      const result = await cli.withClient((client) =>
        client.call('volume.trash-empty', { pool, ...(volume !== undefined && { volume }) }),
      );
      const freed = result.volumes.reduce((sum, { allocationBytes }) => sum + allocationBytes, 0);
      const count = result.volumes.length;
      cli.out.result(
        result,
        () => `${count} deleted volume${count === 1 ? ' is' : 's are'} gone, ${formatBytes(freed)} freed.\n`,
      );
    });
};

async function list(cli: Cli, pool: string | undefined): Promise<void> {
  const result = await cli.withClient((client) =>
    client.call('volume.trash-list', { ...(pool !== undefined && { pool }) }),
  );
  cli.out.result(result, () =>
    result.volumes.length === 0 ? 'The trash is empty.\n' : cli.out.table(result.volumes, columns),
  );
}
