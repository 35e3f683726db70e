/** Writes cpio archives in the "newc" format that the kernel unpacks as initramfs (Documentation/driver-api/early-userspace/buffer-format.rst). */

export interface CpioEntry {
  readonly name: string;
  /** File type and permissions, as in st_mode (0o100755, 0o040755, 0o120777, 0o020600). */
  readonly mode: number;
  readonly data?: Uint8Array;
  /** Major and minor of a device node. */
  readonly device?: readonly [number, number];
}

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');
const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);

/** The archive, owner root everywhere, times 0: the same entries give the same bytes. */
export function buildCpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  const all = [...entries, { name: 'TRAILER!!!', mode: 0 }];
  for (const [index, entry] of all.entries()) {
    const name = Buffer.from(`${entry.name}\0`);
    const data = Buffer.from(entry.data ?? []);
    const [major, minor] = ('device' in entry && entry.device) || [0, 0];
    const fields = [index + 1, entry.mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, name.length, 0];
    const header = Buffer.from(`070701${fields.map(hex).join('')}`);
    parts.push(header, name, padding(header.length + name.length), data, padding(data.length));
  }
  return Buffer.concat(parts);
}

export const directory = (name: string): CpioEntry => ({ name, mode: 0o040755 });
export const file = (name: string, data: Uint8Array | string, mode = 0o644): CpioEntry => ({
  name,
  mode: 0o100000 | mode,
  data: Buffer.from(data as string),
});
