/** Runs the administrator's hook scripts: libvirt's arguments, XML on stdin, and its meaning of the exit status. */
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import type { Logger } from '../../base/log.ts';
import { findHooks, type HookKind } from './scripts.ts';

/** One moment at which scripts run (libvirt's hooks.html: object, operation, sub-operation, extra argument). */
export interface HookCall {
  readonly kind: HookKind;
  /** The name of the domain or network; `-` for the daemon. */
  readonly object: string;
  readonly operation: string;
  readonly subOperation: string;
  readonly extra?: string;
  /** What the scripts read on stdin; made only when there is a script. */
  readonly input?: () => string;
  /** Calls a script off, as a destroyed domain does with its start. */
  readonly signal?: AbortSignal | undefined;
}

/** What services ask of hooks. */
export interface Hooks {
  /**
   * Runs the scripts of a moment that can be refused, one after the other.
   * @throws VirtError hook.refused: a script ended with a status other than 0, or not in time; operation.aborted
   */
  ask(call: HookCall): Promise<void>;
  /**
   * Runs the scripts of a moment at which they may write another document on their stdout: each gets what the one before
   * has written, and one that writes nothing leaves it as it is. Undefined where none has written any.
   * @throws VirtError hook.refused, operation.aborted
   */
  filter(call: HookCall): Promise<string | undefined>;
  /** Runs the scripts of a moment that has passed; failures are logged. */
  tell(call: HookCall): Promise<void>;
}

export interface HookRunnerOptions {
  /** Undefined: there are none. */
  readonly directory: string | undefined;
  readonly timeoutMs: number;
  readonly log: Logger;
}

/** A document is at most as large as a definition (REMOTE_STRING_MAX in remote_protocol.x). */
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

/** Variables besides PATH and LC_ALL that libvirt's scripts find too. */
function environment(): Record<string, string> {
  const names = ['HOME', 'USER', 'LOGNAME', 'TMPDIR'] as const;
  const known = names.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return { ...(process.geteuid?.() === 0 && { HOME: '/root' }), ...Object.fromEntries(known) };
}

export class HookRunner implements Hooks {
  private readonly options: HookRunnerOptions;
  /** Refused scripts that were told: once for each reason, not at each start of a guest. */
  private readonly told = new Set<string>();

  constructor(options: HookRunnerOptions) {
    this.options = options;
  }

  async ask(call: HookCall): Promise<void> {
    const scripts = this.scriptsOf(call.kind);
    if (scripts.length === 0) return;
    const input = call.input?.() ?? '';
    for (const script of scripts) await this.runOne(script, call, input);
  }

  async filter(call: HookCall): Promise<string | undefined> {
    let document: string | undefined;
    for (const script of this.scriptsOf(call.kind)) {
      const written = await this.runOne(script, call, document ?? call.input?.() ?? '');
      if (written.trim() !== '') document = written;
    }
    return document;
  }

  async tell(call: HookCall): Promise<void> {
    const scripts = this.scriptsOf(call.kind);
    if (scripts.length === 0) return;
    const input = call.input?.() ?? '';
    for (const script of scripts)
      await this.runOne(script, call, input).catch((error: unknown) =>
        this.options.log.warn(
          { script, object: call.object, operation: call.operation, reason: reasonOf(error) },
          'a hook failed; nothing was waiting for its consent',
        ),
      );
  }

  private scriptsOf(kind: HookKind): readonly string[] {
    const { directory, log } = this.options;
    if (directory === undefined) return [];
    const { scripts, refused } = findHooks(directory, kind);
    for (const { path, reason } of refused) {
      if (this.told.has(`${path}\n${reason}`)) continue;
      this.told.add(`${path}\n${reason}`);
      log.warn({ script: path, reason }, 'a hook is not run: only root may be able to change it');
    }
    return scripts;
  }

  /** What the script has written. @throws VirtError hook.refused */
  private async runOne(script: string, call: HookCall, input: string): Promise<string> {
    const { object, operation, subOperation, extra = '-' } = call;
    try {
      const { stdout, stderr } = await run(script, [object, operation, subOperation, extra], {
        timeoutMs: this.options.timeoutMs,
        input,
        maxOutputBytes: MAX_OUTPUT_BYTES,
        ...(call.signal && { signal: call.signal }),
        env: environment(),
      });
      if (stderr !== '') this.options.log.debug({ script, operation, stderr }, 'a hook has said something');
      return stdout;
    } catch (error) {
      if (!isVirtError(error) || error.code === 'operation.aborted') throw error;
      throw new VirtError('hook.refused', {
        wanted: `${operation} ${call.kind === 'daemon' ? 'the daemon' : `${nouns[call.kind]} '${object}'`}`,
        reason: `hook ${script}: ${error.reason}`,
        hint: `try it by hand: ${script} ${object} ${operation} ${subOperation} ${extra}, with the XML on its stdin`,
        cause: error,
        ...(error.details && { details: error.details }),
      });
    }
  }
}

const nouns = { qemu: 'domain', network: 'network' } as const;
