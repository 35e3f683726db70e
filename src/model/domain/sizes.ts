/** Amounts of memory in XML: a whole number with a unit, kept as KiB in the model. */
import {
  attr,
  BadValue,
  child,
  custom,
  type ElementCodec,
  type Field,
  object,
  type Reader,
  type Scalar,
} from '../../base/xml/codec.ts';
import { str } from '../../base/xml/scalars.ts';

/** libvirt's units (formatdomain, "Memory Allocation"): b, bytes, and k to E with B (1000) or iB (1024). */
const unitRule = /^(b|bytes?|[kmgtpe](i?b)?)$/i;

const unitName = str({ max: 8 });

const KIB = 1024;

/** Bytes in one unit; bigint, since an EiB is more than a number holds exactly. */
function unitBytes(unit: string): bigint {
  if (!unitRule.test(unit)) throw new BadValue(`'${unit.slice(0, 20)}' is not a unit of memory`);
  const power = 'bkmgtpe'.indexOf(unit[0]?.toLowerCase() ?? '');
  return (/^[kmgtpe]b$/i.test(unit) ? 1000n : 1024n) ** BigInt(power);
}

/** `value` of `unit` in units of `per` bytes, rounded up; out of range is a BadValue. */
function scaled(value: number, unit: string, per: number): number {
  const whole = (BigInt(value) * unitBytes(unit) + BigInt(per - 1)) / BigInt(per);
  if (whole > BigInt(Number.MAX_SAFE_INTEGER)) throw new BadValue(`${value} ${unit} is out of range`);
  return Number(whole);
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value))
    throw new BadValue(`'${text.slice(0, 40)}' is not a whole number of at most 16 digits`);
  return value;
}

/** Reads `text` with the element's unit attribute, in units of `per` bytes; a problem leaves 0. */
function readSize(reader: Reader, text: string, defaultUnit: string, per: number): number {
  try {
    return scaled(wholeNumber(text.trim()), unitName.parse(reader.attr('unit') ?? defaultUnit), per);
  } catch (error) {
    if (!(error instanceof BadValue)) throw error;
    reader.problem(reader.path, error.message);
    return 0;
  }
}

/** The element's own text in KiB, any unit read (rounded up, as libvirt does), `unit='KiB'` written. */
export const textKiB: Field<number> = custom(
  (reader) => readSize(reader, reader.text(), 'KiB', KIB),
  (element, value) => {
    element.attrs.set('unit', 'KiB');
    element.children.push(String(value));
  },
);

/** An attribute in KiB together with the attribute `unit`, as NUMA cells and huge pages have it. */
export function attrKiB(name: string): Field<number | undefined> {
  return custom(
    (reader) => {
      const text = reader.attr(name);
      if (text === undefined) {
        reader.attr('unit');
        return undefined;
      }
      return readSize(reader, text, 'KiB', KIB);
    },
    (element, value) => {
      if (value === undefined) return;
      element.attrs.set(name, String(value));
      element.attrs.set('unit', 'KiB');
    },
  );
}

const onlyKiB: ElementCodec<{ sizeKiB: number }> = object({ sizeKiB: textKiB });

/** `<name unit='KiB'>number</name>`: a child with nothing but a size, in KiB on the model object. */
export function childKiB(name: string): Field<number | undefined> {
  const inner = child(name, onlyKiB);
  return {
    read: (reader) => inner.read(reader)?.sizeKiB,
    write(element, value, options) {
      inner.write(element, value === undefined ? undefined : { sizeKiB: value }, options);
    },
  };
}

const printedUnits = { KiB: KIB, MiB: 1024 * KIB } as const;

/**
 * A child with nothing but a size, in bytes on the model object. `unit` is what a number without a unit means, and
 * what is written; a size that isn't a multiple of it is written in bytes.
 */
export function childBytes(name: string, unit: keyof typeof printedUnits): Field<number | undefined> {
  const bytes: Field<number> = custom(
    (reader) => readSize(reader, reader.text(), unit, 1),
    (element, value) => {
      const isWhole = value % printedUnits[unit] === 0;
      element.attrs.set('unit', isWhole ? unit : 'bytes');
      element.children.push(String(isWhole ? value / printedUnits[unit] : value));
    },
  );
  const inner = child(name, object({ bytes }));
  return {
    read: (reader) => inner.read(reader)?.bytes,
    write(element, value, options) {
      inner.write(element, value === undefined ? undefined : { bytes: value }, options);
    },
  };
}

/** A size whose unit is part of the model, printed as it was given (NUMA caches and bandwidths). */
export const unitAttr: Field<string | undefined> = attr('unit', {
  parse(text) {
    scaled(0, text, 1);
    return text;
  },
  format: (value) => value,
} satisfies Scalar<string>);
