/** Runs programs: an argv array, never a shell, a closed environment, a time limit, bounded output. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { Readable } from 'node:stream';
import { VirtError } from './errors.ts';
import { ownTurn } from './turns.ts';

export interface RunOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly input?: string | Uint8Array;
  /** Output past this is cut off (default 1 MiB for each of stdout and stderr). */
  readonly maxOutputBytes?: number;
  /** Exit codes that are no failure (default only 0). */
  readonly okExitCodes?: readonly number[];
  /** Variables besides PATH and LC_ALL=C. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Open files that the program gets besides, as its descriptors from 3 on. */
  readonly descriptors?: readonly number[];
  /** Hears what the program prints to its standard output as it comes, for programs that tell their progress. */
  readonly onOutput?: (text: string) => void;
}

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** Where programs are looked for; a daemon's own PATH may lack the sbin directories. */
export const programPath = [
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
].join(delimiter);

/**
 * Runs a program to its end.
 * @throws VirtError program.missing, program.failed (with argv, exit status, end of stderr), program.timeout,
 *   operation.aborted
 */
export async function run(program: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  // Node forks, which takes milliseconds; a dozen programs at once must not add up to one long pause.
  await ownTurn();
  // Loaded when the first program runs: an idle daemon needs none of it.
  const { execa } = await import('execa');
  const running = execa(program, [...args], {
    reject: false,
    extendEnv: false,
    env: { PATH: programPath, LC_ALL: 'C', ...options.env },
    timeout: options.timeoutMs,
    forceKillAfterDelay: 1000,
    maxBuffer: options.maxOutputBytes ?? 1024 * 1024,
    stripFinalNewline: false,
    ...(options.input === undefined ? {} : { input: options.input }),
    // execa takes any descriptor here; its types name only small ones.
    stdio: [
      options.input === undefined ? 'ignore' : 'pipe',
      'pipe',
      'pipe',
      ...((options.descriptors ?? []) as 3[]),
    ],
    ...(options.signal && { cancelSignal: options.signal }),
    cwd: options.cwd ?? '/',
  });
  const { onOutput } = options;
  if (onOutput) running.stdout?.on('data', (chunk: Buffer) => onOutput(chunk.toString('latin1')));
  const result = await running;
  const wanted = `run ${program}`;
  const details = {
    argv: [program, ...args],
    exitCode: result.exitCode,
    signal: result.signal,
    stderr: tail(result.stderr),
  };
  if (result.timedOut)
    throw new VirtError('program.timeout', {
      wanted,
      reason: `it did not end within ${options.timeoutMs} ms`,
      details,
    });
  if (result.isCanceled) throw new VirtError('operation.aborted', { wanted, reason: 'cancelled', details });
  if (result.code === 'ENOENT' || result.code === 'EACCES')
    throw new VirtError('program.missing', {
      wanted,
      reason: result.code === 'ENOENT' ? `${program} is not installed` : `${program} may not be executed`,
      details,
      cause: result.cause,
    });
  if (result.isMaxBuffer)
    throw new VirtError('program.failed', { wanted, reason: 'it printed more than is accepted', details });
  const { exitCode } = result;
  if (exitCode === undefined || !(options.okExitCodes ?? [0]).includes(exitCode)) {
    const how =
      exitCode === undefined
        ? `was ended by ${result.signal ?? 'a signal'}`
        : `ended with status ${exitCode}`;
    const said = tail(result.stderr, 500).trim();
    throw new VirtError('program.failed', {
      wanted,
      reason: said === '' ? `it ${how}` : `it ${how}: ${said}`,
      details,
    });
  }
  return { stdout: result.stdout, stderr: result.stderr, exitCode };
}

/** Who runs programs that read what strangers wrote, when we are root: nobody (uid 65534 on Linux). */
const NOBODY = 65_534;

/**
 * Runs a program that makes other bytes of bytes: `input` goes in, `take` gets what comes out, at the pace of the slower.
 * As root the program runs as nobody, since the bytes are not ours.
 * @throws VirtError as run; what `take` throws as it is
 */
export async function filterThrough(
  program: string,
  args: readonly string[],
  input: Readable,
  take: (output: AsyncIterable<Buffer>) => Promise<void>,
  options: Pick<RunOptions, 'timeoutMs' | 'signal'>,
): Promise<void> {
  await ownTurn();
  const { execa } = await import('execa');
  const child = execa(program, [...args], {
    reject: false,
    extendEnv: false,
    env: { PATH: programPath, LC_ALL: 'C' },
    timeout: options.timeoutMs,
    forceKillAfterDelay: 1000,
    buffer: { stdout: false, stderr: true },
    maxBuffer: { stderr: 64 * 1024 },
    encoding: 'utf8',
    stdin: 'pipe',
    ...(process.getuid?.() === 0 && { uid: NOBODY, gid: NOBODY }),
    ...(options.signal && { cancelSignal: options.signal }),
    cwd: '/',
  });
  // A program that ends early closes its side; how it ended is told below.
  child.stdin.on('error', () => undefined);
  input.on('error', () => child.kill());
  input.pipe(child.stdin);
  const taken = take(child.stdout as AsyncIterable<Buffer>).catch((error: unknown) => {
    child.kill();
    return { error };
  });
  const failure = await taken;
  input.destroy();
  const result = await child;
  if (failure !== undefined) throw failure.error;
  const wanted = `run ${program}`;
  const details = { argv: [program, ...args], exitCode: result.exitCode, stderr: tail(result.stderr) };
  if (result.timedOut)
    throw new VirtError('program.timeout', {
      wanted,
      reason: `it did not end within ${options.timeoutMs} ms`,
      details,
    });
  if (result.isCanceled) throw new VirtError('operation.aborted', { wanted, reason: 'cancelled', details });
  if (input.errored) throw input.errored;
  if (result.exitCode === 0) return;
  const said = tail(result.stderr, 500).trim();
  throw new VirtError('program.failed', { wanted, reason: said === '' ? 'it failed' : said, details });
}

function tail(text: string | undefined, chars = 2000): string {
  return (text ?? '').slice(-chars);
}

/** The absolute path of a program, or undefined when it is not installed. */
export async function findProgram(name: string): Promise<string | undefined> {
  const candidates = name.startsWith('/')
    ? [name]
    : programPath.split(delimiter).map((directory) => join(directory, name));
  for (const candidate of candidates) {
    const found = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return candidate;
  }
  return undefined;
}
