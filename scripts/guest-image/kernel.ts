/**
 * A Linux kernel for guests, from the distribution's own package: downloaded and unpacked, never installed. Debian's
 * cloud kernel, on Ubuntu the virtual one.
 */
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { arch } from 'node:os';
import { join } from 'node:path';
import { ExecaError, execa } from 'execa';

/** Modules that our guests load, in any order; what they depend on comes along. */
const wantedModules = [
  ...['virtio_pci', 'virtio_net', 'virtio_blk', 'virtio_console', 'virtio_balloon', 'virtio_rng'],
  ...['button', 'evdev', 'sd_mod', 'sr_mod', 'virtio_scsi', 'ahci', 'ata_piix', 'e1000', 'e1000e', 'isofs'],
  ...[
    'virtiofs',
    '9p',
    '9pnet_virtio',
    'qemu_fw_cfg',
    'tpm_tis',
    'tpm_crb',
    'i6300esb',
    'virtio_mem',
    'usb_storage',
    'uas',
    'xhci_pci',
    'usbhid',
  ],
];

/** Modules that only some guests load: a file system that can be frozen. */
const ext4Modules = ['ext4'];

export interface GuestKernel {
  /** The bootable kernel image. */
  readonly kernelPath: string;
  /** Modules in loading order, as names of files in `moduleDirectory`. */
  readonly modules: readonly string[];
  /** Those of ext4, in loading order, for guests that ask for it: no other loads them. */
  readonly ext4: readonly string[];
  readonly moduleDirectory: string;
  /** Name of the package it came from. */
  readonly packageName: string;
}

const debianArch: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

async function apt(program: string, args: string[], cwd?: string): Promise<string> {
  const result = await execa(program, args, { cwd: cwd ?? '/', env: { LC_ALL: 'C' }, stdin: 'ignore' });
  return result.stdout;
}

/** The package that holds the newest kernel for virtual machines, when apt knows one. */
async function knownPackage(): Promise<string | undefined> {
  const deb = debianArch[arch()] ?? 'amd64';
  for (const meta of [`linux-image-cloud-${deb}`, 'linux-image-virtual']) {
    const shown = await apt('apt-cache', ['show', '--no-all-versions', meta]).catch(unlessUnknown);
    const found = /^Depends:.*?(linux-image-\d[^ ,]*)/m.exec(shown);
    if (found?.[1]) return found[1];
  }
  return undefined;
}

/** Nothing for a package that apt does not know. @throws whatever else kept apt from telling */
function unlessUnknown(error: unknown): string {
  if (error instanceof ExecaError && /No packages found/.test(String(error.stderr))) return '';
  throw error;
}

/** That package's name; apt's lists, which small images leave out, are fetched when it is root who asks. */
async function newestPackage(): Promise<string> {
  let name = await knownPackage();
  if (name === undefined && process.getuid?.() === 0) {
    await apt('apt-get', ['-q', 'update']);
    name = await knownPackage();
  }
  if (name !== undefined) return name;
  throw new Error(
    "apt knows no kernel package for virtual machines (linux-image-cloud-* or linux-image-virtual); run 'sudo apt-get update' and try again",
  );
}

async function download(name: string, directory: string): Promise<string> {
  // As root, apt would drop to _apt, who may not write here.
  await apt('apt-get', ['-q', '-o', 'APT::Sandbox::User=root', 'download', name], directory);
  const found = (await readdir(directory)).find(
    (entry) => entry.startsWith(`${name}_`) && entry.endsWith('.deb'),
  );
  if (found === undefined) throw new Error(`apt-get download ${name} left no package`);
  return join(directory, found);
}

/** Unpacks the kernel and its modules; Ubuntu has the modules in a package of their own. */
async function unpackInto(directory: string, name: string): Promise<void> {
  const packages = [name];
  const modulesPackage = name.replace('linux-image-', 'linux-modules-');
  const shown = await apt('apt-cache', ['show', '--no-all-versions', modulesPackage]).catch(() => '');
  if (shown.includes(`Package: ${modulesPackage}`)) packages.push(modulesPackage);
  for (const one of packages) {
    const deb = await download(one, directory);
    await apt('dpkg-deb', ['-x', deb, join(directory, 'root')]);
    await rm(deb);
  }
}

