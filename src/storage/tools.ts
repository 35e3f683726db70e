/** Programs that pools need: which package brings each, and one way to run them. */
import { isVirtError, VirtError } from '../base/errors.ts';
import { type RunOptions, type RunResult, run } from '../base/exec.ts';
import type { Work } from './backend.ts';

/** The package of Debian that brings a program; others often have the same name for it. */
const packages: Readonly<Record<string, string>> = {
  mount: 'mount',
  umount: 'mount',
  'mount.nfs': 'nfs-common',
  'mount.cifs': 'cifs-utils',
  'mount.glusterfs': 'glusterfs-client',
  showmount: 'nfs-common',
  blkid: 'util-linux',
  wipefs: 'util-linux',
  sfdisk: 'fdisk',
  iscsiadm: 'open-iscsi',
  lvm: 'lvm2',
  'mkfs.xfs': 'xfsprogs',
  'mkfs.vfat': 'dosfstools',
};

export interface ToolOptions extends Work {
  readonly timeoutMs?: number;
  readonly input?: string;
  readonly okExitCodes?: readonly number[];
}

/** Runs a program to its end. @throws VirtError program.*, operation.aborted */
export type Tools = (program: string, args: readonly string[], options?: ToolOptions) => Promise<RunResult>;

/** How long a tool may take by default: storage can be slow, but somebody waits. */
const TOOL_MS = 60_000;

export const hostTools: Tools = async (program, args, options = {}) => {
  const { signal, timeoutMs = TOOL_MS, input, okExitCodes } = options;
  const limits: RunOptions = {
    timeoutMs,
    // LVM complains of descriptors that others left open, before it says what is wrong.
    env: { LVM_SUPPRESS_FD_WARNINGS: '1' },
    ...(signal && { signal }),
    ...(input !== undefined && { input }),
    ...(okExitCodes && { okExitCodes }),
  };
  try {
    return await run(program, args, limits);
  } catch (error) {
    if (!isVirtError(error, 'program.missing')) throw error;
    throw missing(program, error);
  }
};

function missing(program: string, cause: VirtError): VirtError {
  const name = packages[program] ?? (program.startsWith('mkfs.ext') ? 'e2fsprogs' : program);
  return new VirtError('program.missing', {
    wanted: cause.wanted ?? `run ${program}`,
    reason: cause.reason,
    hint: `apt-get install ${name}`,
    cause,
  });
}

/** A failed tool in the words of the pool that needed it; anything else stays what it is. */
export function poolFailure(error: unknown, wanted: string, hint?: string): unknown {
  if (!isVirtError(error, 'program.failed') && !isVirtError(error, 'program.timeout')) return error;
  const code = error.code === 'program.timeout' ? 'pool.unresponsive' : 'pool.failed';
  const { reason, details } = error;
  return new VirtError(code, {
    wanted,
    reason,
    ...(hint !== undefined && { hint }),
    ...(details && { details }),
    cause: error,
  });
}
