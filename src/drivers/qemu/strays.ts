/** Guests that no record names: what a daemon left that was killed in the middle of a start, or whose record is lost. */
import { readdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { errnoOf } from '../../base/errors.ts';
import { processStartTime } from '../../base/spawn.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { GuestRecord, StrayGuest, StrayProcess } from '../driver.ts';
import { isPtyPath } from './console.ts';
import { monitorName } from './context.ts';
import { guestVariable } from './launch.ts';
import { GuestProcess } from './process.ts';
import { connectQmp } from './qmp/client.ts';

/**
 * Looks at the environment of each process for a guest directory of ours (below `parent`) that no record names, and
 * removes directories that belong to nobody. Call it before anything is started.
 */
export async function findStrays(parent: string, known: readonly GuestRecord[]): Promise<StrayGuest[]> {
  const kept = new Set(known.map((record) => record.directory));
  const found = new Map<string, StrayProcess[]>();
  for (const name of await namesIn('/proc')) {
    const stray = /^\d+$/.test(name) ? await strayOf(Number(name), parent, kept) : undefined;
    if (stray === undefined) continue;
    const { directory, process } = stray;
    found.set(directory, [...(found.get(directory) ?? []), process]);
  }
  for (const name of await namesIn(parent)) {
    const directory = join(parent, name);
    if (!kept.has(directory) && !found.has(directory)) await rm(directory, { recursive: true, force: true });
  }
  return [...found].map(([directory, processes]) => ({ directory, processes, ...uuidOf(processes) }));
}

/** Ends all processes of a stray guest and removes its directory. */
export async function endStray(stray: StrayGuest): Promise<void> {
  for (const process of stray.processes) await GuestProcess.adopt(process).end({ force: true, graceMs: 0 });
  await rm(stray.directory, { recursive: true, force: true });
}

/**
 * Makes a record of a running QEMU from what it says itself. What it can't say (foreign sockets, links, ports of
 * graphics) is missing in it, so those outlive the guest.
 * @throws VirtError qmp.* when its monitor does not answer within `timeoutMs`
 */
export async function recordOfStray(
  stray: StrayGuest,
  facts: { readonly definition: DomainDef; readonly logPath: string; readonly timeoutMs: number },
): Promise<GuestRecord | undefined> {
  const qemu = stray.processes.find((process) => uuidIn(process.argv) === facts.definition.uuid);
  if (qemu === undefined) return undefined;
  const qmpSocket = join(stray.directory, monitorName);
  const uid = await uidOf(qemu.pid);
  return {
    pid: qemu.pid,
    startTimeTicks: qemu.startTimeTicks,
    qemuPath: qemu.argv[0] ?? '',
    directory: stray.directory,
    qmpSocket,
    ptys: await ptysOf(qmpSocket, facts.timeoutMs),
    sockets: await socketsIn(stray.directory),
    ...(uid !== undefined && uid !== process.getuid?.() && { uid }),
    startedAtMs: Date.now(),
    logPath: facts.logPath,
    logs: [],
    graphicsPorts: [],
    helpers: stray.processes
      .filter((process) => process !== qemu)
      .map(({ pid, startTimeTicks, argv }) => ({ kind: basename(argv[0] ?? ''), pid, startTimeTicks })),
    links: {},
    foreignSockets: [],
  };
}

/** Back ends are named after the alias of the device in front (argv/chardev.ts). */
async function ptysOf(qmpSocket: string, timeoutMs: number): Promise<Record<string, string>> {
  const monitor = await connectQmp(qmpSocket, { timeoutMs });
  try {
    const ptys: Record<string, string> = {};
    for (const { label, filename } of await monitor.execute('query-chardev', undefined, { timeoutMs })) {
      const path = /^pty:(.*)$/.exec(filename)?.[1];
      if (label.startsWith('char') && path !== undefined && isPtyPath(path))
        ptys[label.slice('char'.length)] = path;
    }
    return ptys;
  } finally {
    monitor.close();
  }
}

/** Channels without a path of their own listen at ALIAS.sock in the guest's directory. */
async function socketsIn(directory: string): Promise<Record<string, string>> {
  const sockets = (await namesIn(directory)).filter((name) => name.endsWith('.sock'));
  return Object.fromEntries(sockets.map((name) => [name.slice(0, -'.sock'.length), join(directory, name)]));
}

async function strayOf(
  pid: number,
  parent: string,
  kept: ReadonlySet<string>,
): Promise<{ directory: string; process: StrayProcess } | undefined> {
  // Read before the environment: if the pid is given to another process in between, the pair names nobody.
  const startTimeTicks = processStartTime(pid);
  const directory = await guestDirectoryOf(pid);
  if (startTimeTicks === undefined || directory === undefined || kept.has(directory)) return undefined;
  if (directory !== join(parent, basename(directory))) return undefined;
  return { directory, process: { pid, startTimeTicks, argv: (await readProc(pid, 'cmdline')) ?? [] } };
}

/** Undefined for processes of other kinds, that have ended, or that are not ours to look at. */
async function guestDirectoryOf(pid: number): Promise<string | undefined> {
  const prefix = `${guestVariable}=`;
  const words = await readProc(pid, 'environ');
  return words?.find((word) => word.startsWith(prefix))?.slice(prefix.length);
}

async function readProc(pid: number, file: 'environ' | 'cmdline'): Promise<string[] | undefined> {
  try {
    return (await readFile(`/proc/${pid}/${file}`, 'utf8')).split('\0');
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

/** The real uid (proc(5), /proc/PID/status). */
async function uidOf(pid: number): Promise<number | undefined> {
  const uid = /^Uid:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
  return uid === undefined ? undefined : Number(uid);
}

/** The domain of a group of processes: one of them is a QEMU, or its launcher with QEMU's command line behind. */
function uuidOf(processes: readonly StrayProcess[]): { readonly uuid?: string } {
  const uuid = processes.map(({ argv }) => uuidIn(argv)).find((found) => found !== undefined);
  return uuid === undefined ? {} : { uuid };
}

function uuidIn(argv: readonly string[]): string | undefined {
  const index = argv.indexOf('-uuid');
  return index === -1 ? undefined : argv[index + 1];
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
