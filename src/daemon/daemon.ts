/** One running daemon, put together in stages: the ground, the engine on it, the doors into it. */
import { reasonOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { DaemonArguments } from './arguments.ts';
import { storeCompiledCode } from './compiled-code.ts';
import { type DaemonConfig, loadConfig } from './config.ts';
import { Doors } from './doors.ts';
import { takeLibvirtsPlace } from './drop-in.ts';
import type { EarlyDoor } from './early-door.ts';
import { bringUp, buildEngine, type DaemonEngine, detach, openEngine, rescan } from './engine.ts';
import { type Ground, layGround } from './ground.ts';
import { IdleExit } from './idle-exit.ts';
import type { DaemonPaths } from './paths.ts';
import { MemoryTidier } from './tidy-memory.ts';
import { version } from './version.ts';
import { WarmUp } from './warm-up.ts';

/** A daemon that serves. */
export interface RunningDaemon {
  /** Sockets by front end. */
  readonly sockets: Readonly<Record<string, string>>;
  readonly log: Logger;
  /** Reads the configuration (what needs a restart is logged) and the stored definitions again. */
  reload(): Promise<void>;
  /** Stops serving; guests go on. */
  stop(): Promise<void>;
}

/**
 * Starts a daemon. `onIdle` is called when a session daemon has had neither clients nor guests for its time.
 * @throws VirtError config.invalid, daemon.running, file.*
 */
export async function startDaemon(
  args: DaemonArguments,
  onIdle: () => void,
  early?: EarlyDoor,
): Promise<RunningDaemon> {
  const ground = await layGround(args);
  const engine = await buildEngine(ground);
  await openEngine(engine);
  const doors = new Doors(ground, engine, early);
  const quiet = watchForQuiet({ ground, engine, doors, onIdle });
  await doors.open(() => quiet.look());
  const { paths, config, events, log } = ground;
  const { domains, adoption } = engine;
  if (config.libvirt.drop_in) await takeLibvirtsPlace({ paths, domains, events, adoption, log });
  quiet.start();
  engine.nodeDevices.start();
  engine.domains.archives.planner.start();
  bringUp(engine, ground).catch((error: unknown) => log.error({ err: error }, 'autostart failed'));
  log.info({ version, mode: paths.mode, root: paths.root, domains: domains.counts }, 'serving');
  return {
    sockets: doors.sockets,
    log,
    reload: () => reload(ground, engine),
    async stop() {
      quiet.stop();
      engine.nodeDevices.stop();
      engine.domains.archives.planner.stop();
      await doors.close();
      detach(engine);
      await engine.recorder.close();
      await engine.history.stop();
      await tellHook(ground, { operation: 'shutdown', subOperation: '-', extra: 'shutdown' });
      log.info('stopped; guests were left as they are');
    },
  };
}

/** What is done when nobody is there: memory is given back, and a session's daemon ends. */
function watchForQuiet(parts: {
  readonly ground: Ground;
  readonly engine: DaemonEngine;
  readonly doors: Doors;
  readonly onIdle: () => void;
}): { look(): void; start(): void; stop(): void } {
  const { ground, engine, doors, onIdle } = parts;
  const { args, config, paths, events, jobs } = ground;
  const hasClients = () => doors.clientCount > 0;
  const idle = new IdleExit({
    delayMs: idleDelayMs(args, config, paths),
    isBusy: () => hasClients() || engine.domains.counts.active > 0 || jobs.list().length > 0,
    onIdle,
  });
  const before = whenFirstQuiet(ground, engine, hasClients);
  const tidier = new MemoryTidier({ hasClients, before, log: ground.log });
  const look = () => {
    idle.look();
    tidier.look();
    engine.nodeDevices.setAudience(hasClients());
  };
  return {
    look,
    start() {
      events.subscribe(
        (event) => (event.event === 'domain.stopped' || event.event === 'job.ended') && idle.look(),
      );
      look();
    },
    stop() {
      idle.stop();
      tidier.stop();
    },
  };
}

/** What is done once, when nobody is there: most of what clients ask for is rehearsed, and its code kept on disk. */
function whenFirstQuiet(
  { log }: Ground,
  { driver, emulators }: DaemonEngine,
  hasClients: () => boolean,
): () => Promise<void> {
  const warmUp = new WarmUp(driver);
  let isOver = false;
  return async () => {
    if (isOver) return;
    try {
      const path = await emulators.find('x86_64');
      // Asking an emulator for the first time takes seconds: that is for somebody who needs it.
      if (path === undefined || !(await emulators.isProbed?.(path))) return;
      isOver = await warmUp.run(() => !hasClients());
      if (isOver) storeCompiledCode();
    } catch (error) {
      isOver = true;
      log.debug({ reason: reasonOf(error) }, 'the rehearsal ended early');
    }
  };
}

/** Undefined: it stays, however idle. */
function idleDelayMs(args: DaemonArguments, config: DaemonConfig, paths: DaemonPaths): number | undefined {
  if (args.idleExitSeconds === null) return undefined;
  if (args.idleExitSeconds !== undefined) return args.idleExitSeconds * 1000;
  return paths.mode === 'session' ? config.daemon.idle_exit_seconds * 1000 : undefined;
}

async function reload(ground: Ground, engine: DaemonEngine): Promise<void> {
  await tellHook(ground, { operation: 'reload', subOperation: 'begin', extra: 'SIGHUP' });
  await reloadConfig(ground);
  await rescan(engine);
}

/** Takes over what can change while running: the log level. */
async function reloadConfig({ args, paths, log }: Ground): Promise<void> {
  try {
    const config = await loadConfig(args.configFile ?? paths.configFile);
    log.level = args.logLevel ?? config.daemon.log_level;
    log.info({ level: log.level }, 'configuration read again; all but the log level needs a restart');
  } catch (error) {
    log.error({ reason: reasonOf(error) }, 'the configuration is wrong; the old one stays');
  }
}

/** Tells the administrator's scripts what the daemon itself does. */
function tellHook(
  { hooks }: Ground,
  what: { readonly operation: string; readonly subOperation: string; readonly extra: string },
): Promise<void> {
  return hooks.tell({ kind: 'daemon', object: '-', ...what });
}
