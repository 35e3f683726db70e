/** XDR's composed types: structs, arrays, optional values and unions. A type declared with them is both directions. */
import { XdrError } from './error.ts';
import type { XdrReader } from './reader.ts';
import type { Infer, Xdr } from './scalars.ts';
import type { XdrWriter } from './writer.ts';

type Fields = Readonly<Record<string, Xdr<unknown>>>;

/** The type of a struct's values: one property per field. */
export type StructValue<F extends Fields> = { [K in keyof F]: Infer<F[K]> };

/** Fields one after the other, in the order of their declaration. */
export function struct<F extends Fields>(fields: F): Xdr<StructValue<F>> {
  return new Struct(fields) as unknown as Xdr<StructValue<F>>;
}

type Item = Record<string, unknown>;

/** One class for all structs: the loop is compiled once, and no closure is made per message. */
class Struct implements Xdr<Item> {
  readonly minBytes: number;
  private readonly names: readonly string[];
  private readonly codecs: readonly Xdr<unknown>[];

  constructor(fields: Fields) {
    this.names = Object.keys(fields);
    this.codecs = Object.values(fields);
    this.minBytes = this.codecs.reduce((sum, codec) => sum + codec.minBytes, 0);
  }

  encode(writer: XdrWriter, value: Item): void {
    const { names, codecs } = this;
    let i = 0;
    try {
      for (; i < names.length; i++) (codecs[i] as Xdr<unknown>).encode(writer, value[names[i] as string]);
    } catch (error) {
      throw inField(error, names[i] as string);
    }
  }

  decode(reader: XdrReader): Item {
    const { names, codecs } = this;
    const value: Item = {};
    let i = 0;
    try {
      for (; i < names.length; i++) value[names[i] as string] = (codecs[i] as Xdr<unknown>).decode(reader);
    } catch (error) {
      throw inField(error, names[i] as string);
    }
    return value;
  }
}

/**
 * The same type, for values that are sent again and again: the bytes of a frozen value are made once, and kept for as
 * long as somebody has the value. Its fields must be plain ones: freezing is not deep.
 */
export function remembered<T extends object>(codec: Xdr<T>): Xdr<T> {
  const known = new WeakMap<T, Uint8Array>();
  return {
    minBytes: codec.minBytes,
    encode(writer, value) {
      const bytes = known.get(value);
      if (bytes !== undefined) return writer.padded(bytes);
      const start = writer.length;
      codec.encode(writer, value);
      if (Object.isFrozen(value)) known.set(value, writer.copySince(start));
    },
    decode: (reader) => codec.decode(reader),
  };
}

function inField(error: unknown, name: string): unknown {
  return error instanceof XdrError ? error.within(name) : error;
}

/** A count and so many items, at most `max`. */
export function array<T>(item: Xdr<T>, max: number): Xdr<T[]> {
  // An item of no bytes could be announced without end.
  const itemBytes = Math.max(item.minBytes, 1);
  return {
    minBytes: 4,
    encode(writer, value) {
      if (value.length > max) throw new XdrError('too-long', `${value.length} items, at most ${max}`);
      writer.word(value.length);
      for (const one of value) item.encode(writer, one);
    },
    decode(reader) {
      const count = reader.count(max, itemBytes);
      const value: T[] = [];
      for (let i = 0; i < count; i++) value.push(item.decode(reader));
      return value;
    },
  };
}

/** Exactly `length` items, without a count. */
export function fixedArray<T>(item: Xdr<T>, length: number): Xdr<T[]> {
  return {
    minBytes: item.minBytes * length,
    encode(writer, value) {
      if (value.length !== length) throw new XdrError('value', `${value.length} items instead of ${length}`);
      for (const one of value) item.encode(writer, one);
    },
    decode: (reader) => Array.from({ length }, () => item.decode(reader)),
  };
}

/** A value that may be missing (a pointer in the protocol's own words). */
export function optional<T>(item: Xdr<T>): Xdr<T | null> {
  return {
    minBytes: 4,
    encode(writer, value) {
      writer.word(value === null ? 0 : 1);
      if (value !== null) item.encode(writer, value);
    },
    decode: (reader) => (reader.int() === 0 ? null : item.decode(reader)),
  };
}

/** The values of a union: a number that tells the kind, and the value of that kind. */
export type UnionValue<A extends Readonly<Record<number, Xdr<unknown>>>> = {
  [K in keyof A & number]: { type: K; value: Infer<A[K]> };
}[keyof A & number];

/** A word that picks one of several types. @throws XdrError value for a word that picks none */
export function union<A extends Readonly<Record<number, Xdr<unknown>>>>(arms: A): Xdr<UnionValue<A>> {
  const codecs = new Map(Object.entries(arms).map(([type, codec]) => [Number(type), codec]));
  const codecOf = (type: number): Xdr<unknown> => {
    const codec = codecs.get(type);
    if (codec === undefined) throw new XdrError('value', `${type} is no kind of this union`);
    return codec;
  };
  return {
    minBytes: 4 + Math.min(...[...codecs.values()].map((codec) => codec.minBytes)),
    encode(writer, value) {
      writer.word(value.type);
      codecOf(value.type).encode(writer, value.value);
    },
    decode(reader) {
      const type = reader.int();
      return { type, value: codecOf(type).decode(reader) } as UnionValue<A>;
    },
  };
}
