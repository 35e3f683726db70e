/**
 * passt(1): user-mode networking beside QEMU. It gets one half of a socket pair and QEMU the other, so it needs no path
 * and no right on any file, and it ends with QEMU's half.
 */
import { constants, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, oneLine, VirtError } from '../../base/errors.ts';
import { close, socketPair } from '../../base/ffi.ts';
import { type DetachedProcess, spawnDetached } from '../../base/spawn.ts';
import type { HelperRecord } from '../driver.ts';
import { type HelperContext, type HelperNeedOf, needProgram } from './helper-context.ts';
import { openLog } from './log-file.ts';

/** How long passt may take until it serves. */
const READY_MS = 10_000;

/** Its messages when the host has no system log; they say nothing of the network. */
const noise = /^Failed to send \d+ bytes to syslog$/;

/**
 * Starts the passt of one interface; when this returns it serves, and its ports of the host are open. In the
 * foreground and without a terminal its messages go to the descriptors we give it, and its pid is that of our child.
 * @throws VirtError program.missing, program.failed with what it said, file.* for its log
 */
export async function startPasst(need: HelperNeedOf<'passt'>, context: HelperContext): Promise<HelperRecord> {
  const file = await needProgram('passt', "an interface with backend 'passt'");
  const input = await open('/dev/null', constants.O_RDONLY);
  const log = need.logFile === undefined ? undefined : await openLog(need.logFile);
  const [ours, theirs] = socketPair();
  context.onDescriptor(need.fd, ours);
  try {
    if (need.logFile !== undefined) context.onLog(need.logFile);
    const logFd = log?.fd ?? context.logFd;
    const said = await outputFrom(logFd);
    const child = await spawnDetached({
      file,
      args: [...(log === undefined ? ['--quiet'] : []), '--foreground', '--fd', '3', ...need.args],
      environment: context.environment,
      directory: '/',
      descriptors: [input.fd, logFd, logFd, theirs],
      limits: { coreBytes: 0, openFiles: 65_536 },
      ...(context.identity !== undefined && { identity: context.identity }),
    });
    await untilReady(child, said);
    return { kind: 'passt', alias: need.alias, pid: child.pid, startTimeTicks: child.startTimeTicks };
  } finally {
    close(theirs);
    await log?.close();
    await input.close();
  }
}

/**
 * Waits until passt has shut itself in: its seccomp filter is the last thing it sets up, after its ports are open
 * (passt.c, isolate_postfork).
 */
async function untilReady(child: DetachedProcess, said: () => Promise<string>): Promise<void> {
  const ended = child.ended.then(() => true);
  const own = seccompFilters('self') ?? 0;
  const deadline = performance.now() + READY_MS;
  for (let delayMs = 1; ; delayMs = Math.min(2 * delayMs, 50)) {
    if ((seccompFilters(child.pid) ?? 0) > own) return;
    if (await Promise.race([ended, sleep(delayMs, false, { ref: false })])) throw await failed(said);
    if (performance.now() > deadline)
      throw new VirtError('program.timeout', {
        wanted: 'start passt',
        reason: `it does not serve after ${READY_MS / 1000} s`,
      });
  }
}

/** How many filters a process has (proc(5), Seccomp_filters of Linux 5.9; before that whether it has any). */
function seccompFilters(pid: number | 'self'): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const count = /^Seccomp_filters:\s+(\d+)/m.exec(status)?.[1] ?? /^Seccomp:\s+(\d)/m.exec(status)?.[1];
    return count === undefined ? undefined : Number(count);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return undefined;
    throw error;
  }
}

async function failed(said: () => Promise<string>): Promise<VirtError> {
  const text = await said();
  return new VirtError('program.failed', {
    wanted: 'start passt',
    reason: text === '' ? 'it ended right after its start' : oneLine(text, 1000),
    ...hintFor(text),
    details: { stderr: text },
  });
}

function hintFor(said: string): { readonly hint?: string } {
  if (/failed to bind/i.test(said))
    return { hint: 'another program uses one of the ports of <portForward>; choose another' };
  if (/not usable|no .*interface/i.test(said))
    return {
      hint: 'passt takes its addresses from the interface with the default route, and finds none here; name one with <source dev>',
    };
  return {};
}

/** What is appended to a log from now on, for an error; the last kilobytes of it. */
async function outputFrom(logFd: number): Promise<() => Promise<string>> {
  // Our descriptor is for writing only; the link leads to the same file, whatever its name is by now.
  const reader = async <T>(use: (handle: Awaited<ReturnType<typeof open>>) => Promise<T>): Promise<T> => {
    const handle = await open(`/proc/self/fd/${logFd}`, constants.O_RDONLY);
    try {
      return await use(handle);
    } finally {
      await handle.close();
    }
  };
  const start = await reader(async (handle) => (await handle.stat()).size);
  return () =>
    reader(async (handle) => {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(4096), 0, 4096, start);
      const lines = buffer.toString('utf8', 0, bytesRead).split('\n');
      return lines.filter((line) => line.trim() !== '' && !noise.test(line)).join(' / ');
    });
}
