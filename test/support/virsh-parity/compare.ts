/** What one daemon said to a virsh command against what the other said. */
import { type Accepted, acceptedDifferences } from './accepted.ts';

/** Exit status and text of one command. */
export interface Said {
  readonly status: string;
  readonly text: string;
}

export interface Disagreement {
  readonly command: string;
  readonly libvirt: string;
  readonly vireo: string;
}

/** From a file of ask-virsh.sh: the status in the first line, then what was printed. */
export function parseSaid(content: string): Said {
  const end = content.indexOf('\n');
  return { status: content.slice(0, end), text: content.slice(end + 1).trim() };
}

/** Uuids of the documents are the same in both; all others were made up. */
function masked(text: string): string {
  return (
    text
      .replace(/\b(?!5a1f0c1e)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, 'UUID')
      .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+| )\+0000/g, 'TIME')
      .replace(/(?<=<creationTime>)\d+/g, 'TIME')
      // libvirt names functions of its own inside.
      .replace(/\bin (function )?(vir|qemu)\w+/g, 'in F')
      .replaceAll(/(<[^>]*)"([^"<>]*)"(?=[^<]*>)/g, "$1'$2'")
      .replace(/<(\w+)([^<>]*[^<>/])?>\s*<\/\1>/g, '<$1$2/>')
  );
}

/** An error without our own words, which stand behind its leading ones. */
function leadingWords(text: string): string {
  const lines = text.split('\n').filter((line) => line.startsWith('error: '));
  const last = lines.at(-1) ?? '';
  return last.split(': ').slice(0, 2).join(': ');
}

const numberless = (text: string) => text.replace(/\d+(\.\d+)?/g, 'N').replace(/[ \t]+/g, ' ');

const views: Readonly<Record<Accepted['how'], (said: Said) => string>> = {
  numbers: ({ status, text }) => `${status}\n${numberless(masked(text))}`,
  words: ({ status, text }) => (status === '0' ? masked(text) : leadingWords(text)),
  status: ({ status }) => status,
  nothing: () => '',
};

const exact = ({ status, text }: Said) => `${status}\n${masked(text)}`;

/** What has no engine is told on the page of coverage; there is nothing to compare. */
function isMissing({ text }: Said): boolean {
  return text.includes('this function is not supported by the connection driver');
}

/** Rows of the table that made a difference; the others are stale. */
export class Comparison {
  readonly used = new Set<Accepted>();

  /**
   * Undefined when both agree, as far as is meant. `errors`: whether of an error all words count, or those that stand for
   * its code.
   */
  compare(
    command: string,
    libvirt: Said,
    vireo: Said,
    errors: 'exact' | 'words' = 'exact',
  ): Disagreement | undefined {
    if (isMissing(vireo) || exact(libvirt) === exact(vireo)) return undefined;
    const row = acceptedDifferences.find(({ commands }) => commands.test(command));
    const usual = errors === 'exact' || vireo.status === '0' || libvirt.status === '0' ? exact : views.words;
    const view = row === undefined ? usual : views[row.how];
    if (row !== undefined) this.used.add(row);
    const [theirs, ours] = [view(libvirt), view(vireo)];
    return theirs === ours ? undefined : { command, libvirt: theirs, vireo: ours };
  }
}
