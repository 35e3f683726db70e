/** XML mapping combinators: each element is declared once, and that one entry parses and formats it. */
import { VirtError } from '../errors.ts';
import {
  BadValue,
  type FormatOptions,
  type ParseMode,
  ParseState,
  Reader,
  type Scalar,
  throwProblems,
} from './reader.ts';
import { type XmlElement, xmlElement } from './tree.ts';

export * from './reader.ts';

/** Maps one property of a model object to a part of an element. */
export interface Field<T> {
  readonly read: (reader: Reader) => T;
  readonly write: (element: XmlElement, value: T, options: FormatOptions) => void;
  /** True where `write` does nothing for undefined, so that it need not be called. */
  readonly isAbsentSilent?: true;
}

/** Maps a whole element to a value. */
export interface ElementCodec<T> {
  readonly read: (reader: Reader) => T;
  readonly write: (element: XmlElement, value: T, options: FormatOptions) => void;
}

type OptionalKeys<F> = {
  [K in keyof F]: F[K] extends Field<infer T> ? (undefined extends T ? K : never) : never;
}[keyof F];
type Simplify<T> = { [K in keyof T]: T[K] } & {};

/** The model type that a set of fields describes; fields that may be undefined are optional properties. */
export type Shape<F> = Simplify<
  { [K in Exclude<keyof F, OptionalKeys<F>>]: F[K] extends Field<infer T> ? T : never } & {
    [K in OptionalKeys<F>]?: F[K] extends Field<infer T> ? T : never;
  }
>;

/** The model type of an element mapping. */
export type Infer<C> = C extends ElementCodec<infer T> ? T : never;

// A record of fields of any type; Shape recovers each one.
// oxlint-disable-next-line typescript/no-explicit-any
type Fields = Record<string, Field<any>>;

/**
 * An element whose parts are the given fields; they are formatted in the order in which they are declared.
 * Absent parts leave no property on the model object.
 */
export function object<F extends Fields>(fields: F): ElementCodec<Shape<F>> {
  const parts = groupOf(fields);
  return {
    read(reader) {
      const value = parts.read(reader);
      reader.finish();
      return value;
    },
    write: parts.write,
  };
}

/** As `object`, but unknown things are left to others to report: for parts that share their element. */
export function groupOf<F extends Fields>(fields: F): ElementCodec<Shape<F>> {
  // Two plain lists: this runs for every element, and most parts of most elements are absent.
  const keys = Object.keys(fields);
  const list = keys.map((key) => fields[key] as Field<unknown>);
  return {
    read(reader) {
      const value: Record<string, unknown> = {};
      for (let index = 0; index < list.length; index += 1) {
        const part = (list[index] as Field<unknown>).read(reader);
        if (part !== undefined) value[keys[index] as string] = part;
      }
      return value as Shape<F>;
    },
    write(element, value, options) {
      for (let index = 0; index < list.length; index += 1) {
        const field = list[index] as Field<unknown>;
        const part = (value as Record<string, unknown>)[keys[index] as string];
        if (part !== undefined || field.isAbsentSilent !== true) field.write(element, part, options);
      }
    },
  };
}

function readScalar<T>(scalar: Scalar<T>, text: string, path: string, reader: Reader): T | undefined {
  try {
    return scalar.parse(text);
  } catch (error) {
    if (!(error instanceof BadValue)) throw error;
    reader.problem(path, error.message);
    return undefined;
  }
}

/** `<x name='value'/>`: an attribute that may be absent. */
export function attr<T>(name: string, scalar: Scalar<T>): Field<T | undefined> {
  return {
    isAbsentSilent: true,
    read(reader) {
      const text = reader.attr(name);
      return text === undefined ? undefined : readScalar(scalar, text, reader.at(name), reader);
    },
    write(element, value) {
      if (value !== undefined) element.attrs.set(name, scalar.format(value));
    },
  };
}

/** The element's own text. Absent and empty text are the same: undefined. */
export function text<T>(scalar: Scalar<T>): Field<T | undefined> {
  return {
    isAbsentSilent: true,
    read(reader) {
      const found = reader.text();
      return found.trim() === '' ? undefined : readScalar(scalar, found, reader.path, reader);
    },
    write(element, value) {
      if (value !== undefined) element.children.push(scalar.format(value));
    },
  };
}

