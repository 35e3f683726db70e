/** The lab's kernel: a stock Debian kernel package, fetched once, unpacked into a cache, never installed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { execa } from 'execa';

/** linux-image-cloud-amd64 has no 9p file system. */
const META_PACKAGE = 'linux-image-amd64';
/** Raised when the layout of the cache changes. */
const LAYOUT = 'kernel-1';
/** Module directories that are kept; the rest (graphics, sound, ...) is of no use here. */
const KEPT = [
  'arch',
  'crypto',
  'fs',
  'lib',
  'net',
  'virt',
  'drivers/block',
  'drivers/char',
  'drivers/crypto/ccp',
  'drivers/dax',
  'drivers/net/*.ko*',
  'drivers/vfio',
  'drivers/vhost',
  'drivers/virtio',
  'drivers/iommu',
];

export interface LabKernel {
  /** An ELF kernel with a PVH entry, or a bzImage where it could not be unpacked. */
  readonly image: string;
  /** Contents of a module, or undefined when it is built in. Throws when the kernel lacks it. */
  module(name: string): Buffer | undefined;
}

export class LabError extends Error {}

function cacheRoot(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'vireo', 'kvm-lab');
}

/** The kernel, fetched on the first use (70 to 100 MB, with the package lists in place: `apt-get update`). */
export async function labKernel(): Promise<LabKernel> {
  const directory = join(cacheRoot(), LAYOUT);
  if (!existsSync(directory)) await fetchKernel(directory);
  const builtin = new Set(readFileSync(join(directory, 'builtin'), 'utf8').split('\n'));
  return {
    image: join(directory, 'vmlinux'),
    module: (name) => {
      if (builtin.has(name)) return undefined;
      const path = join(directory, 'modules', `${name}.ko`);
      if (!existsSync(path)) throw new LabError(`the kernel has no module '${name}', or it is not kept`);
      return readFileSync(path);
    },
  };
}

/** Fills a fresh directory and puts it in place by one rename; of two at the same time one wins, and both are right. */
async function fetchKernel(directory: string): Promise<void> {
  mkdirSync(cacheRoot(), { recursive: true });
  const fresh = mkdtempSync(join(cacheRoot(), 'new-'));
  try {
    const deb = await download(fresh);
    await unpack(deb, join(fresh, 'tree'));
    const made = join(fresh, 'made');
    await arrange(join(fresh, 'tree'), made);
    if (!existsSync(directory)) renameSync(made, directory);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

async function download(directory: string): Promise<string> {
  const { stdout } = await apt('apt-cache', ['show', '--no-all-versions', META_PACKAGE]);
  const name = /^Depends:.*?(linux-image-[0-9][^ ,]*)/m.exec(stdout)?.[1];
  if (name === undefined) throw new LabError(`cannot tell which kernel ${META_PACKAGE} stands for`);
  process.stderr.write(`kvm-lab: fetching ${name} (once)\n`);
  await apt('apt-get', ['-q', '-o', 'APT::Sandbox::User=root', 'download', name], directory);
  const deb = readdirSync(directory).find((file) => file.endsWith('.deb'));
  if (deb === undefined) throw new LabError('apt-get download left no package');
  return join(directory, deb);
}

async function apt(program: string, args: readonly string[], cwd = '/'): Promise<{ stdout: string }> {
  const result = await execa(program, [...args], { cwd, stdin: 'ignore', reject: false });
  if (result.failed)
    throw new LabError(`${program} ${args.join(' ')} failed (try 'apt-get update'): ${result.stderr}`);
  return result;
}

/** Extracts only what is kept: the package holds some 400 MB. */
async function unpack(deb: string, target: string): Promise<void> {
  mkdirSync(target);
  const patterns = ['*/boot/vmlinuz-*', '*/modules.builtin', ...KEPT.map((path) => `*/kernel/${path}`)];
  const read = spawn('dpkg-deb', ['--fsys-tarfile', deb], { stdio: ['ignore', 'pipe', 'inherit'] });
  // tar complains about patterns that match nothing (a directory that this kernel has not): its status is not asked.
  const write = spawn('tar', ['-x', '-C', target, '--wildcards', ...patterns], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  read.stdout.pipe(write.stdin);
  const [[status]] = (await Promise.all([once(read, 'close'), once(write, 'close')])) as [[number], unknown];
  if (status !== 0) throw new LabError(`cannot unpack ${deb}`);
}

async function arrange(tree: string, made: string): Promise<void> {
  mkdirSync(join(made, 'modules'), { recursive: true });
  const [image] = globSync(join(tree, 'boot/vmlinuz-*'));
  if (image === undefined) throw new LabError('the package holds no kernel');
  writeFileSync(join(made, 'vmlinux'), await unpackKernel(readFileSync(image)));
  const lists = globSync(join(tree, '**/modules.builtin')).map((path) => readFileSync(path, 'utf8'));
  const builtin = lists.flatMap((text) =>
    [...text.matchAll(/([^/\n]+)\.ko$/gm)].map((match) => match[1] ?? ''),
  );
  writeFileSync(join(made, 'builtin'), builtin.map((name) => name.replaceAll('-', '_')).join('\n'));
  for (const path of globSync(join(tree, '**/*.ko*'))) {
    const name = basename(path)
      .replace(/\.ko.*$/, '')
      .replaceAll('-', '_');
    const data = await decompress(readFileSync(path));
    if (data === undefined) throw new LabError(`cannot decompress ${path} (is xz installed?)`);
    writeFileSync(join(made, 'modules', `${name}.ko`), data);
  }
}

/**
 * The ELF kernel inside a bzImage (Documentation/arch/x86/boot.rst: setup_sects at 0x1f1, payload_offset and
 * payload_length at 0x248). QEMU boots it by its PVH entry, which saves the emulated processor 10 s of decompression.
 */
async function unpackKernel(image: Buffer): Promise<Buffer> {
  if (image.toString('latin1', 0x202, 0x206) !== 'HdrS') return image;
  const setupSectors = image[0x1f1] || 4;
  const start = (setupSectors + 1) * 512 + image.readUInt32LE(0x248);
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c));
  return (await decompress(payload, 4)) ?? image;
}

/**
 * Undoes whichever compression a payload or a module has; undefined when it can't. `trailer` bytes behind the data are
 * no part of it (the kernel's build appends the size to all but gzip).
 */
async function decompress(data: Buffer, trailer = 0): Promise<Buffer | undefined> {
  const bare = data.subarray(0, data.length - trailer);
  switch (data.readUInt32BE(0)) {
    case 0x7f454c46: // ELF
      return data;
    case 0x28b52ffd: // RFC 8878
      return zstdDecompressSync(bare);
    case 0xfd377a58: // xz
      return unxz(bare);
    default:
      return data.readUInt16BE(0) === 0x1f8b ? gunzipSync(data) : undefined;
  }
}

async function unxz(data: Buffer): Promise<Buffer | undefined> {
  const result = await execa('xz', ['-dcq'], {
    input: data,
    encoding: 'buffer',
    maxBuffer: 2 ** 30,
    reject: false,
  });
  return result.failed ? undefined : Buffer.from(result.stdout);
}