async function* filesBelow(directory: string): AsyncGenerator<string> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield path;
  }
}

const moduleName = (path: string): string =>
  path
    .replace(/^.*\//, '')
    .replace(/\.ko(\.(xz|zst|gz))?$/, '')
    .replace(/-/g, '_');

/** A module's bytes, whatever it is compressed with. */
async function moduleBytes(path: string): Promise<Buffer> {
  if (path.endsWith('.ko')) return readFile(path);
  const program = path.endsWith('.xz') ? 'xz' : path.endsWith('.zst') ? 'zstd' : 'gzip';
  const result = await execa(program, ['-dc', path], { encoding: 'buffer', maxBuffer: 64 * 1024 * 1024 });
  return Buffer.from(result.stdout);
}

/** Copies these modules with their dependencies (their own "depends=" notes) and gives the loading order. */
async function collectModules(source: string, target: string, wanted: readonly string[]): Promise<string[]> {
  const paths = new Map<string, string>();
  for await (const path of filesBelow(source))
    if (/\.ko(\.(xz|zst|gz))?$/.test(path)) paths.set(moduleName(path), path);
  await mkdir(target, { recursive: true });
  const order: string[] = [];
  const visit = async (name: string): Promise<void> => {
    const path = paths.get(name);
    if (path === undefined || order.includes(`${name}.ko`)) return; // built into the kernel, or done
    const bytes = await moduleBytes(path);
    const depends = /\0depends=([^\0]*)\0/.exec(bytes.toString('latin1'))?.[1] ?? '';
    for (const dependency of depends.split(','))
      if (dependency !== '') await visit(dependency.replace(/-/g, '_'));
    await writeFile(join(target, `${name}.ko`), bytes);
    order.push(`${name}.ko`);
  };
  for (const name of wanted) await visit(name);
  return order;
}

async function kernelImage(root: string): Promise<string> {
  const boot = join(root, 'boot');
  const name = (await readdir(boot)).find((entry) => entry.startsWith('vmlinuz-'));
  if (name === undefined) throw new Error('the kernel package has no kernel image');
  return join(boot, name);
}

/**
 * The kernel in `cache`, fetched at the first call (about 30 MB); later calls only look. `say` gets a line when
 * something long begins.
 */
export async function guestKernel(cache: string, say: (line: string) => void): Promise<GuestKernel> {
  // A new number with each change of the modules: what is there was made for the old list.
  const ready = join(cache, 'kernel-4');
  const described = await readFile(join(ready, 'kernel.json'), 'utf8').catch(() => undefined);
  if (described !== undefined) return locate(ready, JSON.parse(described) as KernelFacts);
  const packageName = await newestPackage();
  say(`fetching the guest kernel ${packageName} (about 30 MB, once) ...`);
  await mkdir(cache, { recursive: true });
  const fresh = await mkdtemp(join(cache, 'new-'));
  try {
    await unpackInto(fresh, packageName);
    const root = join(fresh, 'root');
    await rename(await kernelImage(root), join(fresh, 'vmlinuz'));
    const modules = await collectModules(root, join(fresh, 'modules'), wantedModules);
    const ext4 = await collectModules(root, join(fresh, 'modules'), ext4Modules);
    const facts: KernelFacts = { modules, ext4, packageName };
    await rm(root, { recursive: true });
    await writeFile(join(fresh, 'kernel.json'), JSON.stringify(facts));
    await rm(ready, { recursive: true, force: true });
    await rename(fresh, ready);
    return locate(ready, facts);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

type KernelFacts = Pick<GuestKernel, 'modules' | 'ext4' | 'packageName'>;

function locate(directory: string, facts: KernelFacts): GuestKernel {
  return { ...facts, kernelPath: join(directory, 'vmlinuz'), moduleDirectory: join(directory, 'modules') };
}
