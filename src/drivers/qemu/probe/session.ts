/** One short-lived QEMU without a machine, started only to be asked: `-machine none` and a monitor. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errnoOf, fileError, isVirtError, reasonOf, VirtError } from '../../../base/errors.ts';
import { findProgram, run } from '../../../base/exec.ts';
import { openQmp, type QmpClient } from '../qmp/client.ts';

export interface ProbeOptions {
  /** For the whole probe of one binary. */
  readonly timeoutMs: number;
  /** Where the monitor's socket may be made; it is gone afterwards. */
  readonly runtimeDirectory: string;
  readonly signal?: AbortSignal;
}

export interface SessionRequest {
  readonly path: string;
  /** As in `-machine accel=`: `tcg:kvm` takes the first that works. */
  readonly accelerator: string;
  readonly deadlineMs: number;
  readonly runtimeDirectory: string;
  readonly signal?: AbortSignal;
}

/** The longest directory that leaves room for the socket's own name in the 107 bytes of a unix path. */
const MAX_DIRECTORY_BYTES = 80;

export function probeError(path: string, reason: string, cause?: unknown): VirtError {
  const stderr = isVirtError(cause) ? cause.details?.['stderr'] : undefined;
  const timedOut = isTimeout(cause);
  const byHand = `run '${path} -machine none -nodefaults -display none' by hand to see what is wrong`;
  return new VirtError('qemu.probe-failed', {
    wanted: `ask ${path} for its capabilities`,
    // The limit is of all questions together; what was left of it for the last one tells nobody anything.
    reason: timedOut ? 'it did not answer in time' : reason,
    hint: timedOut
      ? `try again when the host is less busy, or raise probe_timeout_seconds; else ${byHand}`
      : byHand,
    details: { path, ...(typeof stderr === 'string' && { stderr }), timedOut },
    cause,
  });
}

function isTimeout(error: unknown): boolean {
  return isVirtError(error, 'program.timeout') || isVirtError(error, 'qmp.timeout');
}

/**
 * Starts the binary, lets `ask` talk to it, ends it. The process is gone and the socket removed when this settles.
 * @throws VirtError qemu.probe-failed (details: end of stderr, timedOut), operation.aborted
 */
export async function withSession<T>(
  request: SessionRequest,
  ask: (client: QmpClient) => Promise<T>,
): Promise<T> {
  const directory = await socketDirectory(request.runtimeDirectory);
  const server = createServer();
  try {
    const socketPath = join(directory, 'q');
    await listen(server, socketPath);
    return await converse(request, server, socketPath, ask);
  } finally {
    server.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** `probe-PID-XXXXXX`: the daemon's process id tells whose it is. */
const directoryPattern = /^probe-(\d+)-/;

/** A directory of our own, mode 0700, so that nobody else can connect in QEMU's place. */
async function socketDirectory(runtimeDirectory: string): Promise<string> {
  const parent = Buffer.byteLength(runtimeDirectory) <= MAX_DIRECTORY_BYTES ? runtimeDirectory : tmpdir();
  try {
    await removeAbandoned(parent);
    return await mkdtemp(join(parent, `probe-${process.pid}-`));
  } catch (error) {
    throw fileError(error, 'make a directory for a monitor socket', parent);
  }
}

/** Takes away what a daemon left that was killed in the middle of a probe. */
async function removeAbandoned(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const pid = directoryPattern.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid)))
      await rm(join(parent, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives, and belongs to somebody else.
    return errnoOf(error) !== 'ESRCH';
  }
}

async function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(path, resolve);
  await promise;
}

function argumentsFor(request: SessionRequest, socketPath: string): string[] {
  const machine = `none,accel=${request.accelerator}`;
  // QEMU connects to us, so nobody has to wait for a socket to appear. A comma in a value is doubled.
  const monitor = `unix:${socketPath.replaceAll(',', ',,')}`;
  return ['-machine', machine, '-nodefaults', '-no-user-config', '-display', 'none', '-S', '-qmp', monitor];
}

/**
 * The command line under setpriv (util-linux), which has the kernel end the process together with us (prctl(2),
 * PR_SET_PDEATHSIG): QEMU itself waits for ever when its monitor's other end is gone. Without setpriv a killed daemon
 * can leave an idle QEMU behind.
 */
async function mortal(path: string, args: string[]): Promise<[program: string, args: string[]]> {
  const setpriv = await findProgram('setpriv');
  return setpriv === undefined ? [path, args] : [setpriv, ['--pdeathsig', 'KILL', '--', path, ...args]];
}

/** How the process ended: undefined for a good end, else what `run` threw. */
type Outcome = { readonly error: unknown } | undefined;

async function converse<T>(
  request: SessionRequest,
  server: Server,
  socketPath: string,
  ask: (client: QmpClient) => Promise<T>,
): Promise<T> {
  const timeoutMs = Math.max(1, request.deadlineMs - Date.now());
  const stop = new AbortController();
  const signal = request.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, request.signal]);
  const connected = nextConnection(server);
  const [program, args] = await mortal(request.path, argumentsFor(request, socketPath));
  const ended: Promise<Outcome> = run(program, args, { timeoutMs, signal }).then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  try {
    const socket = await Promise.race([connected, ended.then(() => undefined)]);
    if (socket === undefined)
      throw new VirtError('qmp.closed', { reason: 'it ended before opening its monitor' });
    const client = await openQmp(socket, { timeoutMs, signal });
    const answers = await ask(client);
    await quit(client);
    await ended;
    return answers;
  } catch (error) {
    throw await explain(request, error, ended, stop);
  }
}

function nextConnection(server: Server): Promise<Socket> {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  server.once('connection', resolve);
  return promise;
}

/** QEMU may be gone before its reply to `quit` is out. */
async function quit(client: QmpClient): Promise<void> {
  try {
    await client.execute('quit');
  } catch (error) {
    if (!isVirtError(error, 'qmp.closed')) throw error;
  }
}

/** Makes sure the process is gone, and tells its own words before ours. */
async function explain(
  request: SessionRequest,
  error: unknown,
  ended: Promise<Outcome>,
  stop: AbortController,
): Promise<VirtError> {
  // A process that ends by itself tells why; one that goes on gets half a second before it is ended.
  const timer = setTimeout(() => stop.abort(), isVirtError(error, 'qmp.closed') ? 500 : 0);
  const outcome = await ended;
  clearTimeout(timer);
  if (request.signal?.aborted)
    return new VirtError('operation.aborted', {
      wanted: `ask ${request.path}`,
      reason: 'cancelled',
      cause: error,
    });
  const cause =
    outcome !== undefined && !isVirtError(outcome.error, 'operation.aborted') ? outcome.error : error;
  return probeError(request.path, reasonOf(cause), cause);
}
