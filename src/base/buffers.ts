/** Lists of buffers that are written one after the other. */

/** What is left of them when the first `bytes` are gone. */
export function withoutBytes(buffers: readonly Buffer[], bytes: number): Buffer[] {
  let left = bytes;
  let index = 0;
  for (let first = buffers[index]; first !== undefined && left >= first.length; first = buffers[++index])
    left -= first.length;
  const [first, ...others] = buffers.slice(index);
  return first === undefined ? [] : [first.subarray(left), ...others];
}
