/** The XDR layer as others use it: declare types with combinators, encode and decode whole values. */
import { XdrReader } from './reader.ts';
import type { Xdr } from './scalars.ts';
import { XdrWriter } from './writer.ts';

export * from './composites.ts';
export { XdrError } from './error.ts';
export { XdrReader } from './reader.ts';
export * from './scalars.ts';
export { XdrWriter } from './writer.ts';

/** Reads a value that takes all of the bytes. @throws XdrError */
export function decodeAll<T>(codec: Xdr<T>, bytes: Buffer): T {
  const reader = new XdrReader(bytes);
  const value = codec.decode(reader);
  reader.finish();
  return value;
}

/** The bytes of one value. @throws XdrError */
export function encodeAll<T>(codec: Xdr<T>, value: T, maxBytes = 33_554_432): Buffer {
  const writer = new XdrWriter(maxBytes);
  codec.encode(writer, value);
  return writer.take();
}
