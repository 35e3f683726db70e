/** One row of the benchmark: what was measured, against which floor, and whether the goal is met. */
import { median } from './statistics.ts';

export interface Measurement {
  readonly name: string;
  readonly unit: string;
  readonly ours: number;
  /** The same work without a daemon, measured in the same run; undefined where there is no such thing. */
  readonly floor?: number;
  /** What the goal limits, and to how much: the ratio to the floor, or our own value. */
  readonly goal?: { readonly of: 'ratio' | 'value'; readonly atMost: number };
  /** How many samples of ours there were. */
  readonly samples: number;
}

export function ratioOf({ ours, floor }: Measurement): number | undefined {
  return floor === undefined ? undefined : ours / floor;
}

/** Undefined for rows without a goal, which are there for the reader. */
export function isMet(row: Measurement): boolean | undefined {
  if (row.goal === undefined) return undefined;
  const value = row.goal.of === 'ratio' ? ratioOf(row) : row.ours;
  return value !== undefined && value <= row.goal.atMost;
}

/** A row of interleaved samples: medians of both sides, and a goal for their ratio. */
export function compare(
  name: string,
  unit: string,
  samples: { readonly ours: readonly number[]; readonly floor: readonly number[] },
  ratioAtMost?: number,
): Measurement {
  return {
    name,
    unit,
    ours: median(samples.ours),
    floor: median(samples.floor),
    ...(ratioAtMost !== undefined && { goal: { of: 'ratio' as const, atMost: ratioAtMost } }),
    samples: samples.ours.length,
  };
}

/** A row that is judged by itself. */
export function absolute(
  name: string,
  unit: string,
  samples: readonly number[],
  atMost?: number,
): Measurement {
  return {
    name,
    unit,
    ours: median(samples),
    ...(atMost !== undefined && { goal: { of: 'value' as const, atMost } }),
    samples: samples.length,
  };
}

/** The rows as a table in Markdown, which reads well on a terminal too. */
export function formatTable(rows: readonly Measurement[]): string {
  const heads = ['measurement', 'unit', 'ours', 'floor', 'ratio', 'goal', ''];
  const lines = rows.map((row) => [row.name, row.unit, ...numbersOf(row), goalOf(row), verdictOf(row)]);
  const widths = heads.map((head, column) =>
    Math.max(head.length, ...lines.map((line) => (line[column] ?? '').length)),
  );
  const format = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => pad(cell, widths[column] ?? 0, column >= 2 && column <= 5)).join(' | ')} |`;
  const rule = `|${widths.map((width, column) => '-'.repeat(width + 1) + (column >= 2 && column <= 5 ? ':' : '-')).join('|')}|`;
  return [format(heads), rule, ...lines.map(format)].join('\n');
}

function numbersOf(row: Measurement): string[] {
  const ratio = ratioOf(row);
  return [
    short(row.ours),
    row.floor === undefined ? '–' : short(row.floor),
    ratio === undefined ? '–' : ratio.toFixed(2),
  ];
}

function goalOf({ goal }: Measurement): string {
  if (goal === undefined) return '';
  return goal.of === 'ratio' ? `≤ ${goal.atMost}x` : `≤ ${goal.atMost}`;
}

function verdictOf(row: Measurement): string {
  const met = isMet(row);
  return met === undefined ? '' : met ? 'ok' : 'MISS';
}

/** Three digits that mean something. */
function short(value: number): string {
  if (value === 0) return '0';
  return Math.abs(value) >= 100
    ? value.toFixed(0)
    : value
        .toPrecision(3)
        .replace(/^(\d+\.\d*?)0+$/, '$1')
        .replace(/\.$/, '');
}

function pad(text: string, width: number, right: boolean): string {
  return right ? text.padStart(width) : text.padEnd(width);
}
