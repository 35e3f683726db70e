/** What the start of any helper process is given, and how its program is found. */
import { VirtError } from '../../base/errors.ts';
import { findProgram } from '../../base/exec.ts';
import type { ProcessIdentity } from '../../base/spawn.ts';
import type { HelperNeed } from './argv/types.ts';

export interface HelperContext {
  readonly identity: ProcessIdentity | undefined;
  /** The guest's log; helpers write there too. */
  readonly logFd: number;
  readonly onSocket: (path: string) => void;
  /** Called with each other log that a helper writes. */
  readonly onLog: (path: string) => void;
  /** Takes over a descriptor for QEMU, by the number that it has there. */
  readonly onDescriptor: (target: number, fd: number) => void;
  readonly environment: Readonly<Record<string, string>>;
}

export type HelperNeedOf<K extends HelperNeed['kind']> = Extract<HelperNeed, { readonly kind: K }>;

/** A program's path. @throws VirtError program.missing */
export async function needProgram(name: string, what: string): Promise<string> {
  const path = await findProgram(name);
  if (path !== undefined) return path;
  throw new VirtError('program.missing', {
    wanted: `start a guest with ${what}`,
    reason: `${name} is not installed`,
    hint: `install the package ${name}`,
  });
}
