/** Findings with their repairs, one a paragraph: what `host check` and `network test` show. */
import type { Tone } from './colour.ts';
import type { Output } from './output.ts';
import { wrapText } from './wrap.ts';

export interface Finding {
  readonly title: string;
  readonly status: string;
  readonly detail: string;
  readonly repair: string | null;
}

/** The longest status and two blanks. */
const STATUS_COLUMNS = 'warning'.length + 2;
/** Text is never broken into less than this. */
const NARROWEST = 30;

/** The status in a column of its own, then title and finding, then the repair where there is something to mend. */
export function findingsText<Shown extends Finding>(
  out: Output,
  findings: readonly Shown[],
  tones: Readonly<Record<Shown['status'], Tone>>,
): string {
  const indent = ' '.repeat(STATUS_COLUMNS);
  const width = out.width === undefined ? undefined : Math.max(out.width - STATUS_COLUMNS, NARROWEST);
  const paragraph = ({ title, status, detail, repair }: Shown) => {
    const lines = wrapText(`${title}: ${detail}`, width);
    if (repair !== null && status !== 'ok') lines.push(...wrapText(`repair: ${repair}`, width));
    const start =
      out.paint(tones[status as Shown['status']], status) + ' '.repeat(STATUS_COLUMNS - status.length);
    return `${start}${lines.join(`\n${indent}`)}\n`;
  };
  return findings.map(paragraph).join('');
}
