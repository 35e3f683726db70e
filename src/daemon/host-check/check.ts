/** What a check of the host is, and what checks may look at. */

import { constants } from 'node:fs';
import { isVirtError, reasonOf } from '../../base/errors.ts';
import { findProgram } from '../../base/exec.ts';
import { close, FfiError, open } from '../../base/ffi.ts';
import { runTool } from '../../base/run-tool.ts';
import { currentIdentity, type ProcessIdentity } from '../../kvm/access.ts';
import { type HostFiles, hostFiles } from '../../kvm/host-files.ts';
import type { KvmReport } from '../../kvm/report.ts';
import type { AdoptionState } from './libvirt.ts';
import type { CheckedNetwork } from './networks.ts';

/** `absent`: not there, and guests work without it; `warning`: works, with a drawback; `problem`: something won't work. */
export type CheckStatus = 'ok' | 'warning' | 'problem' | 'absent';

export interface HostCheck {
  /** Stable, kebab-case. */
  readonly id: string;
  readonly title: string;
  readonly status: CheckStatus;
  readonly detail: string;
  /** A command or a sentence that puts it right. */
  readonly repair?: string;
}

/** A directory that the daemon keeps things in. */
export interface StateDirectory {
  readonly purpose: string;
  readonly path: string;
  /** Mode that it should have at most. */
  readonly mode: number;
}

/** The numbers from which guests get their own user ids. */
export interface UidRange {
  readonly first: number;
  readonly count: number;
}

/** What a program printed, or why it could not be run. */
export type ProgramAnswer =
  | { readonly ok: true; readonly stdout: string; readonly stderr: string }
  | { readonly ok: false; readonly missing: boolean; readonly reason: string };

/** Everything a check may look at; a test hands in its own. */
export interface CheckContext {
  readonly mode: 'system' | 'session';
  readonly files: HostFiles;
  readonly identity: ProcessIdentity;
  readonly arch: string;
  readonly kvm: KvmReport;
  readonly directories: readonly StateDirectory[];
  readonly guestUids: UidRange | undefined;
  /** Active networks with a bridge of their own. */
  readonly networks: readonly CheckedNetwork[];
  /** The file with the settings of the host as they were before networks changed them. */
  readonly settingsBefore?: string;
  readonly adoption?: AdoptionState;
  /** Where clients are served without any protection, as ADDRESS:PORT. */
  readonly unprotectedAddresses: readonly string[];
  findProgram(name: string): Promise<string | undefined>;
  /** Runs a program within the time limit; never throws for a program's failure. */
  ask(program: string, args: readonly string[]): Promise<ProgramAnswer>;
  /** Opens a node for reading and writing and closes it: the errno's name, or undefined when it went well. */
  tryOpen(path: string): string | undefined;
}

/** The real programs and devices. */
export function hostAccess(options: {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}): Pick<CheckContext, 'files' | 'identity' | 'findProgram' | 'ask' | 'tryOpen'> {
  return {
    files: hostFiles(),
    identity: currentIdentity(),
    findProgram,
    ask: (program, args) => ask(program, args, options),
    tryOpen,
  };
}

async function ask(
  program: string,
  args: readonly string[],
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<ProgramAnswer> {
  try {
    const { stdout, stderr } = await runTool(program, args, options);
    return { ok: true, stdout, stderr };
  } catch (error) {
    // An aborted check has no answer; any other failure of a program is one.
    if (!isVirtError(error) || error.code === 'operation.aborted') throw error;
    return { ok: false, missing: error.code === 'program.missing', reason: reasonOf(error) };
  }
}

function tryOpen(path: string): string | undefined {
  try {
    close(open(path, constants.O_RDWR | constants.O_NONBLOCK));
    return undefined;
  } catch (error) {
    if (error instanceof FfiError) return error.code;
    throw error;
  }
}

/** The command that installs a Debian package, or advice on other distributions. */
export function installHint(files: HostFiles, debianPackage: string): string {
  const release = files.read('/etc/os-release') ?? '';
  const family = [...release.matchAll(/^ID(?:_LIKE)?="?([^"\n]*)/gm)].map((match) => match[1]).join(' ');
  if (/\b(?:debian|ubuntu)\b/.test(family)) return `apt-get install ${debianPackage}`;
  return `install the package that your distribution has for Debian's '${debianPackage}'`;
}

/** The first version number in a text: `9.18`, `2.90`, `10.0.13`. */
export function findVersion(text: string): string | undefined {
  return /\d+(?:\.\d+)+/.exec(text)?.[0];
}

/** True when dotted version `version` is at least `least`. */
export function isAtLeast(version: string, least: string): boolean {
  const [left, right] = [version, least].map((text) => text.split('.').map(Number));
  for (const [index, wanted] of (right ?? []).entries()) {
    const found = left?.[index] ?? 0;
    if (found !== wanted) return found > wanted;
  }
  return true;
}
