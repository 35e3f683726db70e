/**
 * Runs qemu-img. It gets open descriptors and no names: every image is `/proc/self/fd/N` within a node description with
 * its format, so no name is read as a protocol, no format is guessed, and no header is followed to another file. It runs
 * with limits, without network, without privileges, and as root only where a file system leaves no choice (images/lend.ts).
 */
import type { FileHandle } from 'node:fs/promises';
import { isVirtError, VirtError } from '../base/errors.ts';
import { findProgram, run } from '../base/exec.ts';
import { identityArgs, type ProcessIdentity } from '../base/spawn.ts';
import type { Work } from './backend.ts';

const GIB = 1024 ** 3;
const DAY_MS = 24 * 3600 * 1000;
/** nobody and nogroup: by custom the same numbers everywhere (systemd.io, "Users, Groups, UIDs and GIDs"). */
export const NOBODY = 65_534;

export interface QemuImgRun extends Work {
  /** What was wanted, for errors. */
  readonly wanted: string;
  /** qemu-img's arguments; files are named by `descriptorName`, `imageNode`. */
  readonly args: readonly string[];
  /** Files that it gets, in the order of their numbers. */
  readonly files: readonly { readonly fd: number }[];
  /** Who it runs as; see identityFor. */
  readonly identity?: ProcessIdentity | undefined;
  /** Limit of its address space (docs/security.md, class J); 1 GiB when left out. */
  readonly memoryBytes?: number;
  /** Limit of its computing time; none when left out. */
  readonly cpuSeconds?: number;
  readonly timeoutMs?: number;
  /** Hears how far it is, 0 to 1; for commands with `-p`. */
  readonly onFraction?: ((fraction: number) => void) | undefined;
}

/** The name by which qemu-img reaches the file with that index. */
export function descriptorName(index: number): string {
  return `/proc/self/fd/${FIRST_DESCRIPTOR + index}`;
}

const FIRST_DESCRIPTOR = 3;

/** Formats that have a layer below in QEMU; for each of them it must be told that there is none. */
const withBacking: readonly string[] = ['qcow2', 'qcow', 'qed', 'vmdk'];

/** QEMU's word for a format, where it has another one. */
export function qemuFormat(format: string): string {
  if (format === 'iso') return 'raw';
  return format === 'vhd' ? 'vhdx' : format;
}

/** Layers of one image, topmost first: the index of each one's descriptor, and its format in our word. */
export interface Layer {
  readonly index: number;
  readonly format: string;
  /** It is a block device, for which QEMU has another driver than for files. */
  readonly isDevice?: boolean;
  /** The secret object that unlocks it, where it is encrypted with LUKS. */
  readonly keySecret?: string | undefined;
}

/** An image with all below it as QEMU's own description (QEMU docs/interop, BlockdevOptions): nothing is left open. */
export function imageNode(layers: readonly Layer[]): string {
  const build = ([top, ...below]: readonly Layer[]): Record<string, unknown> | null => {
    if (top === undefined) return null;
    const driver = qemuFormat(top.format);
    const file = {
      driver: top.isDevice === true ? 'host_device' : 'file',
      filename: descriptorName(top.index),
    };
    const node = { driver, file, ...unlocked(driver, top.keySecret) };
    return withBacking.includes(driver) ? { ...node, backing: build(below) } : node;
  };
  return `json:${JSON.stringify(build(layers))}`;
}

/** How a node names its passphrase (QEMU qapi/block-core.json, BlockdevOptionsLUKS and BlockdevQcow2Encryption). */
function unlocked(driver: string, keySecret: string | undefined): Record<string, unknown> {
  if (keySecret === undefined) return {};
  return driver === 'qcow2'
    ? { encrypt: { format: 'luks', 'key-secret': keySecret } }
    : { 'key-secret': keySecret };
}

/**
 * Who may read (or write) all of these files without any privilege: their owner, or nobody where everybody may. Undefined
 * when this process is not root. When only root may, or none of them may read all, it is root without a single capability, which
 * `lend` avoids where it can.
 */
export async function identityFor(
  files: readonly { readonly handle: FileHandle; readonly writes?: boolean }[],
): Promise<ProcessIdentity | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const stats = await Promise.all(files.map(async ({ handle }) => handle.stat()));
  const closed = stats.filter(({ mode }, index) => !isForAll(mode, files[index]?.writes === true));
  const owners = new Set(closed.map(({ uid }) => uid));
  const [owner] = closed;
  if (owner === undefined) return { uid: NOBODY, gid: NOBODY, groups: [] };
  return owners.size === 1 ? { uid: owner.uid, gid: owner.gid, groups: [] } : { uid: 0, gid: 0, groups: [] };
}

