/** A qcow2 header without an image behind it, for tests of what headers say. */

/** Version 3 (QEMU docs/interop/qcow2.rst), with a backing file when one is named. */
export function qcow2(options: { backing?: string; sizeBytes?: number; features?: bigint } = {}): Buffer {
  const header = Buffer.alloc(1024);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(3, 4);
  header.writeUInt32BE(16, 20);
  header.writeBigUInt64BE(BigInt(options.sizeBytes ?? 1_073_741_824), 24);
  header.writeBigUInt64BE(options.features ?? 0n, 72);
  header.writeUInt32BE(104, 100);
  if (options.backing !== undefined) {
    header.writeBigUInt64BE(200n, 8);
    header.writeUInt32BE(Buffer.byteLength(options.backing), 16);
    header.write(options.backing, 200);
  }
  return header;
}