/** Makes an optional field compulsory: its absence is a problem (`what` names it in the message). */
export function required<T>(field: Field<T | undefined>, what: string): Field<T> {
  return {
    read(reader) {
      const before = reader.state.problems.length;
      const value = field.read(reader);
      if (value === undefined && reader.state.problems.length === before)
        reader.problem(reader.at(what), 'is missing');
      // The document is refused as a whole when there was a problem, so this hole is never seen.
      return value as T;
    },
    write: field.write,
  };
}

/** Gives an optional field a value when it is absent; that value is written out. */
export function defaulted<T>(field: Field<T | undefined>, value: T): Field<T> {
  return { read: (reader) => field.read(reader) ?? value, write: field.write };
}

/** `<name>…</name>`: one child element that may be absent. */
export function child<T>(name: string, codec: ElementCodec<T>): Field<T | undefined> {
  return {
    isAbsentSilent: true,
    read(reader) {
      const found = reader.child(name);
      return found === undefined ? undefined : codec.read(new Reader(found, reader.at(name), reader.state));
    },
    write(element, value, options) {
      if (value !== undefined) writeChild(element, name, codec, value, options);
    },
  };
}

function writeChild<T>(
  parent: XmlElement,
  name: string,
  codec: ElementCodec<T>,
  value: T,
  options: FormatOptions,
): void {
  const element = xmlElement(name);
  codec.write(element, value, options);
  parent.children.push(element);
}

/** The most children of one name that a definition may have. */
const MAX_CHILDREN = 16_384;

/** `<name/><name/>…`: any number of children up to `max`; none is an empty list. */
export function children<T>(name: string, codec: ElementCodec<T>, max: number = MAX_CHILDREN): Field<T[]> {
  return {
    isAbsentSilent: true,
    read(reader) {
      const found = reader.children(name);
      if (found.length === 0) return [];
      if (found.length > max) reader.problem(reader.at(name), `is given more than ${max} times`);
      return found
        .slice(0, max)
        .map((element, index) =>
          codec.read(new Reader(element, `${reader.at(name)}[${index}]`, reader.state)),
        );
    },
    write(element, value, options) {
      for (const item of value ?? []) writeChild(element, name, codec, item, options);
    },
  };
}

/** `<name>text</name>`: a child with nothing but a text. */
export function childText<T>(name: string, scalar: Scalar<T>): Field<T | undefined> {
  return unwrapped(name, text(scalar));
}

/** `<name attribute='value'/>`: a child with nothing but that attribute. */
export function childAttr<T>(name: string, attribute: string, scalar: Scalar<T>): Field<T | undefined> {
  return unwrapped(name, attr(attribute, scalar));
}

/** A child element with one part, whose value stands directly on the model object. */
function unwrapped<T>(name: string, field: Field<T | undefined>): Field<T | undefined> {
  return {
    isAbsentSilent: true,
    read(reader) {
      const found = reader.child(name);
      if (found === undefined) return undefined;
      const inner = new Reader(found, reader.at(name), reader.state);
      const value = field.read(inner);
      inner.finish();
      return value;
    },
    write(element, value, options) {
      if (value === undefined) return;
      const inner = xmlElement(name);
      field.write(inner, value, options);
      element.children.push(inner);
    },
  };
}

/** `<name/>`: present or not. */
export function flag(name: string): Field<true | undefined> {
  return {
    isAbsentSilent: true,
    read(reader) {
      const found = reader.child(name);
      if (found === undefined) return undefined;
      new Reader(found, reader.at(name), reader.state).finish();
      return true;
    },
    write(element, value) {
      if (value) element.children.push(xmlElement(name));
    },
  };
}

/** A truth value in two words. */
export function switchWords(yes: string, no: string): Scalar<boolean> {
  return {
    parse(value) {
      if (value === yes) return true;
      if (value === no) return false;
      throw new BadValue(`'${value.slice(0, 40)}' is neither ${yes} nor ${no}`);
    },
    format: (value) => (value ? yes : no),
  };
}

