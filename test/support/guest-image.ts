/** Guests for tests: a boot sector that talks on the serial port, and a little Linux. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { type CpioEntry, file } from '../../scripts/guest-image/cpio.ts';
import { buildInitramfs } from '../../scripts/guest-image/initramfs.ts';
import { guestKernel } from '../../scripts/guest-image/kernel.ts';

/**
 * A 64 KiB disk whose boot sector prints "TINY-GUEST alive" on the first serial port and powers off through the ACPI
 * port of the i440fx (0x604), so machine type pc.
 */
export function writeTinyGuest(path: string): void {
  const code =
    'fa31c08ed8be1d7cac84c07406baf803eeebf5ba0406b80020eff4ebfd54494e592d475545535420616c6976650d0a00';
  writeImage(path, code);
}

/**
 * Boot sectors that do one thing and halt: write 0x2000 to port 0x604 (the i440fx's power-off), 6 to port 0xcf9 (its
 * reset), 1 to port 0x505 (the ISA panic device: panicked), 2 there (a kernel for crashes is loaded); print x on the
 * first serial port without end, or a text once.
 */
export const bootSector = {
  powersOff: 'fa31c0ba0406b80020eff4ebfd',
  resets: 'fabaf90cb006eef4ebfd',
  panics: 'faba0505b001eef4ebfd',
  loadsForCrash: 'faba0505b002eef4ebfd',
  writes: 'fabaf803b078eeebfd',
  /** Goes to sleep on disk: 0x2800 to port 0x604. */
  sleepsOnDisk: 'fa31c0ba0406b80028eff4ebfd',
  /**
   * A guest that keeps the memory device in slot 0, though nobody asked for it (QEMU docs/specs/acpi_mem_hotplug: _OST
   * event 3, status 0x82 at port 0xa00), and then lets the ib700 watchdog fire at once (0xf at port 0x443).
   */
  keepsMemoryAndHangs: 'fa6631c0ba000a66efb003ba040a66efb082ba080a66efb00fba4304eef4ebfd',
  says: (text: string) =>
    `fa31c08ed8be177cac84c07406baf803eeebf5f4ebfd90${Buffer.from(`${text}\r\n\0`).toString('hex')}`,
} as const;

/** A 64 KiB disk that boots this code. */
export function writeImage(path: string, code: string): void {
  const image = Buffer.alloc(65_536);
  Buffer.from(code, 'hex').copy(image);
  image.writeUInt16LE(0xaa55, 510);
  writeFileSync(path, image);
}

/** Kernel and initramfs of the little Linux, fetched and made once a machine; with `extra` files in it, and ext4 if wished. */
export async function littleLinux(
  directory: string,
  extra: readonly CpioEntry[] = [],
  { hasExt4 = false }: { readonly hasExt4?: boolean } = {},
): Promise<{ kernel: string; initrd: string }> {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'vireo-guest');
  const kernel = await guestKernel(cache, (line) => process.stderr.write(`${line}\n`));
  mkdirSync(directory, { recursive: true });
  const initrd = join(directory, 'initramfs.gz');
  const modules = hasExt4 ? [...new Set([...kernel.modules, ...kernel.ext4])] : kernel.modules;
  writeFileSync(initrd, await buildInitramfs({ ...kernel, modules }, extra));
  return { kernel: kernel.kernelPath, initrd };
}

/** A shell script that the little Linux runs when its network is up; for `extra` of littleLinux. */
export function startScript(text: string): CpioEntry {
  return file('etc/start.d/test', text, 0o755);
}
