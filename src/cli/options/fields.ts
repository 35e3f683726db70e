/**
 * Option strings such as `path=/a.qcow2,size=10GiB`: fields divided by commas, each `key=value`; a comma inside a
 * value is written twice (QEMU's own rule, so habits carry over).
 */
import { VirtError } from '../../base/errors.ts';

/** The first word when it had no `=` (`user` in `user,forward=...`), and the fields in order. */
export interface Fields {
  readonly head: string | undefined;
  readonly pairs: readonly (readonly [key: string, value: string])[];
}

/** An option string that cannot be used: `what` is the option (`--disk`), `text` what was given. */
export function badOption(what: string, text: string, reason: string, hint?: string): VirtError {
  return new VirtError('request.invalid', {
    wanted: `use ${what} '${text.length > 200 ? `${text.slice(0, 200)}…` : text}'`,
    reason,
    ...(hint !== undefined && { hint }),
  });
}

function splitAtSingleCommas(text: string): string[] {
  const parts = [''];
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? '';
    if (character !== ',') parts[parts.length - 1] += character;
    else if (text[at + 1] === ',') {
      parts[parts.length - 1] += ',';
      at++;
    } else parts.push('');
  }
  return parts;
}

/**
 * Splits an option string. Every key must be in `known`; a key outside `repeatable` may be given once.
 * @throws VirtError request.invalid
 */
export function parseFields(
  what: string,
  text: string,
  rules: { readonly known: readonly string[]; readonly repeatable?: readonly string[] },
): Fields {
  let head: string | undefined;
  const pairs: [string, string][] = [];
  const seen = new Set<string>();
  for (const [index, part] of splitAtSingleCommas(text).entries()) {
    const equals = part.indexOf('=');
    if (part === '') throw badOption(what, text, 'a field is empty', 'write a comma inside a value twice');
    if (equals === -1) {
      if (index > 0) throw badOption(what, text, `'${part}' has no value`, `write it as KEY=VALUE`);
      head = part;
      continue;
    }
    const key = part.slice(0, equals);
    if (!rules.known.includes(key))
      throw badOption(what, text, `there is no field '${key}'`, `the fields are ${rules.known.join(', ')}`);
    if (seen.has(key) && !(rules.repeatable ?? []).includes(key))
      throw badOption(what, text, `'${key}' is given twice`);
    seen.add(key);
    pairs.push([key, part.slice(equals + 1)]);
  }
  return { head, pairs };
}

/** The value of a field, or undefined. */
export function fieldOf(fields: Fields, key: string): string | undefined {
  return fields.pairs.find(([name]) => name === key)?.[1];
}

/** All values of a repeatable field. */
export function fieldsOf(fields: Fields, key: string): string[] {
  return fields.pairs.filter(([name]) => name === key).map(([, value]) => value);
}

/** One of a list of words. */
export function oneOf<const Word extends string>(what: string, value: string, words: readonly Word[]): Word {
  const found = words.find((word) => word === value);
  if (found === undefined)
    throw badOption(what, value, 'there is no such value', `it can be ${words.join(', ')}`);
  return found;
}

/** yes/no, on/off, true/false, 1/0. */
export function parseFlag(what: string, value: string): boolean {
  if (['yes', 'on', 'true', '1'].includes(value)) return true;
  if (['no', 'off', 'false', '0'].includes(value)) return false;
  throw badOption(what, value, 'it is neither yes nor no', 'write yes or no');
}

/** A whole number from `min` to `max`, decimal digits only. */
export function parseCount(
  what: string,
  text: string,
  range: { readonly min: number; readonly max: number },
): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= range.min && value <= range.max))
    throw badOption(what, text, `it is not a whole number from ${range.min} to ${range.max}`);
  return value;
}
