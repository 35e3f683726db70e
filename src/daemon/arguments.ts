/** The command line of vireod. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { VirtError } from '../base/errors.ts';
import { type LogLevel, logLevels } from '../base/log-levels.ts';
import type { DaemonMode } from './paths.ts';

export interface DaemonArguments {
  readonly mode: DaemonMode;
  readonly root?: string;
  /** Another configuration file than the one of the mode. */
  readonly configFile?: string;
  readonly logLevel?: LogLevel;
  readonly logFormat?: 'json' | 'pretty';
  /** Seconds; undefined leaves it to the configuration, null means never. */
  readonly idleExitSeconds?: number | null;
  /** Print and end. */
  readonly show?: 'help' | 'version';
}

export const usage = `vireod [--mode system|session] [--root DIR] [options]

Runs Vireo's daemon in the foreground. When it serves it prints one line on stdout, "vireod ready" with its sockets;
it logs to stderr. SIGTERM or SIGINT stops it and leaves guests running; SIGHUP reads the configuration again.

  --mode system|session   system: for the host, as root. session: for one user (default: by the user)
  --root DIR              every path lies below DIR: DIR/run/vireo, DIR/etc/vireo, DIR/var/lib/vireo, ...
  --config FILE           another configuration file than vireod.toml of the mode
  --log-level LEVEL       ${logLevels.join(', ')}
  --log-format FORMAT     json or pretty (default: pretty on a terminal)
  --idle-exit SECONDS     end when there were no clients and no guests for so long (session mode: 120)
  --no-idle-exit          stay
  --version, --help
`;

/** @throws VirtError config.invalid */
export function parseDaemonArguments(argv: readonly string[], uid: number): DaemonArguments {
  const values = parseOptions(argv);
  const mode = values.mode ?? (uid === 0 ? 'system' : 'session');
  if (mode !== 'system' && mode !== 'session')
    throw wrong('--mode', `'${mode}' is neither system nor session`);
  const level = values['log-level'];
  if (level !== undefined && !isLevel(level))
    throw wrong('--log-level', `'${level}' is none of ${logLevels.join(', ')}`);
  const format = values['log-format'];
  if (format !== undefined && format !== 'json' && format !== 'pretty')
    throw wrong('--log-format', `'${format}' is neither json nor pretty`);
  const idle = idleExit(values['idle-exit'], values['no-idle-exit']);
  return {
    mode,
    ...(values.root !== undefined && { root: resolve(values.root) }),
    ...(values.config !== undefined && { configFile: resolve(values.config) }),
    ...(level !== undefined && { logLevel: level }),
    ...(format !== undefined && { logFormat: format }),
    ...(idle !== undefined && { idleExitSeconds: idle }),
    ...(values.help ? { show: 'help' as const } : values.version ? { show: 'version' as const } : {}),
  };
}

function parseOptions(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        mode: { type: 'string' },
        root: { type: 'string' },
        config: { type: 'string' },
        'log-level': { type: 'string' },
        'log-format': { type: 'string' },
        'idle-exit': { type: 'string' },
        'no-idle-exit': { type: 'boolean' },
        version: { type: 'boolean', short: 'V' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw wrong('the command line', error instanceof Error ? error.message : String(error));
  }
}

function isLevel(text: string): text is LogLevel {
  return (logLevels as readonly string[]).includes(text);
}

function idleExit(seconds: string | undefined, never: boolean | undefined): number | null | undefined {
  if (never) return null;
  if (seconds === undefined) return undefined;
  if (!/^\d{1,6}$/.test(seconds) || Number(seconds) === 0)
    throw wrong('--idle-exit', `'${seconds}' is no number of seconds`);
  return Number(seconds);
}

function wrong(what: string, reason: string): VirtError {
  return new VirtError('config.invalid', { wanted: `read ${what}`, reason, hint: "see 'vireod --help'" });
}
