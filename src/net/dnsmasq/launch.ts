/** Starting, finding and ending one dnsmasq: unprivileged, in the foreground, in a session of its own. */
import { closeSync, openSync, readFileSync, unlinkSync, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { errnoOf, VirtError } from '../../base/errors.ts';
import { findProgram } from '../../base/exec.ts';
import { close, memfdCreate, type WaitStatus } from '../../base/ffi.ts';
import {
  isSameProcess,
  killProcess,
  type ProcessId,
  processStartTime,
  signalName,
  spawnDetached,
} from '../../base/spawn.ts';
import type { DnsmasqFiles } from './config.ts';

/** A dnsmasq that serves. */
export interface RunningDnsmasq extends ProcessId {
  /** Settles when it has ended; undefined for one that an earlier daemon started, which must be looked at. */
  readonly ended: Promise<WaitStatus> | undefined;
}

/** Long past anything seen (6 to 16 ms); a host that swaps is slow too. */
const START_LIMIT_MS = 10_000;

/** dnsmasq binds its ports and becomes its user with these; it keeps the first three. */
const capabilities = ['net_admin', 'net_raw', 'net_bind_service', 'setuid', 'setgid', 'setpcap'];

/**
 * Starts dnsmasq on a configuration that lies in place, and returns once its sockets are open.
 * @throws VirtError program.missing, program.failed with its own words, program.timeout
 */
export async function launchDnsmasq(files: DnsmasqFiles): Promise<RunningDnsmasq> {
  const program = await needProgram('dnsmasq', 'install dnsmasq (Debian: dnsmasq-base)');
  const setpriv = await needProgram('setpriv', 'install util-linux');
  removeQuietly(files.pid);
  // Its last words go to memory; a pipe would break when the daemon ends, a file could fill the disk.
  const words = memfdCreate('dnsmasq-stderr');
  const nothing = openSync('/dev/null', 'r+');
  const ready = pidFileAppears(files.pid);
  try {
    const child = await spawnDetached({
      file: setpriv,
      args: [
        // Here and not by spawnDetached: one setpriv does all.
        '--no-new-privs',
        `--bounding-set=-all,${capabilities.map((name) => `+${name}`).join(',')}`,
        '--inh-caps=-all',
        '--',
        program,
        `--conf-file=${files.config}`,
        '--keep-in-foreground',
      ],
      environment: { PATH: '/usr/sbin:/usr/bin', LC_ALL: 'C' },
      directory: '/',
      descriptors: [nothing, nothing, words],
      limits: { coreBytes: 0, openFiles: 8192 },
      noNewPrivileges: false,
    });
    const status = await Promise.race([ready.done, child.ended]);
    if (status === 'ready') return child;
    if (status === 'timeout') killProcess(child, 'SIGKILL');
    throw startError(status, lastWords(words));
  } finally {
    ready.stop();
    close(words);
    closeSync(nothing);
  }
}

async function needProgram(name: string, hint: string): Promise<string> {
  const path = programs.get(name) ?? (await findProgram(name));
  if (path === undefined)
    throw new VirtError('program.missing', {
      wanted: 'start the DHCP and DNS server of the network',
      reason: `${name} is not installed`,
      hint,
    });
  programs.set(name, path);
  return path;
}

// Looking for a program costs more than starting it; one that went away shows as a failed start.
const programs = new Map<string, string>();

function startError(status: WaitStatus | 'timeout', said: string): VirtError {
  const wanted = 'start dnsmasq';
  if (status === 'timeout')
    return new VirtError('program.timeout', {
      wanted,
      reason: `it was not ready within ${START_LIMIT_MS / 1000} s`,
      details: { stderr: said },
    });
  const how = describeEnd(status);
  const isPortTaken = said.includes('Address already in use');
  return new VirtError('program.failed', {
    wanted,
    reason: said === '' ? `it ${how}` : `it ${how}: ${said}`,
    ...(isPortTaken && {
      hint: 'another DNS or DHCP server listens on all interfaces: give it bind-interfaces, or end it',
    }),
    details: { exitCode: status.exitCode, stderr: said },
  });
}

/** `ended with status 2`, `was ended by SIGKILL`. */
export function describeEnd(status: WaitStatus): string {
  if (status.signal !== undefined) return `was ended by ${signalName(status.signal)}`;
  return status.exitCode === undefined ? 'ended' : `ended with status ${status.exitCode}`;
}

function lastWords(fd: number): string {
  const text = readFileSync(`/proc/self/fd/${fd}`, 'utf8');
  return text
    .replace(/^\s*dnsmasq: /gm, '')
    .trim()
    .slice(-1000);
}

/** dnsmasq writes its pid file when all its sockets are open, just before it drops its privileges (dnsmasq.c). */
function pidFileAppears(path: string): { done: Promise<'ready' | 'timeout'>; stop: () => void } {
  const { promise, resolve } = Promise.withResolvers<'ready' | 'timeout'>();
  const watcher = watch(dirname(path), (_event, name) => {
    if (name === basename(path)) resolve('ready');
  });
  const timer = setTimeout(() => resolve('timeout'), START_LIMIT_MS);
  const stop = () => {
    clearTimeout(timer);
    watcher.close();
  };
  return { done: promise, stop };
}

/**
 * The dnsmasq that an earlier daemon started on these files, if it still runs. The pid file alone proves nothing: the
 * process must have been started on this very configuration.
 */
export function findDnsmasq(files: DnsmasqFiles): RunningDnsmasq | undefined {
  const pid = Number(readQuietly(files.pid)?.trim());
  if (!Number.isInteger(pid)) return undefined;
  const startTimeTicks = processStartTime(pid);
  const words = readQuietly(`/proc/${pid}/cmdline`)?.split('\0') ?? [];
  if (startTimeTicks === undefined || !words.includes(`--conf-file=${files.config}`)) return undefined;
  const found = { pid, startTimeTicks, ended: undefined };
  return isSameProcess(found) ? found : undefined;
}

/** Ends it and waits until it is gone: SIGTERM, and after two seconds SIGKILL. */
export async function endDnsmasq(child: RunningDnsmasq): Promise<void> {
  const deadline = performance.now() + 2000;
  let isKilled = false;
  killProcess(child, 'SIGTERM');
  while (isSameProcess(child)) {
    // dnsmasq ends within a millisecond or two.
    await new Promise((done) => setTimeout(done, 1));
    if (isKilled || performance.now() < deadline) continue;
    killProcess(child, 'SIGKILL');
    isKilled = true;
  }
}

/** Whether any user may enter a directory, and so the one dnsmasq becomes; root's own access says nothing about that. */
export async function isOpenToAll(directory: string): Promise<boolean> {
  for (let level = directory; ; level = dirname(level)) {
    const { mode } = await stat(level);
    if ((mode & 0o001) === 0) return false;
    if (level === '/') return true;
  }
}

function readQuietly(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    // No such file, or the process ended between two reads.
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return undefined;
    throw error;
  }
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

/** Has it read its hosts files again; false when it has ended. */
export function rereadHosts(child: RunningDnsmasq): boolean {
  return killProcess(child, 'SIGHUP');
}
