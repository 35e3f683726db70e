/**
 * The command line of virtiofsd. There are two programs of that name: the one in C came with QEMU up to 7.2, its heir in
 * Rust (https://gitlab.com/virtio-fs/virtiofsd) says everything in long options, and has learnt some of them over time.
 */
import { VirtError } from '../../base/errors.ts';
import { findProgram, run } from '../../base/exec.ts';
import { type HelperNeedOf, needProgram } from './helper-context.ts';

type Need = HelperNeedOf<'virtiofsd'>;

/** How long `--help` may take. */
const HELP_MS = 10_000;

/** Where distributions keep virtiofsd, outside PATH. */
const places = ['/usr/libexec/virtiofsd', '/usr/lib/qemu/virtiofsd', '/usr/lib/virtiofsd', 'virtiofsd'];

/**
 * The program and its arguments for one directory; its socket is descriptor 3.
 * @throws VirtError program.missing; qemu.lacks for an option that this program has not
 */
export async function virtiofsdCommand(
  need: Need,
): Promise<{ readonly file: string; readonly args: string[] }> {
  const file = await findVirtiofsd(need.binary);
  const { stdout } = await run(file, ['--help'], { timeoutMs: HELP_MS, okExitCodes: [0, 1, 2] });
  return { file, args: virtiofsdArguments(need, file, stdout) };
}

async function findVirtiofsd(binary: string | undefined): Promise<string> {
  for (const candidate of binary === undefined ? places : [binary]) {
    const found = await findProgram(candidate);
    if (found !== undefined) return found;
  }
  return needProgram(binary ?? 'virtiofsd', 'a shared directory');
}

/**
 * Pure: the arguments for a program that describes itself by `help`.
 * @throws VirtError qemu.lacks
 */
export function virtiofsdArguments(need: Need, file: string, help: string): string[] {
  const isRust = help.includes('--shared-dir');
  const args = isRust ? rustArguments(need, file) : oldArguments(need, file);
  const { threadPoolSize, readonly } = need.options;
  if (threadPoolSize !== undefined) args.push(`--thread-pool-size=${threadPoolSize}`);
  if (readonly === true) {
    // In Rust since 1.11. A directory that was to be read only must never be served for writing.
    if (!/^\s*--readonly\b/m.test(help)) throw lacks(file, 'readonly');
    args.push('--readonly');
  }
  return ['--fd=3', ...args];
}

function rustArguments({ sourceDirectory, options }: Need, file: string): string[] {
  const { cache, sandbox, xattr, flock, posixLock } = options;
  if (flock !== undefined) throw lacks(file, 'binary.lock.flock');
  if (posixLock !== undefined) throw lacks(file, 'binary.lock.posix');
  return [
    '--shared-dir',
    sourceDirectory,
    ...(cache === undefined ? [] : ['--cache', cache === 'none' ? 'never' : String(cache)]),
    ...(sandbox === undefined ? [] : ['--sandbox', String(sandbox)]),
    // Off unless it is asked for.
    ...(xattr === true ? ['--xattr'] : []),
  ];
}

/** One list of options, where a comma would begin the next one: its parser (FUSE's) takes a backslash before it. */
function oldArguments({ sourceDirectory, options }: Need, file: string): string[] {
  if (process.geteuid?.() !== 0)
    throw new VirtError('qemu.lacks', {
      wanted: 'share a directory',
      reason: `${file} is the virtiofsd of an old QEMU, which serves for root only`,
      hint: "install the newer virtiofsd, which works for everybody, or use 9p: <driver type='path'/>",
    });
  const switched = (name: string, value: string | number | boolean | undefined) =>
    value === undefined ? [] : [value === true ? name : `no_${name}`];
  const { cache, sandbox, xattr, flock, posixLock } = options;
  const all = [
    `source=${sourceDirectory.replace(/[\\,]/g, (special) => `\\${special}`)}`,
    ...(cache === undefined ? [] : [`cache=${cache}`]),
    ...(sandbox === undefined ? [] : [`sandbox=${sandbox}`]),
    ...switched('xattr', xattr),
    ...switched('flock', flock),
    ...switched('posix_lock', posixLock),
  ];
  return ['-o', all.join(',')];
}

function lacks(file: string, what: string): VirtError {
  const hint =
    what === 'readonly'
      ? 'share a directory that is mounted read-only, or use a newer virtiofsd'
      : "leave it out, or name another program with <binary path='...'/>";
  return new VirtError('qemu.lacks', {
    wanted: 'share a directory by virtiofs',
    reason: `devices.filesystem.${what}: ${file} cannot do that`,
    hint,
    details: { program: file, option: what },
  });
}
