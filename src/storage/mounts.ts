/** What is mounted where (proc_pid_mountinfo(5)), and mounting with nothing that a pool does not need. */

import { VirtError } from '../base/errors.ts';
import { readText } from '../base/files.ts';
import type { Work } from './backend.ts';
import { onHost } from './host-mounts.ts';
import { poolFailure, type Tools } from './tools.ts';

export interface Mount {
  readonly target: string;
  readonly type: string;
  /** `/dev/sdb1`, `nas:/export`. */
  readonly source: string;
}

/** The last mount on a directory; undefined when nothing is mounted there. */
export async function mountOn(target: string): Promise<Mount | undefined> {
  const mounts = parseMounts(await readText('/proc/self/mountinfo', 64 * 1024 * 1024));
  return mounts.findLast((mount) => mount.target === target);
}

/** Fields 5 and, behind a lone hyphen, type and source; blanks and others are octal (`\040`). */
export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [before, after] = line.split(' - ');
    const target = before?.split(' ')[4];
    const [type, source] = after?.split(' ') ?? [];
    if (target === undefined || type === undefined || source === undefined) return [];
    return [{ target: unescaped(target), type, source: unescaped(source) }];
  });
}

function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/** What every mount of a pool has: volumes are data. */
const plainOptions = ['nodev', 'nosuid', 'noexec'] as const;

export interface MountRequest {
  readonly pool: string;
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

/** @throws VirtError pool.failed, pool.unresponsive, program.missing */
export async function mountPool(tools: Tools, request: MountRequest, work: Work = {}): Promise<void> {
  const wanted = `mount ${request.source} for pool '${request.pool}'`;
  if (process.getuid?.() !== 0)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: 'mounting needs the system connection (qemu:///system)',
      hint: 'let the administrator mount it, and use a pool of type dir on it',
    });
  const options = [...plainOptions, ...request.options].join(',');
  try {
    const { program, args } = await onHost({
      program: 'mount',
      args: ['-t', request.type, '-o', options, '--', request.source, request.target],
    });
    await tools(program, args, work);
  } catch (error) {
    throw poolFailure(error, wanted);
  }
}

/** @throws VirtError pool.failed while somebody uses it */
export async function unmountPool(
  tools: Tools,
  pool: string,
  target: string,
  work: Work = {},
): Promise<void> {
  try {
    const { program, args } = await onHost({ program: 'umount', args: ['--', target] });
    await tools(program, args, work);
  } catch (error) {
    throw poolFailure(
      error,
      `unmount pool '${pool}'`,
      `guests and programs that use ${target} must end first`,
    );
  }
}

/** True when it is mounted already. @throws VirtError pool.failed when something else is mounted there */
export async function isMountedFrom(
  pool: string,
  target: string,
  sources: readonly string[],
): Promise<boolean> {
  const mount = await mountOn(target);
  if (mount === undefined) return false;
  if (sources.includes(mount.source)) return true;
  throw new VirtError('pool.failed', {
    wanted: `use pool '${pool}'`,
    reason: `${mount.source} is mounted on ${target}, not ${sources[0] ?? 'its source'}`,
    hint: `unmount it, or give the pool another target`,
  });
}