/** `<name attribute='on'/>`: a switch whose attribute may be absent, which means on (or yes); it is always written. */
export function childSwitch(
  name: string,
  attribute: string,
  words: 'on' | 'yes' = 'on',
): Field<boolean | undefined> {
  const scalar = words === 'on' ? switchWords('on', 'off') : switchWords('yes', 'no');
  return unwrapped(name, {
    read: (reader) => attr(attribute, scalar).read(reader) ?? true,
    write: attr(attribute, scalar).write,
  });
}

/** `<name>…</name>`: a child that is read as if empty when it is absent, so that the property is always there. */
export function childOrEmpty<T>(name: string, codec: ElementCodec<T>): Field<T> {
  return {
    read: (reader) =>
      codec.read(new Reader(reader.child(name) ?? xmlElement(name), reader.at(name), reader.state)),
    write: (element, value, options) => writeChild(element, name, codec, value, options),
  };
}

/** A wrapper element around a list: `<name><item/><item/></name>`; absent when the list is empty. */
export function wrapped<T>(name: string, inner: Field<T[]>): Field<T[]> {
  return {
    isAbsentSilent: true,
    read(reader) {
      const found = reader.child(name);
      if (found === undefined) return [];
      const innerReader = new Reader(found, reader.at(name), reader.state);
      const value = inner.read(innerReader);
      innerReader.finish();
      return value;
    },
    write(element, value, options) {
      if (value === undefined || value.length === 0) return;
      const wrapper = xmlElement(name);
      inner.write(wrapper, value, options);
      element.children.push(wrapper);
    },
  };
}

/** A field that is written only when the options say so: `(o) => o.secure`, `(o) => !o.inactive`. */
export function onlyFor<T>(field: Field<T>, wanted: (options: FormatOptions) => boolean): Field<T> {
  return {
    read: field.read,
    write(element, value, options) {
      if (wanted(options)) field.write(element, value, options);
    },
  };
}

/** A field whose parse and format are written out; for the rare part that fits none of the above. */
export function custom<T>(
  read: (reader: Reader) => T,
  write: (element: XmlElement, value: T, options: FormatOptions) => void,
): Field<T> {
  return { read, write };
}

/** An element whose fields depend on the value of one attribute: `<address type='pci'/>`, `<address type='drive'/>`. */
// oxlint-disable-next-line typescript/no-explicit-any
export function variants<K extends string, V extends Record<string, ElementCodec<any>>>(
  attribute: K,
  codecs: V,
): ElementCodec<{ [N in keyof V & string]: Simplify<{ [P in K]: N } & Infer<V[N]>> }[keyof V & string]> {
  type Value = { [N in keyof V & string]: Simplify<{ [P in K]: N } & Infer<V[N]>> }[keyof V & string];
  return {
    read(reader) {
      const kind = reader.attr(attribute);
      const codec = kind !== undefined && Object.hasOwn(codecs, kind) ? codecs[kind] : undefined;
      if (codec === undefined) {
        const known = Object.keys(codecs).join(', ');
        reader.problem(
          reader.at(attribute),
          kind === undefined ? 'is missing' : `'${kind}' is none of ${known}`,
        );
        return {} as Value;
      }
      return { [attribute]: kind, ...(codec.read(reader) as object) } as Value;
    },
    write(element, value, options) {
      const kind = (value as Record<string, string>)[attribute] ?? '';
      element.attrs.set(attribute, kind);
      codecs[kind]?.write(element, value, options);
    },
  };
}

/** Reads a root element with its mapping; throws one error with all problems. */
export function readDocument<T>(
  codec: Pick<ElementCodec<T>, 'read'>,
  root: XmlElement,
  expected: string,
  options: { readonly mode: ParseMode; readonly what: string },
): { value: T; dropped: readonly string[] } {
  if (root.name !== expected)
    throw new VirtError('xml.invalid', {
      wanted: `read the ${options.what}`,
      reason: `the root element is <${root.name}>, not <${expected}>`,
    });
  const state = new ParseState(options.mode);
  const value = codec.read(new Reader(root, '', state));
  throwProblems(state.problems, `read the ${options.what}`);
  return { value, dropped: state.dropped };
}

/** Writes a value as the element `name`. */
export function writeElement<T>(
  codec: ElementCodec<T>,
  name: string,
  value: T,
  options: FormatOptions = {},
): XmlElement {
  const element = xmlElement(name);
  codec.write(element, value, options);
  return element;
}
