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
  const failure = failureOf(result, { program, args, ...options });
  if (failure !== undefined) throw failure;
  return { stdout: result.stdout, stderr: result.stderr, exitCode: result.exitCode ?? 0 };
}

/** How a program ended, as far as both ways to run one tell it. */
interface Ending {
  readonly timedOut: boolean;
  readonly isCanceled: boolean;
  readonly isMaxBuffer: boolean;
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  readonly code?: string | undefined;
  readonly stderr?: string | undefined;
  readonly cause?: unknown;
}

/** What went wrong with a program; undefined when nothing did. */
export function failureOf(
  ending: Ending,
  run: { readonly program: string; readonly args: readonly string[] } & Pick<
    RunOptions,
    'timeoutMs' | 'okExitCodes'
  >,
): VirtError | undefined {
  const { program, args, timeoutMs, okExitCodes = [0] } = run;
  const wanted = `run ${program}`;
  const { exitCode, signal } = ending;
  const details = { argv: [program, ...args], exitCode, signal, stderr: tail(ending.stderr) };
  if (ending.timedOut)
    return new VirtError('program.timeout', {
      wanted,
      reason: `it did not end within ${timeoutMs} ms`,
      details,
    });
  if (ending.isCanceled) return new VirtError('operation.aborted', { wanted, reason: 'cancelled', details });
  if (ending.code === 'ENOENT' || ending.code === 'EACCES')
    return new VirtError('program.missing', {
      wanted,
      reason: ending.code === 'ENOENT' ? `${program} is not installed` : `${program} may not be executed`,
      details,
      cause: ending.cause,
    });
  if (ending.isMaxBuffer)
    return new VirtError('program.failed', { wanted, reason: 'it printed more than is accepted', details });
  if (exitCode !== undefined && okExitCodes.includes(exitCode)) return undefined;
  return new VirtError('program.failed', { wanted, reason: badEnd(ending), details });
}

function badEnd({ exitCode, signal, stderr }: Ending): string {
  const how =
    exitCode === undefined ? `was ended by ${signal ?? 'a signal'}` : `ended with status ${exitCode}`;
  const said = tail(stderr, 500).trim();
  return said === '' ? `it ${how}` : `it ${how}: ${said}`;
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
  const problem = failureOf(result, { program, args, timeoutMs: options.timeoutMs });
  // A source that broke off makes the program fail: it is the one to tell, unless somebody called it off.
  if (input.errored && (problem === undefined || problem.code === 'program.failed')) throw input.errored;
  if (problem !== undefined) throw problem;
}

/** A program that runs between two descriptors. */
export interface DescriptorFilter {
  /** Settles at its end. @throws VirtError program.missing, program.failed, file.no-space */
  readonly ended: Promise<void>;
  /** Ends it at once; `ended` then rejects. */
  kill(): void;
}

/**
 * Starts a program that reads one descriptor and writes another (a file from where it stands, a pipe), so that no byte
 * goes through us. As root it runs as nobody: what it reads is a guest's memory. The caller keeps, and closes, its own
 * descriptors; when this returns the program has its copies. It has no time limit: terabytes may go through it.
 */
export async function startFilter(
  program: string,
  args: readonly string[],
  { inputFd, outputFd }: { readonly inputFd: number; readonly outputFd: number },
): Promise<DescriptorFilter> {
  const path = await findProgram(program);
  const wanted = `run ${program}`;
  if (path === undefined)
    throw new VirtError('program.missing', { wanted, reason: `${program} is not installed` });
  await ownTurn();
  const { execa } = await import('execa');
  const child = execa(path, [...args], {
    reject: false,
    extendEnv: false,
    env: { PATH: programPath, LC_ALL: 'C' },
    buffer: { stdout: false, stderr: true },
    maxBuffer: { stderr: 64 * 1024 },
    stdin: inputFd as 0,
    stdout: outputFd as 1,
    stderr: 'pipe',
    ...(process.getuid?.() === 0 && { uid: NOBODY, gid: NOBODY }),
    cwd: '/',
  });
  const ended = child.then((result) => {
    if (result.exitCode === 0) return;
    const said = tail(result.stderr, 500).trim();
    const isFull = /No space left on device/.test(said);
    const how = result.exitCode === undefined ? `was ended by ${result.signal ?? 'a signal'}` : 'failed';
    throw new VirtError(isFull ? 'file.no-space' : 'program.failed', {
      wanted,
      reason: said === '' ? `it ${how}` : said,
      details: { argv: [path, ...args], exitCode: result.exitCode, stderr: tail(result.stderr) },
    });
  });
  ended.catch(() => undefined); // Whoever waits for it hears of it.
  return { ended, kill: () => void child.kill('SIGKILL') };
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
