/** The lab's initramfs, made in memory for each run: busybox, kernel modules, two scripts, the command. */
import { readFileSync } from 'node:fs';
import { LabError, type LabKernel } from './kernel.ts';

/** It must be the static one (Debian: busybox-static). */
const BUSYBOX = '/bin/busybox';
/** Loaded in every guest, in this order, with what they depend on. */
const BASE_MODULES = ['virtio_pci', 'virtio_console', '9pnet_virtio', '9p', 'overlay', 'kvm_amd'];

export interface LabShare {
  readonly tag: string;
  readonly path: string;
}

export interface InitramfsRequest {
  readonly kernel: LabKernel;
  readonly modules: readonly string[];
  /** A script for /bin/sh. */
  readonly command: string;
  readonly shares: readonly LabShare[];
}

export function buildInitramfs(request: InitramfsRequest): Buffer {
  const modules = inLoadingOrder(request.kernel, [...BASE_MODULES, ...request.modules]);
  const script = (name: string): Buffer => readFileSync(new URL(name, import.meta.url));
  return cpio([
    ...['bin', 'dev', 'proc', 'sys', 'lower', 'upper', 'root', 'modules'].map(directory),
    device('dev/console', 0o600, [5, 1]),
    device('dev/null', 0o666, [1, 3]),
    file('bin/busybox', readBusybox()),
    ...modules.map(([name, data]) => file(`modules/${name}.ko`, data)),
    file('modules/order', Buffer.from(modules.map(([name]) => `${name}\n`).join(''))),
    file('init', script('init.sh')),
    file('second.sh', script('second.sh')),
    file('command.sh', Buffer.from(request.command)),
    file('shares', Buffer.from(request.shares.map(({ tag, path }) => `${tag} ${path}\n`).join(''))),
  ]);
}

function readBusybox(): Buffer {
  const data = readFileSync(BUSYBOX);
  if (data.subarray(0, 4096).includes('/ld-linux'))
    throw new LabError(`${BUSYBOX} is not the static one (apt-get install busybox-static)`);
  return data;
}

/** Modules by their own `depends=` notes (modinfo), each after what it needs. */
function inLoadingOrder(kernel: LabKernel, names: readonly string[]): [string, Buffer][] {
  const order = new Map<string, Buffer>();
  const seen = new Set<string>();
  const visit = (raw: string): void => {
    const name = raw.replaceAll('-', '_');
    if (seen.has(name)) return;
    seen.add(name);
    const data = kernel.module(name);
    if (data === undefined) return;
    for (const needed of dependencies(data)) visit(needed);
    order.set(name, data);
  };
  for (const name of names) visit(name);
  return [...order];
}

function dependencies(module: Buffer): string[] {
  const start = module.indexOf('\0depends=');
  if (start === -1) return [];
  const text = module.toString('latin1', start + '\0depends='.length, module.indexOf(0, start + 1));
  return text.split(',').filter((name) => name !== '');
}

interface Entry {
  readonly name: string;
  readonly mode: number;
  readonly data: Buffer;
  readonly device: readonly [major: number, minor: number];
}

const directory = (name: string): Entry => ({ name, mode: 0o40755, data: Buffer.alloc(0), device: [0, 0] });
const file = (name: string, data: Buffer): Entry => ({ name, mode: 0o100755, data, device: [0, 0] });
const device = (name: string, mode: number, numbers: readonly [number, number]): Entry => ({
  name,
  mode: 0o20000 | mode,
  data: Buffer.alloc(0),
  device: numbers,
});

/** The kernel's newc format (Documentation/driver-api/early-userspace/buffer-format.rst). */
function cpio(entries: readonly Entry[]): Buffer {
  const trailer: Entry = { name: 'TRAILER!!!', mode: 0, data: Buffer.alloc(0), device: [0, 0] };
  return Buffer.concat([...entries, trailer].flatMap((entry, index) => cpioEntry(entry, index + 1)));
}

function cpioEntry({ name, mode, data, device }: Entry, inode: number): Buffer[] {
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, ...device, name.length + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
  return [Buffer.from(header), padding(header.length), data, padding(data.length)];
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
