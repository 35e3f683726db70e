/** Typed parameters: making them, and reading those of a client by a table of names. */
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { paramType, type TypedParam } from '../../../../libvirt/protocol/objects.ts';
import { invalid } from './support.ts';

export const int = (field: string, value: number): TypedParam => ({
  field,
  value: { type: paramType.int, value },
});
export const uint = (field: string, value: number): TypedParam => ({
  field,
  value: { type: paramType.uint, value },
});
export const long = (field: string, value: number): TypedParam => ({
  field,
  value: { type: paramType.llong, value },
});
export const big = (field: string, value: number): TypedParam => ({
  field,
  value: { type: paramType.ullong, value },
});
export const bool = (field: string, value: boolean): TypedParam => ({
  field,
  value: { type: paramType.boolean, value: value ? 1 : 0 },
});
export const text = (field: string, value: string): TypedParam => ({
  field,
  value: { type: paramType.string, value },
});

/** What a client may set: its libvirt name, and the kind of value. */
export type ParamTable = Readonly<Record<string, keyof typeof paramType>>;

/**
 * The client's parameters by name: numbers, or texts.
 * @throws LibvirtError for one that is unknown, of another type, or given twice
 */
export function readParams(params: readonly TypedParam[], table: ParamTable): Map<string, number | string> {
  const found = new Map<string, number | string>();
  for (const { field, value } of params) {
    const wanted = Object.hasOwn(table, field) ? table[field] : undefined;
    if (wanted === undefined)
      throw new LibvirtError(errorNumber.argumentUnsupported, `parameter '${field}' not supported`);
    if (value.type !== paramType[wanted])
      throw invalid(`invalid type '${typeName(value.type)}' for parameter '${field}', expected '${wanted}'`);
    if (found.has(field)) throw invalid(`parameter '${field}' occurs multiple times`);
    found.set(field, typeof value.value === 'bigint' ? toNumber(field, value.value) : value.value);
  }
  return found;
}

function typeName(type: number): string {
  return Object.entries(paramType).find(([, number]) => number === type)?.[0] ?? String(type);
}

/** The old way to ask for a list: first for its length with room for none, then for the list. */
export function counted<T>(all: readonly T[], room: number): { params: T[]; nparams: number } {
  if (room === 0) return { params: [], nparams: all.length };
  const params = all.slice(0, Math.max(0, room));
  return { params, nparams: params.length };
}

/** Whole numbers of the wire have 64 bits; what is beyond 2^53 is no size or count that anybody has. @throws LibvirtError */
export function toNumber(what: string, value: number | bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw invalid(`${what} is too large: ${value}`);
}
