/** What a domain may be called: the rule for any definition, and the stricter one for our own create verbs. */
import { BadValue, type Scalar } from '../../base/xml/codec.ts';

/** The longest name in bytes of UTF-8: it becomes a part of file names (NAME_MAX is 255, limits.h). */
const MAX_NAME_BYTES = 255;

/** Why a text can't be the name of a domain; undefined when it can. */
export function nameProblem(name: string): string | undefined {
  if (name.trim() === '') return 'is empty or only white space';
  if (Buffer.byteLength(name, 'utf8') > MAX_NAME_BYTES) return `is longer than ${MAX_NAME_BYTES} bytes`;
  if (name === '.' || name === '..') return `must not be '${name}'`;
  if (name.includes('/')) return "must not contain '/'";
  // Control and format characters: they could split a line, or show one name while meaning another.
  if (/[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u.test(name))
    return 'must not contain control characters';
  if (name.normalize('NFC') !== name) return 'is not in Unicode normalisation form C';
  return undefined;
}

/** A domain's name as any definition may have it. */
export const domainName: Scalar<string> = {
  parse(text) {
    const problem = nameProblem(text);
    if (problem !== undefined) throw new BadValue(problem);
    return text;
  },
  format: (value) => value,
};

/** True for a name that our own create verbs accept: short, ASCII, safe to paste anywhere. */
export function isSafeNewName(name: string): boolean {
  return name.length <= 64 && /^[A-Za-z0-9][A-Za-z0-9_.:+ -]*$/.test(name) && !name.endsWith(' ');
}