/** Whether everybody may read it, or read and write it. */
export function isForAll(mode: number, writes: boolean): boolean {
  const needed = writes ? 0o006 : 0o004;
  return (mode & needed) === needed;
}

/**
 * Runs qemu-img to its end.
 * @throws VirtError program.missing, program.failed, program.timeout, file.no-space, operation.aborted
 */
export async function runQemuImg(wish: QemuImgRun): Promise<string> {
  const { wanted, onFraction, signal } = wish;
  const [program, ...args] = [
    ...(await launcher(wish)),
    await needProgram('qemu-img', 'qemu-utils', wanted),
    ...wish.args,
  ];
  for (let attempt = 1; ; attempt++)
    try {
      const { stdout } = await run(program ?? 'qemu-img', args, {
        timeoutMs: wish.timeoutMs ?? DAY_MS,
        descriptors: wish.files.map(({ fd }) => fd),
        ...(signal && { signal }),
        ...(onFraction && { onOutput: fractionListener(onFraction) }),
      });
      return stdout;
    } catch (error) {
      if (attempt === KEY_ATTEMPTS || !isClockTooCoarse(error)) throw failure(error, wanted);
    }
}

const KEY_ATTEMPTS = 5;

/**
 * How much work a key of LUKS is worth, QEMU finds by measuring its own computing time (crypto/pbkdf.c); where the kernel
 * counts that by ticks, it may find none, and gives up. It has written nothing that the next attempt does not write anew.
 */
function isClockTooCoarse(error: unknown): boolean {
  return (
    isVirtError(error, 'program.failed') &&
    String(error.details?.['stderr']).includes('Unable to get accurate CPU usage')
  );
}

/** The programs before qemu-img; each one becomes the next, so that the pid is the one that a cancel ends. */
async function launcher(wish: QemuImgRun): Promise<string[]> {
  const limits = [`--as=${wish.memoryBytes ?? GIB}`, '--core=0', '--nofile=1024'];
  if (wish.cpuSeconds !== undefined) limits.push(`--cpu=${wish.cpuSeconds}`);
  const words = [await needProgram('prlimit', 'util-linux', wish.wanted), ...limits, '--'];
  if (await canLeaveNetwork()) words.push('unshare', '--net', '--');
  const setpriv = await needProgram('setpriv', 'util-linux', wish.wanted);
  // It ends with the daemon: what it was making would be swept away by the next one.
  return [...words, setpriv, ...identityArgs(wish.identity), '--no-new-privs', '--pdeathsig=KILL', '--'];
}

async function needProgram(name: string, packageName: string, wanted: string): Promise<string> {
  const path = await findProgram(name);
  if (path !== undefined) return path;
  throw new VirtError('program.missing', {
    wanted,
    reason: `${name} is not installed`,
    hint: `apt-get install ${packageName}`,
  });
}

let leavesNetwork: Promise<boolean> | undefined;

/** Whether a program can be given a network namespace of its own: root may, outside of some containers. */
function canLeaveNetwork(): Promise<boolean> {
  leavesNetwork ??=
    process.getuid?.() === 0
      ? run('unshare', ['--net', '--', 'true'], { timeoutMs: 5000 }).then(
          () => true,
          () => false, // The kernel or a container refuses: then it keeps the network, which no description names.
        )
      : Promise.resolve(false);
  return leavesNetwork;
}

/** `-p` prints `    (12.34/100%)` and a carriage return, again and again (QEMU util/qemu-progress.c). */
function fractionListener(onFraction: (fraction: number) => void): (text: string) => void {
  let rest = '';
  return (text) => {
    const found = [...(rest + text).matchAll(/\((\d{1,3}\.\d{2})\/100%\)/g)].at(-1);
    rest = (rest + text).slice(-32);
    if (found?.[1] !== undefined) onFraction(Math.min(1, Number(found[1]) / 100));
  };
}

function failure(error: unknown, wanted: string): unknown {
  if (!isVirtError(error)) return error;
  const stderr = typeof error.details?.['stderr'] === 'string' ? error.details['stderr'] : '';
  const isFull = error.code === 'program.failed' && /no space left|disk quota/i.test(stderr);
  return new VirtError(isFull ? 'file.no-space' : error.code, {
    wanted,
    reason: isFull ? 'no space left on the device' : error.reason,
    ...(error.hint !== undefined && { hint: error.hint }),
    ...(error.details && { details: error.details }),
    cause: error,
  });
}
