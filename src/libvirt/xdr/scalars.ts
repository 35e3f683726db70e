/** XDR's scalar types, each with encoder and decoder in one place. */
import { XdrError } from './error.ts';
import type { XdrReader } from './reader.ts';
import type { XdrWriter } from './writer.ts';

/** A type on the wire: how its values are written and read. */
export interface Xdr<T> {
  /** The fewest bytes a value takes: what an announced count of items is checked with. */
  readonly minBytes: number;
  /** @throws XdrError when the type can't carry the value */
  encode(writer: XdrWriter, value: T): void;
  /** @throws XdrError */
  decode(reader: XdrReader): T;
}

/** The TypeScript type of a codec's values. */
export type Infer<C> = C extends Xdr<infer T> ? T : never;

const wrong = (value: unknown, type: string) => new XdrError('value', `${String(value)} is no ${type}`);

/** 32 bits, signed. libvirt's char and short take the same form. */
export const int: Xdr<number> = {
  minBytes: 4,
  encode(writer, value) {
    if ((value | 0) !== value) throw wrong(value, 'int');
    writer.word(value);
  },
  decode: (reader) => reader.int(),
};

/** 32 bits, unsigned. */
export const uint: Xdr<number> = {
  minBytes: 4,
  encode(writer, value) {
    if (value >>> 0 !== value) throw wrong(value, 'unsigned int');
    writer.word(value);
  },
  decode: (reader) => reader.uint(),
};

/** Any word but 0 is true, as libtirpc's xdr_bool reads it. */
export const bool: Xdr<boolean> = {
  minBytes: 4,
  encode: (writer, value) => writer.word(value ? 1 : 0),
  decode: (reader) => reader.int() !== 0,
};

export const double: Xdr<number> = {
  minBytes: 8,
  encode: (writer, value) => writer.double(value),
  decode: (reader) => reader.double(),
};

/** 64 bits, signed, as a bigint. */
export const hyper: Xdr<bigint> = bigCodec('hyper', (value) => BigInt.asIntN(64, value));
/** 64 bits, unsigned, as a bigint. */
export const uhyper: Xdr<bigint> = bigCodec('unsigned hyper', (value) => BigInt.asUintN(64, value));

function bigCodec(name: string, fit: (value: bigint) => bigint): Xdr<bigint> {
  return {
    minBytes: 8,
    encode(writer, value) {
      if (fit(value) !== value) throw wrong(value, name);
      writer.word(Number((value >> 32n) & 0xffffffffn));
      writer.word(Number(value & 0xffffffffn));
    },
    decode(reader) {
      const high = BigInt(reader.uint());
      return fit((high << 32n) | BigInt(reader.uint()));
    },
  };
}

/** A 64-bit number: a `number` while it is exact, else a bigint. Encoders take both. */
export type Wide = number | bigint;

/** 64 bits, signed; a number within ±2^53. */
export const safeHyper: Xdr<Wide> = wideCodec(hyper, Number.MIN_SAFE_INTEGER, (reader) => reader.int());
/** 64 bits, unsigned; a number up to 2^53. */
export const safeUhyper: Xdr<Wide> = wideCodec(uhyper, 0, (reader) => reader.uint());

/** 2^21: with a high word below it, both words make an exact number. */
const EXACT_HIGH = 0x200000;

function wideCodec(big: Xdr<bigint>, least: number, high: (reader: XdrReader) => number): Xdr<Wide> {
  return {
    minBytes: 8,
    encode(writer, value) {
      if (typeof value === 'bigint') return big.encode(writer, value);
      if (!Number.isSafeInteger(value) || value < least) throw wrong(value, '64-bit number');
      writer.word(Math.floor(value / 0x100000000));
      writer.word(value);
    },
    decode(reader) {
      const top = high(reader);
      const low = reader.uint();
      if (top < EXACT_HIGH && top >= -EXACT_HIGH) {
        const value = top * 0x100000000 + low;
        if (Number.isSafeInteger(value)) return value;
      }
      return (BigInt(top) << 32n) | BigInt(low);
    },
  };
}

