/** Buffers of texts, and lists of buffers that are written one after the other. */

/** What is left of them when the first `bytes` are gone. */
export function withoutBytes(buffers: readonly Buffer[], bytes: number): Buffer[] {
  let left = bytes;
  let index = 0;
  for (let first = buffers[index]; first !== undefined && left >= first.length; first = buffers[++index])
    left -= first.length;
  const [first, ...others] = buffers.slice(index);
  return first === undefined ? [] : [first.subarray(left), ...others];
}

/**
 * The UTF-8 bytes of a text. Buffer.from lets Node's native side make those of a longer text, which only a collection of all
 * garbage frees, not the frequent one of young objects: a thousand definitions left 10 MiB so.
 */
export function utf8Bytes(text: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text));
  bytes.write(text);
  return bytes;
}
