/** `host stats|sysinfo`: what the host's processors and memory do, and what its firmware says. */
import type { Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { methodSummary } from '../api-help.ts';
import type { Output } from '../format/output.ts';
import { safeLines } from '../format/table.ts';
import type { AddCommand } from './command.ts';

type Statistics = Result<'host.statistics'>;
type Times = Statistics['total'];

export const addStatistics: AddCommand = (host, cli) => {
  host
    .command('stats')
    .summary('show what processors and memory do')
    .description(methodSummary('host.statistics'))
    .action(async () => {
      const found = await cli.withClient((client) => client.call('host.statistics', {}));
      cli.out.result(found, () => `${timesTable(cli.out, found)}\n${cellTable(cli.out, found)}`);
    });
  host
    .command('sysinfo')
    .summary('print what the firmware says of the host')
    .description(methodSummary('host.sysinfo'))
    .action(async () => {
      const result = await cli.withClient((client) => client.call('host.sysinfo', {}));
      cli.out.result(result, () => safeLines(result.xml));
    });
};

function timesTable(out: Output, { total, cpus }: Statistics): string {
  const rows = [
    { name: 'all', times: total },
    ...cpus.map(({ cpu, times }) => ({ name: String(cpu), times })),
  ];
  const seconds = (of: keyof Times) => (row: { readonly times: Times | null }) =>
    row.times === null ? '' : (row.times[of] / 1000).toFixed(1);
  return out.table(rows, [
    { title: 'CPU', value: ({ name, times }) => (times === null ? `${name} offline` : name) },
    { title: 'USER S', value: seconds('userMs'), align: 'right' },
    { title: 'KERNEL S', value: seconds('kernelMs'), align: 'right' },
    { title: 'IDLE S', value: seconds('idleMs'), align: 'right' },
    { title: 'IO WAIT S', value: seconds('iowaitMs'), align: 'right' },
  ]);
}

function cellTable(out: Output, { cells }: Statistics): string {
  return out.table(cells, [
    { title: 'CELL', value: ({ cell }) => String(cell) },
    { title: 'MEMORY', value: ({ memoryBytes }) => formatBytes(memoryBytes), align: 'right' },
    { title: 'FREE', value: ({ freeMemoryBytes }) => formatBytes(freeMemoryBytes), align: 'right' },
    {
      title: 'FREE PAGES',
      value: ({ pages }) =>
        pages
          .map(({ sizeBytes, count, free }) => `${formatBytes(sizeBytes)}: ${free} of ${count}`)
          .join(', '),
      shrinks: true,
    },
  ]);
}