/** One word that stands for a name. @throws XdrError value for a word without a name */
export function enumOf<const V extends Readonly<Record<string, number>>>(values: V): Xdr<keyof V & string> {
  const names = new Map(Object.entries(values).map(([name, value]) => [value, name as keyof V & string]));
  return {
    minBytes: 4,
    encode: (writer, name) => writer.word(values[name] as number),
    decode(reader) {
      const value = reader.int();
      const name = names.get(value);
      if (name === undefined) throw wrong(value, `one of ${[...names.values()].join(', ')}`);
      return name;
    },
  };
}

/** UTF-8 text of at most `maxBytes`, without NUL. */
export function string(maxBytes: number): Xdr<string> {
  return {
    minBytes: 4,
    encode: (writer, value) => writer.text(value, maxBytes),
    decode: (reader) => reader.text(maxBytes),
  };
}

/** Exactly `length` bytes. */
export function fixedOpaque(length: number): Xdr<Uint8Array> {
  return {
    minBytes: (length + 3) & ~3,
    encode(writer, value) {
      if (value.length !== length) throw wrong(`${value.length} bytes`, `opaque[${length}]`);
      writer.padded(value);
    },
    decode: (reader) => reader.padded(length),
  };
}

/** Up to `maxBytes` bytes. */
export function opaque(maxBytes: number): Xdr<Uint8Array> {
  return {
    minBytes: 4,
    encode(writer, value) {
      if (value.length > maxBytes)
        throw new XdrError('too-long', `${value.length} bytes, at most ${maxBytes}`);
      writer.word(value.length);
      writer.padded(value);
    },
    decode: (reader) => reader.padded(reader.count(maxBytes, 1)),
  };
}

const hexOf = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
/** Value of a hex digit by its character code; 16 for everything else. */
const digitOf = new Uint8Array(128).fill(16);
for (const digit of '0123456789abcdefABCDEF') digitOf[digit.charCodeAt(0)] = Number.parseInt(digit, 16);
/** Where the four words of a uuid begin in its text, and whether a hyphen stands in the middle of one. */
const uuidWords = [
  { at: 0, hyphenAfter: 8 },
  { at: 9, hyphenAfter: 4 },
  { at: 19, hyphenAfter: 4 },
  { at: 28, hyphenAfter: 8 },
] as const;

/** Eight hex digits, after `hyphenAfter` of which a hyphen is skipped (8: none); -1 when they are none. */
function uuidWord(text: string, at: number, hyphenAfter: number): number {
  let word = 0;
  for (let i = 0, from = at; i < 8; i++, from++) {
    if (i === hyphenAfter) from++;
    const digit = digitOf[text.charCodeAt(from)] ?? 16;
    if (digit === 16) return -1;
    word = word * 16 + digit;
  }
  return word;
}

/** Hyphens are where a uuid has them, and nothing follows. */
const hasUuidForm = (text: string) =>
  text.length === 36 && text[8] === '-' && text[13] === '-' && text[18] === '-' && text[23] === '-';

/** 16 bytes, as the text that people write, in lower case. */
export const uuid: Xdr<string> = {
  minBytes: 16,
  encode(writer, value) {
    if (!hasUuidForm(value)) throw wrong(value, 'uuid');
    for (const { at, hyphenAfter } of uuidWords) {
      const word = uuidWord(value, at, hyphenAfter);
      if (word === -1) throw wrong(value, 'uuid');
      writer.word(word);
    }
  },
  decode(reader) {
    const first = reader.int();
    const second = reader.int();
    const third = reader.int();
    return `${hexWord(first)}-${hexHalf(second >>> 16)}-${hexHalf(second)}-${hexHalf(third >>> 16)}-${hexHalf(third)}${hexWord(reader.int())}`;
  },
};

function hexHalf(half: number): string {
  return `${hexOf[(half >>> 8) & 255]}${hexOf[half & 255]}`;
}

function hexWord(word: number): string {
  return hexHalf(word >>> 16) + hexHalf(word);
}

/** Nothing at all. */
export const nothing: Xdr<void> = {
  minBytes: 0,
  encode: () => undefined,
  decode: () => undefined,
};
