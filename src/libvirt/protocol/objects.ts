/** What many procedures share: texts, the objects as clients name them, typed parameters (remote_protocol.x). */
import {
  array,
  double,
  enumOf,
  fixedArray,
  type Infer,
  int,
  optional,
  remembered,
  safeHyper,
  safeUhyper,
  struct,
  string as text,
  uint,
  union,
  uuid,
  type Xdr,
} from '../xdr/xdr.ts';
import { limits } from './limits.ts';

/** A text that must be there. */
export const nonnullString = text(limits.string);
/** A text that may be missing. */
export const string = optional(nonnullString);

/** `id` is -1 while the domain does not run; a client's id may be old, its uuid decides. */
export const nonnullDomain = remembered(struct({ name: nonnullString, uuid, id: int }));
export const nonnullNetwork = struct({ name: nonnullString, uuid });
export const nonnullNetworkPort = struct({ net: nonnullNetwork, uuid });
export const nonnullNwfilter = struct({ name: nonnullString, uuid });
export const nonnullNwfilterBinding = struct({ portdev: nonnullString, filtername: nonnullString });
export const nonnullInterface = struct({ name: nonnullString, mac: nonnullString });
export const nonnullStoragePool = struct({ name: nonnullString, uuid });
export const nonnullStorageVol = struct({ pool: nonnullString, name: nonnullString, key: nonnullString });
export const nonnullNodeDevice = struct({ name: nonnullString });
export const nonnullSecret = struct({ uuid, usageType: int, usageId: nonnullString });
export const nonnullDomainCheckpoint = struct({ name: nonnullString, dom: nonnullDomain });
export const nonnullDomainSnapshot = struct({ name: nonnullString, dom: nonnullDomain });

export const optionalDomain = optional(nonnullDomain);
export const optionalNetwork = optional(nonnullNetwork);
export const optionalStoragePool = optional(nonnullStoragePool);
export const optionalNodeDevice = optional(nonnullNodeDevice);
export const optionalSecret = optional(nonnullSecret);

export type WireDomain = Infer<typeof nonnullDomain>;
export type WireNetwork = Infer<typeof nonnullNetwork>;
export type WireStoragePool = Infer<typeof nonnullStoragePool>;
export type WireStorageVol = Infer<typeof nonnullStorageVol>;
export type WireSecret = Infer<typeof nonnullSecret>;

/** How a client may prove who it is. */
export const authType = enumOf({ none: 0, sasl: 1, polkit: 2 });

/** Kinds of typed parameters (libvirt-common.h, virTypedParameterType). */
export const paramType = {
  int: 1,
  uint: 2,
  llong: 3,
  ullong: 4,
  double: 5,
  boolean: 6,
  string: 7,
} as const;

/** A named value; the name has at most 79 bytes, or clients refuse it. Booleans are an int. */
export const typedParam = struct({
  field: nonnullString,
  value: union({
    [paramType.int]: int,
    [paramType.uint]: uint,
    [paramType.llong]: safeHyper,
    [paramType.ullong]: safeUhyper,
    [paramType.double]: double,
    [paramType.boolean]: int,
    [paramType.string]: nonnullString,
  }),
});

export type TypedParam = Infer<typeof typedParam>;

/** C's char has a sign, which goes with it into the word. */
function signed(bytes: Uint8Array): number[] {
  return [...bytes].map((byte) => (byte << 24) >> 24);
}

/** C's char array of variable length: each byte takes a whole word, so libvirt's types do. */
export function charBytes(maxBytes: number): Xdr<Uint8Array> {
  const words = array(int, maxBytes);
  return {
    minBytes: words.minBytes,
    encode: (writer, value) => words.encode(writer, signed(value)),
    decode: (reader) => Buffer.from(words.decode(reader)),
  };
}

/** C's char array of fixed length with a text in it: a word per byte, NUL at the end. Longer text is cut. */
export function charText(bytes: number): Xdr<string> {
  const words = fixedArray(int, bytes);
  return {
    minBytes: words.minBytes,
    encode(writer, value) {
      const data = Buffer.alloc(bytes);
      data.write(value, 0, bytes - 1);
      words.encode(writer, signed(data));
    },
    decode(reader) {
      const data = Buffer.from(words.decode(reader));
      const end = data.indexOf(0);
      return data.toString('utf8', 0, end === -1 ? bytes : end);
    },
  };
}
