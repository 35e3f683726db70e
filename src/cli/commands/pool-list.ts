/** `pool list|show|capabilities|find-sources`. */
import { Option } from 'commander';
import type { Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { poolTypes } from '../../model/storage/pool/pool.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import type { Output } from '../format/output.ts';
import { type Column, safeLines } from '../format/table.ts';
import { oneOf } from '../options/fields.ts';
import { POOL_HELP } from '../volumes.ts';
import type { AddCommand } from './command.ts';
import { readDocument } from './domain-define.ts';
import { allOption } from './list-options.ts';

type Entry = Result<'pool.list'>['pools'][number];

interface ListOptions {
  readonly active?: boolean;
  readonly inactive?: boolean;
  readonly autostart?: boolean;
  readonly names?: boolean;
}

const size = (bytes: number | null): string => (bytes === null ? '' : formatBytes(bytes));

const share = (part: number | null, whole: number | null): string =>
  part === null || whole === null || whole === 0 ? '' : `${Math.round((100 * part) / whole)} %`;

const columns: readonly Column<Entry>[] = [
  { title: 'NAME', value: (pool) => pool.name, shrinks: true },
  { title: 'STATE', value: stateText, tone: (pool) => (pool.active ? 'good' : 'quiet') },
  { title: 'AUTOSTART', value: (pool) => (pool.autostart ? 'yes' : 'no') },
  { title: 'TYPE', value: (pool) => pool.type },
  { title: 'VOLUMES', value: (pool) => String(pool.volumes ?? ''), align: 'right' },
  { title: 'SIZE', value: (pool) => size(pool.capacityBytes), align: 'right' },
  { title: 'FREE', value: (pool) => size(pool.availableBytes), align: 'right' },
  {
    title: 'USED',
    value: ({ allocationBytes, capacityBytes }) => share(allocationBytes, capacityBytes),
    align: 'right',
  },
  {
    title: 'PROMISED',
    value: ({ promisedBytes, capacityBytes }) => share(promisedBytes, capacityBytes),
    align: 'right',
    tone: ({ promisedBytes, capacityBytes }) =>
      (promisedBytes ?? 0) > (capacityBytes ?? 0) ? 'warning' : 'plain',
  },
  { title: 'PATH', value: (pool) => pool.path ?? pool.source ?? '', shrinks: true },
];

function stateText(pool: Entry): string {
  const state = pool.active ? 'active' : 'inactive';
  return `${state}${pool.job ? ` (${pool.job.name})` : ''}${pool.persistent ? '' : ', transient'}`;
}

export const addPoolList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the pools')
    .description(methodSummary('pool.list'))
    .addOption(allOption('pools'))
    .addOption(new Option('--active', 'Only pools that are active.').conflicts('inactive'))
    .addOption(new Option('--inactive', 'Only pools that are not.'))
    .addOption(new Option('--autostart', 'Only pools that start with the daemon.'))
    .option('--names', 'Print only the names, one a line.')
    .action(async (options: ListOptions) => {
      const result = await cli.withClient((client) =>
        client.call('pool.list', {
          ...(options.active === true && { active: true }),
          ...(options.inactive === true && { active: false }),
          ...(options.autostart === true && { autostart: true }),
        }),
      );
      cli.out.result(result, () => listForPeople(cli.out, result, options));
      for (const { file, reason, uuid } of result.quarantined)
        cli.out.warn(`the definition of ${uuid ?? 'a pool'} could not be read: ${reason} (now in ${file})`);
    });
};

function listForPeople(out: Output, { pools }: Result<'pool.list'>, options: ListOptions): string {
  if (options.names === true) return pools.map((pool) => `${pool.name}\n`).join('');
  if (pools.length > 0) return out.table(pools, columns);
  return options.active === true || options.inactive === true || options.autostart === true
    ? 'No pool fits.\n'
    : "There are no storage pools. 'vireo pool create --help' tells how to make one.\n";
}

export const addPoolShow: AddCommand = (parent, cli) => {
  parent
    .command('show')
    .alias('info')
    .summary('show one pool')
    .description(methodSummary('pool.get'))
    .argument('<pool>', POOL_HELP)
    .action((pool: string) => show(cli, pool));
};

async function show(cli: Cli, name: string): Promise<void> {
  const pool = await cli.withClient((client) => client.call('pool.get', { pool: name }));
  cli.out.result(pool, () =>
    cli.out.facts([
      ['Name', pool.name],
      ['UUID', pool.uuid],
      ['State', stateText(pool)],
      ['Type', pool.type],
      ['Path', pool.path ?? undefined],
      ['Source', pool.source ?? undefined],
      ['Persistent', pool.persistent ? 'yes' : 'no, gone when it stops'],
      ['Autostart', pool.autostart ? 'yes' : 'no'],
      ['Active since', pool.startedAt ?? undefined],
      ['Read', pool.refreshedAt ?? undefined],
      ['Volumes', pool.volumes === null ? undefined : String(pool.volumes)],
      ['Size', size(pool.capacityBytes) || undefined],
      ['Taken', takenText(pool)],
      ['Free', size(pool.availableBytes) || undefined],
      ['Promised', promiseText(pool)],
      ['Trash', trashText(pool)],
    ]),
  );
}

function takenText({ allocationBytes, capacityBytes }: Result<'pool.get'>): string | undefined {
  if (allocationBytes === null) return undefined;
  return `${formatBytes(allocationBytes)} (${share(allocationBytes, capacityBytes)})`;
}

function trashText({ trash }: Result<'pool.get'>): string | undefined {
  if (trash === null || trash.volumes === 0) return undefined;
  const count = `${trash.volumes} deleted volume${trash.volumes === 1 ? '' : 's'}`;
  return `${formatBytes(trash.allocationBytes)} of ${count}; 'vireo volume trash empty' frees them`;
}

function promiseText({ promisedBytes, capacityBytes }: Result<'pool.get'>): string | undefined {
  if (promisedBytes === null || capacityBytes === null) return undefined;
  const text = `${formatBytes(promisedBytes)} to guests (${share(promisedBytes, capacityBytes)})`;
  return promisedBytes > capacityBytes ? `${text}, more than there is` : text;
}

export const addPoolCapabilities: AddCommand = (parent, cli) => {
  parent
    .command('capabilities')
    .summary('which types of pools work here')
    .description(methodSummary('pool.capabilities'))
    .action(async () => {
      const result = await cli.withClient((client) => client.call('pool.capabilities', {}));
      cli.out.result(result, () => safeLines(result.xml));
    });
};

export const addPoolFindSources: AddCommand = (parent, cli) => {
  parent
    .command('find-sources')
    .summary('look for what a pool could be made of')
    .description(methodSummary('pool.find-sources'))
    .argument('<type>', `One of ${poolTypes.join(', ')}.`)
    .argument('[file]', paramHelp('pool.find-sources', 'xml'))
    .action(async (type: string, file?: string) => {
      const xml = file === undefined ? undefined : await readDocument(cli, file);
      const result = await cli.withClient((client) =>
        client.call('pool.find-sources', {
          type: oneOf('the type', type, poolTypes),
          ...(xml !== undefined && { xml }),
        }),
      );
      cli.out.result(result, () => safeLines(result.xml));
    });
};
