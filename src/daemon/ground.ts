/** The first stage of a daemon: its paths, configuration, log and directories, and what every part stands on. */
import { join } from 'node:path';
import { VirtError } from '../base/errors.ts';
import { MAX_UNIX_PATH } from '../base/ffi.ts';
import { ensureDirectory, levelsOf } from '../base/files.ts';
import { createLogger, type Logger, prettyStream } from '../base/log.ts';
import type { DaemonArguments } from './arguments.ts';
import { type DaemonConfig, loadConfig } from './config.ts';
import { HookRunner } from './hooks/hooks.ts';
import { takeLock } from './lock.ts';
import { type DaemonPaths, daemonPaths } from './paths.ts';
import { EventBus } from './services/events.ts';
import { stateDirectories } from './services/host-service.ts';
import { createJobs, type Jobs } from './services/jobs.ts';

/** What every part of the daemon is given. */
export interface Ground {
  readonly args: DaemonArguments;
  readonly startedAtMs: number;
  readonly paths: DaemonPaths;
  readonly config: DaemonConfig;
  readonly log: Logger;
  readonly events: EventBus;
  readonly jobs: Jobs;
  readonly hooks: HookRunner;
  /** So long a call waits for another's job on the same object. */
  readonly jobWaitMs: number;
}

/**
 * Makes the directories ready and takes the lock: from then on no other daemon has them.
 * @throws VirtError config.invalid, daemon.running, file.*
 */
export async function layGround(args: DaemonArguments): Promise<Ground> {
  const startedAtMs = Date.now();
  // Files and directories of ours are private unless a call says otherwise (docs/security.md, class I).
  process.umask(0o077);
  const paths = daemonPaths(args);
  checkSocketPath(paths);
  const config = await loadConfig(args.configFile ?? paths.configFile);
  const log = await daemonLogger(args, config);
  await makeDirectories(paths);
  takeLock(paths.lock);
  const events = new EventBus(log);
  const hooks = new HookRunner({
    directory: hooksDirectory(paths, config),
    timeoutMs: config.hooks.timeout_seconds * 1000,
    log,
  });
  await hooks.tell({ kind: 'daemon', object: '-', operation: 'start', subOperation: '-', extra: 'start' });
  return {
    args,
    startedAtMs,
    paths,
    config,
    log,
    events,
    jobs: createJobs(events),
    hooks,
    jobWaitMs: config.daemon.job_wait_seconds * 1000,
  };
}

/** An absurdly deep --root shows here, not at the first connection. */
function checkSocketPath(paths: DaemonPaths): void {
  // The longest socket of a guest: its directory below `g`, and `qmp` or a channel's name in it.
  const longest = Math.max(Buffer.byteLength(paths.socket), Buffer.byteLength(paths.guests) + 24);
  if (longest > MAX_UNIX_PATH)
    throw new VirtError('config.invalid', {
      wanted: 'start the daemon',
      reason: `the runtime directory ${paths.runtime} is too long for unix sockets (${MAX_UNIX_PATH} bytes in all)`,
      hint: 'choose a shorter --root',
    });
}

async function daemonLogger(args: DaemonArguments, config: DaemonConfig): Promise<Logger> {
  const configured = config.daemon.log_format;
  const format =
    args.logFormat ?? (configured === 'auto' ? (process.stderr.isTTY ? 'pretty' : 'json') : configured);
  const level = args.logLevel ?? config.daemon.log_level;
  return createLogger({ level, ...(format === 'pretty' && { stream: await prettyStream() }) });
}

async function makeDirectories(paths: DaemonPaths): Promise<void> {
  await openSharedDirectories(paths);
  for (const directory of stateDirectories(paths)) await ensureDirectory(directory.path, directory.mode);
  await ensureDirectory(paths.saves, 0o700);
  await ensureDirectory(paths.guests, paths.mode === 'system' ? 0o711 : 0o700);
}

/** What others must enter below a root of our own, as they can below /: dnsmasq runs unprivileged, clients connect. */
async function openSharedDirectories({ root, mode }: DaemonPaths): Promise<void> {
  if (root === undefined) return;
  // The root itself, where it has to be made, and what is made above it.
  if (mode === 'system') for (const level of levelsOf(root)) await ensureDirectory(level, 0o755);
  for (const path of ['run', 'var', 'var/lib']) await ensureDirectory(join(root, path), 0o755);
}

/** Where the administrator's scripts are; undefined where there are to be none. */
function hooksDirectory(paths: DaemonPaths, config: DaemonConfig): string | undefined {
  const configured = config.hooks.directory;
  return configured === '' ? undefined : (configured ?? paths.hooks);
}
