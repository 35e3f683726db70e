/** `domain stats NAME --history`: what a guest used, as graphs of one line each. */
import type { Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import type { Cli } from '../cli.ts';
import { withDomain } from '../domains.ts';
import { graph } from '../format/graph.ts';

export const spans = ['hour', 'day', 'month'] as const;
export type Span = (typeof spans)[number];

type History = Result<'domain.stats-history'>;
type Metric = Exclude<keyof History['points'][number], 'at'>;

const perSecond = (value: number) => `${formatBytes(Math.round(value))}/s`;
const plain = (value: number) => formatBytes(Math.round(value));

const rows: readonly {
  readonly title: string;
  readonly metric: Metric;
  readonly text: (value: number) => string;
}[] = [
  { title: 'CPU', metric: 'cpuPercent', text: (value) => `${value.toFixed(0)} %` },
  { title: 'MEMORY', metric: 'residentBytes', text: plain },
  { title: 'READ', metric: 'diskReadBytesPerSecond', text: perSecond },
  { title: 'WRITTEN', metric: 'diskWriteBytesPerSecond', text: perSecond },
  { title: 'RECEIVED', metric: 'receivedBytesPerSecond', text: perSecond },
  { title: 'SENT', metric: 'sentBytesPerSecond', text: perSecond },
];

/** Columns beside the graph: title, mean and highest value. */
const ASIDE = 40;

export async function showHistory(cli: Cli, name: string, span: Span): Promise<void> {
  const result = await withDomain(cli, name, (client, domain) =>
    client.call('domain.stats-history', { domain, span }),
  );
  cli.out.result(result, () => historyText(result, { name, span, width: (cli.out.width ?? 80) - ASIDE }));
}

/** One line for each metric that was told. */
export function historyText(
  { points, from, stepSeconds, enabled }: History,
  { name, span, width }: { readonly name: string; readonly span: Span; readonly width: number },
): string {
  if (points.length === 0)
    return enabled
      ? `Nothing is known of '${name}' in the last ${span}.\n`
      : "The daemon does not measure guests ('history' in [statistics]).\n";
  const start = Date.parse(from);
  const lengthMs = Math.max(1, Date.now() - start + stepSeconds * 1000);
  const columns = Math.max(10, Math.min(120, width));
  const lines = rows.flatMap(({ title, metric, text }) => {
    const told = points.flatMap((point) => {
      const value = point[metric];
      return value === null ? [] : [{ place: (Date.parse(point.at) - start) / lengthMs, value }];
    });
    if (told.length === 0) return [];
    const top = Math.max(...told.map(({ value }) => value));
    const mean = told.reduce((sum, { value }) => sum + value, 0) / told.length;
    return `${title.padEnd(9)}${graph(told, columns, top)} ${`mean ${text(mean)}`.padEnd(16)} max ${text(top)}`.trimEnd();
  });
  return `The last ${span} of '${name}', oldest at the left:\n${lines.join('\n')}\n`;
}
