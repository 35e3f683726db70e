/** `domain stats [--watch]`: what guests use, in a table. */
import { Option } from 'commander';
import type { Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { methodSummary } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { domainRefOf } from '../domains.ts';
import { withInterrupt } from '../interrupt.ts';
import { parseDuration } from '../options/duration.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';
import { type Span, showHistory, spans } from './domain-history.ts';

type Sample = Result<'domain.stats'>['samples'][number];

/** Totals of one sample, as the table counts with them. */
interface Totals {
  readonly cpuNs: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

interface Row {
  readonly sample: Sample;
  readonly now: Totals;
  /** An earlier sample of the same domain, and how long ago it was. */
  readonly before: { readonly totals: Totals; readonly ms: number } | undefined;
}

interface StatsOptions {
  readonly watch?: boolean;
  readonly interval: string;
  readonly history?: Span | true;
}

export const addStats: AddCommand = (parent, cli) => {
  parent
    .command('stats')
    .alias('top')
    .summary('show what guests use: processor, memory, disks, network')
    .description(
      `${methodSummary('domain.stats')} With --watch again and again, until Ctrl-C; with --json one document a line.`,
    )
    .argument('[domains...]', 'Names, uuids or ids; all that run when none is given.')
    .option('-w, --watch', 'Go on showing it.')
    .option('--interval <time>', 'Between two samples.', '1s')
    .addOption(
      new Option('--history [span]', 'What was used before, as graphs: the last hour, day or month.').choices(
        spans,
      ),
    )
    .action(async (names: string[], options: StatsOptions) => {
      const { history } = options;
      if (history === undefined) return showStats(cli, names, options);
      const [name, ...others] = names;
      if (name === undefined || others.length > 0)
        throw badOption('--history', names.join(' '), 'it shows one domain', 'vireo stats NAME --history');
      return showHistory(cli, name, history === true ? 'hour' : history);
    });
};

async function showStats(cli: Cli, names: readonly string[], options: StatsOptions): Promise<void> {
  const intervalMs = Math.max(100, parseDuration('--interval', options.interval));
  await withInterrupt((signal) =>
    cli.withClient(async (client) => {
      const domains = await Promise.all(names.map((name) => domainRefOf(client, name)));
      const chosen = domains.length === 0 ? {} : { domains };
      // Rates need two samples.
      const count = options.watch === true ? undefined : cli.out.isJson ? 1 : 2;
      const { stream } = await client.upgrade('domain.stats-stream', {
        ...chosen,
        groups: ['state', 'cpu', 'balloon', 'vcpu', 'interface', 'block'],
        intervalMs: options.watch === true ? intervalMs : Math.min(intervalMs, 500),
        ...(count !== undefined && { count }),
      });
      signal.addEventListener('abort', () => stream.destroy());
      await follow(cli, stream, options.watch === true);
    }),
  );
}

async function follow(cli: Cli, stream: AsyncIterable<Buffer>, isWatching: boolean): Promise<void> {
  let earlier = new Map<string, { totals: Totals; atMs: number }>();
  let rows: Row[] = [];
  for await (const line of linesOf(stream)) {
    const { samples } = JSON.parse(line) as Result<'domain.stats'>;
    rows = samples.map((sample) => rowOf(sample, earlier.get(sample.domain.uuid)));
    earlier = new Map(
      rows.map(({ sample, now }) => [sample.domain.uuid, { totals: now, atMs: Date.parse(sample.time) }]),
    );
    if (cli.out.isJson) cli.out.jsonLine({ samples });
    else if (isWatching)
      cli.out.write(`${cli.out.width === undefined ? '' : '\u001b[2J\u001b[H'}${tableOf(cli, rows)}`);
  }
  if (!cli.out.isJson && !isWatching) cli.out.write(tableOf(cli, rows));
}

async function* linesOf(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let pending = '';
  try {
    for await (const chunk of stream) {
      const lines = `${pending}${chunk.toString('utf8')}`.split('\n');
      pending = lines.pop() ?? '';
      yield* lines;
    }
  } catch (error) {
    // Ctrl-C ends the stream from our side.
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE'))
      throw error;
  }
}

function rowOf(sample: Sample, earlier: { totals: Totals; atMs: number } | undefined): Row {
  const now = totalsOf(sample);
  const ms = earlier === undefined ? 0 : Date.parse(sample.time) - earlier.atMs;
  return {
    sample,
    now,
    before: earlier !== undefined && ms > 0 ? { totals: earlier.totals, ms } : undefined,
  };
}

function totalsOf({ cpu, disks, interfaces }: Sample): Totals {
  const sum = <T>(all: readonly T[] | null, pick: (one: T) => number) =>
    (all ?? []).reduce((total, one) => total + pick(one), 0);
  return {
    cpuNs: cpu?.totalNs ?? 0,
    readBytes: sum(disks, ({ counters }) => counters?.readBytes ?? 0),
    writtenBytes: sum(disks, ({ counters }) => counters?.writeBytes ?? 0),
    receivedBytes: sum(interfaces, ({ counters }) => counters?.rxBytes ?? 0),
    sentBytes: sum(interfaces, ({ counters }) => counters?.txBytes ?? 0),
  };
}

function tableOf(cli: Cli, rows: readonly Row[]): string {
  if (rows.length === 0) return 'No domain runs.\n';
  const busiest = rows.toSorted((a, b) => load(b) - load(a));
  return cli.out.table(busiest, [
    { title: 'NAME', value: ({ sample }) => sample.domain.name },
    { title: 'STATE', value: ({ sample }) => sample.state },
    { title: 'CPU', value: (row) => (row.before === undefined ? '-' : `${load(row).toFixed(0)} %`) },
    { title: 'VCPUS', value: ({ sample }) => String(sample.vcpus?.current ?? '-') },
    { title: 'MEMORY', value: ({ sample }) => memoryText(sample) },
    { title: 'READ', value: (row) => rate(row, 'readBytes') },
    { title: 'WRITTEN', value: (row) => rate(row, 'writtenBytes') },
    { title: 'RECEIVED', value: (row) => rate(row, 'receivedBytes') },
    { title: 'SENT', value: (row) => rate(row, 'sentBytes') },
    { title: 'NOTE', value: ({ sample }) => sample.silence ?? '', shrinks: true },
  ]);
}

/** Percent of one processor. */
function load({ now, before }: Row): number {
  return before === undefined ? 0 : (now.cpuNs - before.totals.cpuNs) / before.ms / 10_000;
}

function rate({ now, before }: Row, what: keyof Totals): string {
  if (before === undefined) return '-';
  const perSecond = Math.max(0, ((now[what] - before.totals[what]) * 1000) / before.ms);
  return `${formatBytes(Math.round(perSecond))}/s`;
}

/** What the guest uses, as far as it tells, of what it may. */
function memoryText({ memory }: Sample): string {
  if (memory === null) return '-';
  const { totalBytes, availableBytes } = memory.guest ?? {};
  const used =
    totalBytes !== undefined && availableBytes !== undefined
      ? `${formatBytes(totalBytes - availableBytes)} of `
      : '';
  return `${used}${formatBytes(memory.currentBytes)}`;
}
