/**
 * Short tools of the system (nft, tc, iptables) by posix_spawn. Node's own spawn forks, which stops the event loop for as
 * long as it takes to copy the tables of a big heap: 3 to 10 ms, where these tools take about as long themselves.
 */
import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { errnoOf, VirtError } from './errors.ts';
import { failureOf, findProgram, programPath, type RunOptions, type RunResult } from './exec.ts';
import { memfdCreate, type WaitStatus } from './ffi.ts';
import { type DetachedProcess, killProcess, signalName, spawnDetached } from './spawn.ts';

type ToolOptions = Pick<RunOptions, 'timeoutMs' | 'input' | 'maxOutputBytes' | 'okExitCodes' | 'signal'>;

/** How a tool came to its end. */
type Ending = WaitStatus | 'timeout' | 'aborted';

const MAX_OUTPUT_BYTES = 1024 * 1024;

/**
 * Runs a tool that is trusted to print little: what it prints goes to memory and is looked at when it has ended. Input
 * and output are files, not pipes.
 * @throws VirtError as `run` in exec.ts
 */
export async function runTool(
  program: string,
  args: readonly string[],
  options: ToolOptions,
): Promise<RunResult> {
  const file = await pathOf(program);
  const opened: number[] = [];
  const keep = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  try {
    const input = keep(inputFile(options.input));
    const [stdout, stderr] = [keep(memfdCreate(`${program}-out`)), keep(memfdCreate(`${program}-err`))];
    const child = await spawnDetached({
      file,
      args,
      environment: { PATH: programPath, LC_ALL: 'C' },
      directory: '/',
      descriptors: [input, stdout, stderr],
      limits: { coreBytes: 0, openFiles: 8192 },
      // As our own: it changes the host's network for us.
      noNewPrivileges: false,
    });
    const status = await endOf(child, options);
    return resultOf(program, args, { status, stdout, stderr }, options);
  } catch (error) {
    // What stood there before is gone, or elsewhere: the next run looks anew.
    if (error instanceof VirtError && errnoOf(error.cause) === 'ENOENT') {
      paths.delete(program);
      throw missing(program);
    }
    throw error;
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

function missing(program: string): VirtError {
  return new VirtError('program.missing', {
    wanted: `run ${program}`,
    reason: `${program} is not installed`,
  });
}

// Looking for a program costs more than starting it; one that went away shows when it is started.
const paths = new Map<string, string>();

async function pathOf(program: string): Promise<string> {
  const path = paths.get(program) ?? (await findProgram(program));
  if (path === undefined)
    throw new VirtError('program.missing', {
      wanted: `run ${program}`,
      reason: `${program} is not installed`,
    });
  paths.set(program, path);
  return path;
}

/** A descriptor that reads the input from its beginning. */
function inputFile(input: string | Uint8Array | undefined): number {
  if (input === undefined) return openSync('/dev/null', 'r');
  const memory = memfdCreate('input');
  try {
    const bytes = Buffer.from(input);
    for (let at = 0; at < bytes.length; ) at += writeSync(memory, bytes, at);
    // Opened anew, since a copy of the descriptor would share its position, which is the end.
    return openSync(`/proc/self/fd/${memory}`, constants.O_RDONLY);
  } finally {
    closeSync(memory);
  }
}

async function endOf(child: DetachedProcess, { timeoutMs, signal }: ToolOptions): Promise<Ending> {
  const early = Promise.withResolvers<Ending>();
  const endAs = (ending: Ending): void => {
    killProcess(child, 'SIGKILL');
    early.resolve(ending);
  };
  const timer = setTimeout(endAs, timeoutMs, 'timeout');
  const onAbort = (): void => endAs('aborted');
  if (signal?.aborted === true) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([child.ended, early.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

function resultOf(
  program: string,
  args: readonly string[],
  ending: { readonly status: Ending; readonly stdout: number; readonly stderr: number },
  options: ToolOptions,
): RunResult {
  const { status } = ending;
  const ended = typeof status === 'string' ? undefined : status;
  const signal = ended?.signal === undefined ? undefined : signalName(ended.signal);
  const stdout = textOf(ending.stdout, options.maxOutputBytes ?? MAX_OUTPUT_BYTES);
  const stderr = textOf(ending.stderr, MAX_OUTPUT_BYTES) ?? '';
  const failure = failureOf(
    {
      ...{ exitCode: ended?.exitCode, signal, stderr },
      ...{ timedOut: status === 'timeout', isCanceled: status === 'aborted' },
      isMaxBuffer: stdout === undefined,
    },
    { program, args, ...options },
  );
  if (failure !== undefined) throw failure;
  return { stdout: stdout ?? '', stderr, exitCode: ended?.exitCode ?? 0 };
}

/** What was written to a file in memory; undefined when that is more than `maxBytes`. */
function textOf(fd: number, maxBytes: number): string | undefined {
  const { size } = fstatSync(fd);
  if (size > maxBytes) return undefined;
  const bytes = Buffer.alloc(size);
  let at = 0;
  while (at < size) {
    const read = readSync(fd, bytes, at, size - at, at);
    if (read === 0) break;
    at += read;
  }
  return bytes.toString('utf8', 0, at);
}
