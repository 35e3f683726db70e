/** Scalars for the XML mapping: how one attribute or text becomes a value, with its range checked. */
import { BadValue, type Scalar, switchWords } from './codec.ts';

const same = (value: string): string => value;

/** Any text without control characters (they could split a line or an option further down). */
export function str(limits: { max?: number; min?: number } = {}): Scalar<string> {
  const max = limits.max ?? 4096;
  const min = limits.min ?? 0;
  return {
    parse(text) {
      if (text.length > max) throw new BadValue(`is longer than ${max} characters`);
      if (text.length < min) throw new BadValue('is empty');
      if (/[\u0000-\u001f\u007f\u0085\u2028\u2029]/.test(text)) throw new BadValue('has a control character');
      return text;
    },
    format: same,
  };
}

/** Text over several lines (title excepted): new lines and tabs are kept, other control characters refused. */
export function longText(max = 65_536): Scalar<string> {
  return {
    parse(text) {
      if (text.length > max) throw new BadValue(`is longer than ${max} characters`);
      if (/[\u0000-\u0008\u000b-\u001f\u007f\u0085\u2028\u2029]/.test(text))
        throw new BadValue('has a control character');
      return text;
    },
    format: same,
  };
}

/** Text that a rule must match; `what` says in words what is wanted. */
export function matching(rule: RegExp, what: string): Scalar<string> {
  return {
    parse(text) {
      if (!rule.test(text)) throw new BadValue(`'${text.slice(0, 80)}' is not ${what}`);
      return text;
    },
    format: same,
  };
}

/** An absolute path without `..` steps, control characters or a trailing new line. */
export const path: Scalar<string> = {
  parse(text) {
    str({ min: 1 }).parse(text);
    if (!text.startsWith('/')) throw new BadValue(`'${text.slice(0, 80)}' is not an absolute path`);
    if (text.split('/').includes('..')) throw new BadValue('must not contain ..');
    return text;
  },
  format: same,
};

/** A whole number in decimal, or in hexadecimal with 0x, within the range. */
export function uint(limits: { min?: number; max?: number } = {}): Scalar<number> {
  const min = limits.min ?? 0;
  const max = limits.max ?? Number.MAX_SAFE_INTEGER;
  return { parse: (text) => parseWhole(text, min, max), format: String };
}

/** As uint, but negative numbers too. */
export function int(limits: { min?: number; max?: number } = {}): Scalar<number> {
  const min = limits.min ?? Number.MIN_SAFE_INTEGER;
  const max = limits.max ?? Number.MAX_SAFE_INTEGER;
  return { parse: (text) => parseWhole(text, min, max), format: String };
}

function parseWhole(raw: string, min: number, max: number): number {
  const text = raw.trim();
  if (!/^(-?\d{1,20}|0x[0-9a-fA-F]{1,16})$/.test(text))
    throw new BadValue(`'${text.slice(0, 40)}' is not a whole number`);
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < min || value > max)
    throw new BadValue(`${text} is out of range (${min} to ${max})`);
  return value;
}

/** A whole number that is printed as 0x with at least `digits` hexadecimal digits (PCI addresses). */
export function hex(digits: number, limits: { max: number; min?: number }): Scalar<number> {
  return {
    parse(text) {
      const bare = /^[0-9a-fA-F]+$/.test(text) && !/^\d+$/.test(text) ? `0x${text}` : text;
      return parseWhole(bare, limits.min ?? 0, limits.max);
    },
    format: (value) => `0x${value.toString(16).padStart(digits, '0')}`,
  };
}

/** One word of a closed list. */
export function oneOf<const T extends string>(...words: readonly T[]): Scalar<T> {
  const known: ReadonlySet<string> = new Set(words);
  return {
    parse(text) {
      if (!known.has(text)) throw new BadValue(`'${text.slice(0, 40)}' is none of ${words.join(', ')}`);
      return text as T;
    },
    format: same,
  };
}

export const yesNo: Scalar<boolean> = switchWords('yes', 'no');
export const onOff: Scalar<boolean> = switchWords('on', 'off');

/** A UUID with or without hyphens; printed in lower case with hyphens (RFC 9562). */
export const uuidText: Scalar<string> = {
  parse(text) {
    const digits = text.trim().replace(/-/g, '').toLowerCase();
    if (!/^[0-9a-f]{32}$/.test(digits) || !/^[0-9a-fA-F]+(-[0-9a-fA-F]+)*$/.test(text.trim()))
      throw new BadValue(`'${text.slice(0, 60)}' is not a UUID`);
    return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  },
  format: same,
};

/** A unicast or multicast MAC address, printed in lower case. */
export const mac: Scalar<string> = {
  parse(text) {
    if (!/^[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}$/.test(text))
      throw new BadValue(`'${text.slice(0, 40)}' is not a MAC address`);
    return text
      .split(':')
      .map((part) => part.padStart(2, '0').toLowerCase())
      .join(':');
  },
  format: same,
};
