/** Text broken at blanks to fit the terminal. */
import { oneLine } from '../../base/errors.ts';
import { displayWidth } from './width.ts';

/**
 * Breaks one line of text so that each line fits in `width` columns; a longer word stands alone. Without a width, one
 * line. Control characters are escaped.
 */
export function wrapText(text: string, width: number | undefined): string[] {
  const words = oneLine(text).split(' ');
  if (width === undefined) return [words.join(' ')];
  const lines: string[] = [];
  let line = words[0] ?? '';
  for (const word of words.slice(1)) {
    if (displayWidth(line) + 1 + displayWidth(word) <= width) line += ` ${word}`;
    else {
      lines.push(line);
      line = word;
    }
  }
  return [...lines, line];
}

/** `1 problem`, `2 problems`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
