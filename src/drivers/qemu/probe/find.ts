/** The emulators installed on this host. */
import { constants, statSync } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { VirtError } from '../../../base/errors.ts';
import { programPath } from '../../../base/exec.ts';
import { archOfTarget, hostArch, targetsOfArch } from './arch.ts';

/** One emulator binary. `arch` is libvirt's name of what it emulates. */
export interface Emulator {
  readonly path: string;
  readonly target: string;
  readonly arch: string;
}

/** QEMU's system targets (SysEmuTarget); other `qemu-system-` programs are variants such as `-microvm`. */
const targets: ReadonlySet<string> = new Set(
  (
    'aarch64 alpha arm avr hppa i386 loongarch64 m68k microblaze microblazeel mips mips64 mips64el mipsel or1k ' +
    'ppc ppc64 riscv32 riscv64 rx s390x sh4 sh4eb sparc sparc64 tricore x86_64 xtensa xtensaeb'
  ).split(' '),
);

/** Where Red Hat's distributions keep their only emulator, for the host's own architecture. */
const redHatEmulator = '/usr/libexec/qemu-kvm';

const namePattern = /^qemu-system-([a-z0-9_]+)$/;

export interface FindOptions {
  /** Where to look, the first directory wins (default: the daemon's program path). */
  readonly directories?: readonly string[];
}

/** What was found, for as long as none of the directories changes. */
let remembered: { readonly key: string; readonly emulators: Promise<Emulator[]> } | undefined;

/**
 * All emulators, one for each target, ordered by target. Directories that aren't there are passed over. Looking through
 * /usr/bin costs a millisecond, so it is done again only when a directory has changed.
 */
export function findEmulators(options: FindOptions = {}): Promise<Emulator[]> {
  const directories = options.directories ?? [...programPath.split(delimiter), dirname(redHatEmulator)];
  const key = JSON.stringify(directories.map((directory) => [directory, changeTime(directory)]));
  if (remembered?.key !== key) {
    const emulators = searchEmulators(options);
    remembered = { key, emulators };
    emulators.catch(() => {
      remembered = undefined;
    });
  }
  return remembered.emulators;
}

/** When a name was last added to a directory or taken from it; '' when it cannot be seen. */
function changeTime(directory: string): string {
  try {
    return String(statSync(directory, { bigint: true }).mtimeNs);
  } catch {
    return ''; // Not there, or closed to us: nothing is found in it.
  }
}

async function searchEmulators(options: FindOptions): Promise<Emulator[]> {
  const found = new Map<string, Emulator>();
  for (const directory of options.directories ?? programPath.split(delimiter)) {
    for (const name of await namesIn(directory)) {
      const target = namePattern.exec(name)?.[1];
      const path = join(directory, name);
      if (target === undefined || !targets.has(target) || found.has(target)) continue;
      if (await isExecutable(path)) found.set(target, { path, target, arch: archOfTarget(target) });
    }
  }
  await addRedHat(found, options);
  return [...found.values()].sort((a, b) => (a.target < b.target ? -1 : 1));
}

async function addRedHat(found: Map<string, Emulator>, options: FindOptions): Promise<void> {
  const arch = hostArch(process.arch);
  const target = targetsOfArch(arch)[0] ?? arch;
  if (options.directories !== undefined || found.has(target)) return;
  if (await isExecutable(redHatEmulator)) found.set(target, { path: redHatEmulator, target, arch });
}

/** Names in a directory; one that is missing or closed to us has none. */
async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).then(
    (names) => names.sort(),
    () => [],
  );
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/**
 * The emulator for guests of an architecture (libvirt's name): the one of that very target, else a wider one of the
 * family (x86_64 for i686, aarch64 for armv7l).
 * @throws VirtError qemu.missing
 */
export async function emulatorFor(arch: string, options: FindOptions = {}): Promise<Emulator> {
  const emulators = await findEmulators(options);
  for (const target of targetsOfArch(arch)) {
    const emulator = emulators.find((candidate) => candidate.target === target);
    if (emulator !== undefined) return emulator;
  }
  const has = emulators.map((emulator) => emulator.arch).join(', ');
  throw new VirtError('qemu.missing', {
    wanted: `find an emulator for ${arch}`,
    reason: has === '' ? 'no QEMU system emulator is installed' : `installed emulators are for ${has}`,
    hint: `install the package that has qemu-system-${targetsOfArch(arch)[0] ?? arch}`,
    details: { arch },
  });
}
