/** Starts a session daemon on demand, the way a user's first command wants it: quietly, detached, in bounded time. */
import { closeSync, constants, mkdirSync, openSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { exitGaveWay } from '../base/daemon-exit.ts';
import { errnoOf, fileError, oneLine, reasonOf, VirtError } from '../base/errors.ts';
import { posixSpawn, reapChild, type WaitStatus } from '../base/ffi.ts';

export interface SessionDaemonRequest {
  readonly socketPath: string;
  /** Given on to the daemon as it is, except for what only steers Node. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How long to wait for the socket. */
  readonly timeoutMs: number;
  /** The launcher; the package's own bin/vireod when left out. */
  readonly program?: string;
}

const POLL_MS = 20;
/** How much of a failed daemon's output is read. */
const OUTPUT_BYTES = 8192;

/**
 * Starts `vireod --mode session` in its own session, and returns when its socket takes connections. Its output goes
 * to the file `vireod-start.log` in the session's log directory. When another command starts one at the same time,
 * one of the two daemons gives way by itself, and both commands find the winner: it has the paths before it serves.
 * @throws VirtError daemon.unreachable with what the daemon said, when it ends or does not serve in time
 */
export async function startSessionDaemon(request: SessionDaemonRequest): Promise<void> {
  const program = request.program ?? fileURLToPath(new URL('../../bin/vireod', import.meta.url));
  const logPath = startLogPath(request.env);
  const pid = spawnDaemon(program, logPath, request);
  const deadline = performance.now() + request.timeoutMs;
  let ended: WaitStatus | undefined;
  while (performance.now() < deadline) {
    if (await answers(request.socketPath)) return;
    if (ended && ended.exitCode !== exitGaveWay) break;
    ended ??= reapChild(pid);
    if (!ended || ended.exitCode === exitGaveWay) await sleep(POLL_MS);
  }
  const said = endOfFile(logPath);
  throw new VirtError('daemon.unreachable', {
    wanted: 'start the session daemon',
    reason:
      ended && ended.exitCode !== exitGaveWay
        ? `it ended with ${ended.signal === undefined ? `status ${ended.exitCode}` : `signal ${ended.signal}`}`
        : `it did not serve ${request.socketPath} within ${request.timeoutMs} ms`,
    hint: `its output is in ${logPath}; 'vireod --mode session' runs it in the foreground`,
    details: { stderr: said, logPath },
  });
}

function spawnDaemon(program: string, logPath: string, request: SessionDaemonRequest): number {
  const nothing = openSync('/dev/null', 'r');
  const log = openLog(logPath);
  try {
    return posixSpawn({
      file: program,
      argv: [program, '--mode', 'session'],
      environment: environmentOf(request.env),
      directory: '/',
      descriptors: [nothing, log, log],
      newSession: true,
    });
  } catch (error) {
    throw new VirtError('daemon.unreachable', {
      wanted: 'start the session daemon',
      reason: `${program}: ${reasonOf(error)}`,
      cause: error,
    });
  } finally {
    closeSync(nothing);
    closeSync(log);
  }
}

function environmentOf(env: Readonly<Record<string, string | undefined>>): string[] {
  return Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
}

function startLogPath(env: Readonly<Record<string, string | undefined>>): string {
  const state = env['XDG_STATE_HOME'];
  const base = state?.startsWith('/') ? state : join(env['HOME'] ?? homedir(), '.local/state');
  return join(base, 'vireo/log/vireod-start.log');
}

// The log holds the last start only; a link in its place is not followed.
function openLog(path: string): number {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    return openSync(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
  } catch (error) {
    throw fileError(error, 'start the session daemon', path);
  }
}

function endOfFile(path: string): string {
  try {
    return readFileSync(path, 'utf8').slice(-OUTPUT_BYTES);
  } catch (error) {
    return `(${path} cannot be read: ${oneLine(errnoOf(error) ?? reasonOf(error))})`;
  }
}

/** True when something accepts connections on the socket. */
function answers(socketPath: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ path: socketPath });
    const settle = (isThere: boolean) => {
      socket.destroy();
      done(isThere);
    };
    socket.once('connect', () => settle(true));
    socket.once('error', () => settle(false));
  });
}
