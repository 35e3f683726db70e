/** Aligned tables and lists of facts for people. Nothing a guest or a file says reaches the terminal unescaped. */
import { oneLine } from '../../base/errors.ts';
import { noColour, type Paint, type Tone } from './colour.ts';
import { displayWidth, pad, truncate } from './width.ts';

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string;
  readonly align?: 'left' | 'right';
  readonly tone?: (row: Row) => Tone;
  /** May be cut when the table is wider than the terminal; the widest such column shrinks first. */
  readonly shrinks?: boolean;
}

export interface TableOptions {
  /** Columns of the terminal; undefined for a pipe or a file, where nothing is ever cut. */
  readonly width?: number | undefined;
  readonly paint?: Paint;
}

const GAP = '   ';
/** No column is cut below this many columns. */
const NARROWEST = 8;

/** Formats rows under a title line, each ending with a newline. Empty cells show as `-`. */
export function formatTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  options: TableOptions = {},
): string {
  const paint = options.paint ?? noColour;
  const cells = rows.map((row) => columns.map((column) => oneLine(column.value(row)) || '-'));
  const widths = fitWidths(columns, cells, options.width);
  const head = columns.map((column, at) => cellText(column, column.title, widths[at] ?? 0));
  const lines = [paint('strong', head.join(GAP).trimEnd())];
  for (const [index, row] of rows.entries()) {
    const texts = columns.map((column, at) => {
      const text = cellText(column, cells[index]?.[at] ?? '', widths[at] ?? 0);
      return paint(column.tone?.(row) ?? 'plain', at === columns.length - 1 ? text.trimEnd() : text);
    });
    lines.push(texts.join(GAP));
  }
  return lines.map((line) => `${line}\n`).join('');
}

function cellText<Row>(column: Column<Row>, text: string, width: number): string {
  return pad(truncate(text, width), width, column.align);
}

function fitWidths<Row>(
  columns: readonly Column<Row>[],
  cells: readonly (readonly string[])[],
  terminal: number | undefined,
): number[] {
  const widths = columns.map((column, at) =>
    Math.max(displayWidth(column.title), ...cells.map((row) => displayWidth(row[at] ?? ''))),
  );
  if (terminal === undefined) return widths;
  let excess = widths.reduce((sum, width) => sum + width, GAP.length * (columns.length - 1)) - terminal;
  while (excess > 0) {
    const widest = widestShrinkable(columns, widths);
    if (widest === undefined) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
    excess -= 1;
  }
  return widths;
}

function widestShrinkable<Row>(
  columns: readonly Column<Row>[],
  widths: readonly number[],
): number | undefined {
  let widest: number | undefined;
  for (const [at, column] of columns.entries()) {
    const width = widths[at] ?? 0;
    if (column.shrinks !== true || width <= NARROWEST) continue;
    if (widest === undefined || width > (widths[widest] ?? 0)) widest = at;
  }
  return widest;
}

export type Fact = readonly [label: string, value: string | undefined, tone?: Tone];

/** Formats label and value pairs, one a line; facts without a value are left out. */
export function formatFacts(facts: readonly Fact[], options: TableOptions = {}): string {
  const paint = options.paint ?? noColour;
  const shown = facts.filter(([, value]) => value !== undefined && value !== '');
  const width = Math.max(0, ...shown.map(([label]) => displayWidth(label)));
  return shown
    .map(([label, value, tone]) => {
      const text = paint(tone ?? 'plain', oneLine(value ?? ''));
      return `${paint('strong', pad(`${label}:`, width + 1))} ${text}\n`;
    })
    .join('');
}

/**
 * Text of several lines that came from elsewhere (a log, an XML document), safe for a terminal: newlines and tabs
 * stay, other control characters are shown as `\xNN`. A carriage return before a newline is dropped.
 */
export function safeLines(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .split('\n')
    .map((line) =>
      line
        .split('\t')
        .map((part) => oneLine(part, Number.POSITIVE_INFINITY))
        .join('\t'),
    )
    .join('\n');
}
