/** Mapping combinators for shapes that only devices have: a type on the device that decides what its parts are. */
import { toBytes } from '../../../base/units.ts';
import {
  attr,
  BadValue,
  type ElementCodec,
  type Field,
  groupOf,
  object,
  Reader,
  required,
  type Scalar,
  type Shape,
  text,
} from '../../../base/xml/codec.ts';
import { xmlElement } from '../../../base/xml/tree.ts';

// biome-ignore lint/suspicious/noExplicitAny: fields and codecs of any type; the mapped types recover each one.
type Fields = Record<string, Field<any>>; // oxlint-disable-line typescript/no-explicit-any
// biome-ignore lint/suspicious/noExplicitAny: as above.
type Codecs = Record<string, ElementCodec<any>>; // oxlint-disable-line typescript/no-explicit-any
type Simplify<T> = { [K in keyof T]: T[K] } & {};
type Infer<C> = C extends ElementCodec<infer T> ? T : never;

/** The union that `kinds` and `typed` describe: `{ type: 'file', … } | { type: 'block', … }`. */
export type Kinds<K extends string, V> = {
  [N in keyof V & string]: Simplify<{ [P in K]: N } & Infer<V[N]>>;
}[keyof V & string];

/** Parts that share their element with other parts: as `object`, but unknown things are left to the owner to report. */
export const group = groupOf;

/** Both groups' parts on one element and in one value. */
export function both<A, B>(first: ElementCodec<A>, second: ElementCodec<B>): ElementCodec<Simplify<A & B>> {
  return {
    read: (reader) => ({ ...first.read(reader), ...second.read(reader) }),
    write(element, value, options) {
      first.write(element, value, options);
      second.write(element, value, options);
    },
  };
}

/**
 * The parts of the child element `name`, put straight into the owner's value. An absent child reads like an empty
 * one; a child that would be empty is not written.
 */
export function within<F extends Fields>(name: string, fields: F): ElementCodec<Shape<F>> {
  const codec = object(fields);
  return {
    read(reader) {
      const found = reader.child(name) ?? xmlElement(name);
      return codec.read(new Reader(found, reader.at(name), reader.state));
    },
    write(element, value, options) {
      const inner = xmlElement(name);
      codec.write(inner, value, options);
      if (inner.attrs.size > 0 || inner.children.length > 0) element.children.push(inner);
    },
  };
}

/**
 * The parts of one element that depend on the value of its attribute `attribute`; `fallback` is meant when it is
 * absent. Attributes are printed in the order of the fields, children too.
 */
export function kinds<K extends string, V extends Codecs>(
  attribute: K,
  codecs: V,
  fallback?: keyof V & string,
): Field<Kinds<K, V>> {
  return {
    read(reader) {
      const kind = reader.attr(attribute) ?? fallback;
      const codec = kind !== undefined && Object.hasOwn(codecs, kind) ? codecs[kind] : undefined;
      if (codec === undefined) {
        const known = Object.keys(codecs).join(', ');
        const message = kind === undefined ? 'is missing' : `'${kind.slice(0, 40)}' is none of ${known}`;
        reader.problem(reader.at(attribute), message);
        return {} as Kinds<K, V>;
      }
      return { [attribute]: kind, ...(codec.read(reader) as object) } as Kinds<K, V>;
    },
    write(element, value, options) {
      const kind = (value as Record<string, string>)[attribute] ?? '';
      element.attrs.set(attribute, kind);
      codecs[kind]?.write(element, value, options);
    },
  };
}

/** Refuses a second look at a value once it is read whole: `check` reports what single parts cannot know. */
export function checked<T>(
  codec: ElementCodec<T>,
  check: (value: T, reader: Reader) => void,
): ElementCodec<T> {
  return {
    read(reader) {
      const before = reader.state.problems.length;
      const value = codec.read(reader);
      if (reader.state.problems.length === before) check(value, reader);
      return value;
    },
    write: codec.write,
  };
}

/** An attribute with one allowed value, which is always written and stands for nothing in the model. */
export function fixed(name: string, value: string, need: 'must' | 'may' = 'must'): Field<undefined> {
  return {
    read(reader) {
      const found = reader.attr(name);
      if (found === undefined ? need === 'must' : found !== value)
        reader.problem(reader.at(name), found === undefined ? 'is missing' : `is not '${value}'`);
      return undefined;
    },
    write: (element) => void element.attrs.set(name, value),
  };
}

/** As `attr`, but it must be there. */
export function need<T>(name: string, scalar: Scalar<T>): Field<T> {
  return required(attr(name, scalar), name);
}

export interface SizeRule {
  /** What one unit of the model's number is: 1 for bytes, 1024 for KiB. Text that isn't whole is rounded up. */
  readonly unitBytes: number;
  /** The unit that is meant when the document gives none. */
  readonly fallback: string;
  /** The unit that is printed. */
  readonly print: string;
  readonly max?: number;
}

export const bytesRule: SizeRule = { unitBytes: 1, fallback: 'bytes', print: 'bytes' };
export const kibRule: SizeRule = { unitBytes: 1024, fallback: 'KiB', print: 'KiB' };

/** `<name unit='KiB'>n</name>`: a size with libvirt's units (formatdomain, "scaled integer"). */
export function size(rule: SizeRule): ElementCodec<number> {
  const printBytes = toBytes(1, rule.print) ?? 1;
  return {
    read(reader) {
      const unit = reader.attr('unit') ?? rule.fallback;
      const raw = reader.text().trim();
      reader.finish();
      try {
        return readSize(raw, unit, rule);
      } catch (error) {
        if (!(error instanceof BadValue)) throw error;
        reader.problem(reader.path, error.message);
        return 0;
      }
    },
    write(element, value) {
      element.attrs.set('unit', rule.print);
      element.children.push(String(Math.ceil((value * rule.unitBytes) / printBytes)));
    },
  };
}

function readSize(raw: string, unit: string, rule: SizeRule): number {
  if (!/^\d{1,20}$/.test(raw)) throw new BadValue(`'${raw.slice(0, 40)}' is not a size`);
  if (toBytes(1, unit) === undefined) throw new BadValue(`'${unit.slice(0, 20)}' is not a unit`);
  const bytes = toBytes(Number(raw), unit);
  if (bytes === undefined || bytes > (rule.max ?? Number.MAX_SAFE_INTEGER))
    throw new BadValue(`${raw} ${unit} is out of range`);
  return Math.ceil(bytes / rule.unitBytes);
}

/** An element that is nothing but its text, which must not be empty. */
export function textOnly<T>(scalar: Scalar<T>): ElementCodec<T> {
  const field = required(text(scalar), 'text');
  return {
    read(reader) {
      const value = field.read(reader);
      reader.finish();
      return value;
    },
    write: field.write,
  };
}

/** Reports parts of a value that only go with certain kinds of it: part name, then the kinds that may have it. */
export function onlyWith(
  value: object,
  kind: string,
  table: Readonly<Record<string, readonly string[]>>,
  reader: Reader,
  where = '',
): void {
  for (const [key, allowed] of Object.entries(table)) {
    const found = (value as Record<string, unknown>)[key];
    if (found === undefined || (Array.isArray(found) && found.length === 0) || allowed.includes(kind))
      continue;
    reader.problem(reader.at(where + key), `goes with ${allowed.join(', ')} only, not with ${kind}`);
  }
}
