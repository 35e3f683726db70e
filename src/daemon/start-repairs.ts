/** What to do when the daemon cannot start because of the files and directories it stands on. */
import { isVirtError, VirtError } from '../base/errors.ts';
import type { DaemonMode } from './paths.ts';

export interface StartFacts {
  readonly mode: DaemonMode;
  /** The directory given with --root. */
  readonly root?: string;
  readonly uid: number;
}

/** The same error, with a repair where it has none and one is known. */
export function withRepair(error: unknown, facts: StartFacts): unknown {
  if (!isVirtError(error) || error.hint !== undefined) return error;
  const hint = repairFor(error, facts);
  if (hint === undefined) return error;
  const { code, wanted, reason, details, cause } = error;
  return new VirtError(code, {
    ...(wanted !== undefined && { wanted }),
    reason,
    hint,
    ...(details !== undefined && { details }),
    cause,
  });
}

function repairFor({ code, details }: VirtError, { mode, root, uid }: StartFacts): string | undefined {
  if (code === 'file.no-space') return 'make room on that file system, then start it again';
  if (!code.startsWith('file.')) return undefined;
  if (details?.['errno'] === 'EROFS')
    return root === undefined
      ? 'mount that file system so that it can be written to, or choose another place with --root DIR'
      : 'choose a --root on a file system that can be written to';
  if (root !== undefined) return `choose a --root in which user ${uid} may make and read files`;
  if (mode === 'system')
    return uid === 0
      ? 'let root read and write there'
      : "the system daemon runs as root; 'vireod --mode session' is a daemon of your own";
  return 'let HOME, and the XDG_*_HOME and XDG_RUNTIME_DIR that are set, name directories of your own; or choose a place with --root DIR';
}
