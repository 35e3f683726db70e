/** Wires all parts into one running daemon: the only place that knows every one of them. */
import { join } from 'node:path';
import { reasonOf, VirtError } from '../base/errors.ts';
import { MAX_UNIX_PATH } from '../base/ffi.ts';
import { ensureDirectory } from '../base/files.ts';
import { createLogger, type Logger, type LogLevel, prettyStream } from '../base/log.ts';
import { listenFds } from '../base/sd-notify.ts';
import { listenForUevents } from '../base/uevents.ts';
import { HostDevices } from '../drivers/host-devices/host-devices.ts';
import { QemuCpuModels } from '../drivers/qemu/cpu-models.ts';
import { hostFiles } from '../kvm/host-files.ts';
import { LinuxLinks } from '../net/links/link-host.ts';
import { listNeighbours } from '../net/links/neighbours.ts';
import type { DaemonArguments } from './arguments.ts';
import { type DaemonConfig, loadConfig } from './config.ts';
import { buildAdoption, takeLibvirtsPlace } from './drop-in.ts';
import { buildHandlers } from './frontends/jsonrpc/bind.ts';
import type { ListenTarget } from './frontends/jsonrpc/listen.ts';
import { type JsonRpcServer, serveJsonRpc } from './frontends/jsonrpc/server.ts';
import type { LibvirtServer } from './frontends/libvirt/server.ts';
import { HookRunner } from './hooks/hooks.ts';
import {
  buildDriver,
  capabilitySources,
  emulatorSource,
  emulatorVersion,
  guestGroups,
  guestUids,
  kvmProblem,
  probeOptions,
} from './hypervisor.ts';
import { IdleExit } from './idle-exit.ts';
import { buildImages } from './images.ts';
import { openLibvirtDoor, openTlsDoor } from './libvirt-door.ts';
import { takeLock } from './lock.ts';
import { buildNetworking, type Networking } from './networks.ts';
import { type DaemonPaths, daemonPaths } from './paths.ts';
import { diskVolumes } from './services/disk-volumes.ts';
import { DomainService } from './services/domain-service.ts';
import { EventBus } from './services/events.ts';
import { listHostDevices } from './services/host-device-list.ts';
import { hostInterfaces } from './services/host-interfaces.ts';
import { HostService, stateDirectories } from './services/host-service.ts';
import { createJobs } from './services/jobs.ts';
import { NodeDeviceService } from './services/node-device-service.ts';
import { SecretService } from './services/secret-service.ts';
import { SessionLinks } from './services/session-links.ts';
import { DefinitionStore } from './state/definitions.ts';
import { RuntimeStore } from './state/runtime.ts';
import { SecretValues } from './state/secret-values.ts';
import { buildStorage, type Storage } from './storage.ts';
import { MemoryTidier } from './tidy-memory.ts';
import { socketGroup } from './users.ts';
import { version } from './version.ts';

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
export async function startDaemon(args: DaemonArguments, onIdle: () => void): Promise<RunningDaemon> {
  const startedAtMs = Date.now();
  // Files and directories of ours are private unless a call says otherwise (SECURITY I4).
  process.umask(0o077);
  const paths = daemonPaths(args);
  checkSocketPath(paths);
  const config = await loadConfig(args.configFile ?? paths.configFile);
  const log = await daemonLogger(args, config);
  await openSharedDirectories(paths);
  for (const directory of stateDirectories(paths)) await ensureDirectory(directory.path, directory.mode);
  await ensureDirectory(paths.guests, paths.mode === 'system' ? 0o711 : 0o700);
  takeLock(paths.lock);

  const events = new EventBus(log);
  const jobs = createJobs(events);
  const host = new HostService({ paths, config });
  const hooks = new HookRunner({
    directory: hooksDirectory(paths, config),
    timeoutMs: config.hooks.timeout_seconds * 1000,
    log,
  });
  await hooks.tell({ kind: 'daemon', object: '-', operation: 'start', subOperation: '-', extra: 'start' });
  const networking = buildNetworking({ paths, config, log, events, jobs, hooks, domains: () => domains });
  const sessionLinks = networking === undefined ? new SessionLinks({ links: new LinuxLinks() }) : undefined;
  const links = networking?.links ?? sessionLinks;
  const secrets = new SecretService({
    definitions: new DefinitionStore({
      directory: paths.secrets,
      quarantine: paths.secretQuarantine,
      noun: 'secret',
      log,
    }),
    values: new SecretValues({ directory: paths.secretValues }),
    events,
    log,
    jobWaitMs: config.daemon.job_wait_seconds * 1000,
  });
  const hostDevices = new HostDevices({ directory: paths.hostDevices, log });
  const storage = buildStorage({ paths, config, log, events, jobs, domains: () => domains });
  const emulators = emulatorSource(paths, config, log);
  const driver = await buildDriver({
    paths,
    config,
    log,
    host,
    links,
    hostDevices,
    emulators,
    secrets,
    volumes: storage.volumes,
  });
  const facts = await host.facts();
  const nodeDevices = new NodeDeviceService({
    host: { files: hostFiles(), hostName: facts.hostname, hostUuid: facts.uuid.value },
    devices: hostDevices,
    mode: paths.mode,
    events,
    log,
    uevents: listenForUevents,
  });
  const domains: DomainService = new DomainService({
    mode: paths.mode,
    driver,
    definitions: new DefinitionStore({ directory: paths.definitions, quarantine: paths.quarantine, log }),
    runtime: new RuntimeStore({ directory: paths.status, log }),
    events,
    jobs,
    hooks,
    log,
    ...(paths.mode === 'system' && { groups: guestGroups }),
    jobWaitMs: config.daemon.job_wait_seconds * 1000,
    stopGraceMs: config.qemu.stop_grace_seconds * 1000,
    links: new LinuxLinks(),
    addresses: {
      leases: async (network) => (await networking?.service.datedLeases(network)) ?? [],
      neighbours: listNeighbours,
    },
    host: {
      arch: facts.arch,
      logDirectory: paths.guestLogs,
      volumes: diskVolumes(storage.service),
      kvmProblem: () => kvmProblem(host),
    },
  });
  await secrets.open();
  const images = buildImages({ paths, config, log, storage: storage.service, domains, hostArch: facts.arch });
  await networking?.open();
  await domains.open();
  await hostDevices.releaseOthers(domains.runningUuids());
  await networking?.sweepLinks(domains.runningUuids());
  storage.service.open();

  const adoption = buildAdoption(paths, {
    domains,
    networks: networking?.service,
    storage: storage.service,
    secrets,
    nwfilters: networking?.nwfilters,
    log,
  });

  let libvirt: LibvirtServer | undefined;
  const clientCount = () => server.clientCount + (libvirt?.clientCount ?? 0);
  const idle = new IdleExit({
    delayMs: idleDelayMs(args, config, paths),
    isBusy: () => clientCount() > 0 || domains.counts.active > 0 || jobs.list().length > 0,
    onIdle,
  });
  const tidier = new MemoryTidier(() => clientCount() > 0);
  const onClientsChange = () => {
    idle.look();
    tidier.look();
  };
  const server: JsonRpcServer = await serveJsonRpc({
    listen: listenTarget(paths, config),
    mode: paths.mode,
    handlers: buildHandlers({
      domains,
      networks: networking?.service,
      nwfilters: networking?.nwfilters,
      secrets,
      nodeDevices,
      ...(sessionLinks && { waysOut: () => sessionLinks.waysOut() }),
      storage: storage.service,
      ...images,
      jobs,
      driver,
      log,
      host: {
        facts: () => host.facts(),
        memory: () => host.memory(),
        kvm: () => host.kvmReport(),
        interfaces: () => hostInterfaces(domains, networking?.service),
        devices: () => listHostDevices(hostDevices),
        statistics: host,
        check: async ({ signal }) =>
          host.check({
            guestUids: guestUids(paths, config),
            networks: networking?.checked() ?? [],
            adoption: await adoption.pending(),
            signal,
          }),
      },
      daemon: {
        version,
        mode: paths.mode,
        startedAtMs,
        hostName: facts.hostname,
        paths: visiblePaths(paths),
        sockets: () => [
          { frontend: 'jsonrpc', path: paths.socket },
          ...(libvirt === undefined ? [] : [{ frontend: 'libvirt', path: libvirt.socketPath }]),
        ],
        clients: () => ({
          clients: clientCount(),
          subscriptions: server.subscriptionCount + (libvirt?.subscriptionCount ?? 0),
        }),
        logLevel: () => log.level as LogLevel,
        setLogLevel: (level) => {
          log.level = level;
        },
        adoptLibvirt: (request) => adoption.adopt(request),
      },
    }),
    events: (listener) => events.subscribe(listener),
    log,
    onClientsChange,
  });
  libvirt = await openLibvirtDoor({
    paths,
    config,
    rights: socketRights(paths, config),
    engine: {
      mode: paths.mode,
      domains,
      networks: networking?.service,
      nwfilters: networking?.nwfilters,
      storage: storage.service,
      nodeDevices,
      secrets,
      interfaces: () => hostInterfaces(domains, networking?.service),
      host,
      driver,
      cpus: new QemuCpuModels(capabilitySources({ host, emulators, log }), probeOptions(paths, config)),
      emulatorVersion: () => emulatorVersion(emulators, facts.arch),
      hostName: facts.hostname,
      log,
    },
    events,
    onClientsChange,
  });
  const tls = await openTlsDoor(config, libvirt, log);
  if (config.libvirt.drop_in) await takeLibvirtsPlace({ paths, domains, events, adoption, log });
  events.subscribe(
    (event) => (event.event === 'domain.stopped' || event.event === 'job.ended') && idle.look(),
  );
  idle.look();
  tidier.look();
  nodeDevices.start();
  bringUp(networking, storage, domains, paths).catch((error: unknown) =>
    log.error({ err: error }, 'autostart failed'),
  );
  log.info({ version, mode: paths.mode, root: paths.root, domains: domains.counts }, 'serving');
  return {
    sockets: {
      jsonrpc: `unix://${paths.socket}`,
      ...(libvirt && { libvirt: `unix://${libvirt.socketPath}` }),
      ...(tls && { tls: tls.urls.join(',') }),
    },
    log,
    reload: async () => {
      await hooks.tell({
        kind: 'daemon',
        object: '-',
        operation: 'reload',
        subOperation: 'begin',
        extra: 'SIGHUP',
      });
      await reload(args, paths, log);
      await domains.files.rescan();
      await networking?.service.rescan();
      await networking?.nwfilters.rescan();
      await secrets.rescan();
      await storage.service.rescan();
    },
    stop: async () => {
      idle.stop();
      tidier.stop();
      nodeDevices.stop();
      await tls?.close();
      await Promise.all([server.close(), libvirt?.close()]);
      domains.detach();
      networking?.detach();
      storage.service.detach();
      await hooks.tell({
        kind: 'daemon',
        object: '-',
        operation: 'shutdown',
        subOperation: '-',
        extra: 'shutdown',
      });
      log.info('stopped; guests were left as they are');
    },
  };
}

/** What others must enter below a root of our own, as they can below /: dnsmasq runs unprivileged, clients connect. */
async function openSharedDirectories({ root }: DaemonPaths): Promise<void> {
  if (root === undefined) return;
  for (const path of ['run', 'var', 'var/lib']) await ensureDirectory(join(root, path), 0o755);
}

/** Networks and storage first: guests that are started then find them. */
async function bringUp(
  networking: Networking | undefined,
  storage: Storage,
  domains: DomainService,
  paths: DaemonPaths,
): Promise<void> {
  await Promise.all([networking?.bringUp(), storage.bringUp()]);
  await domains.recovery.autostart(join(paths.runtime, 'autostarted'));
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

function listenTarget(paths: DaemonPaths, config: DaemonConfig): ListenTarget {
  const inherited = listenFds()[0];
  if (inherited) return { fd: inherited.fd };
  return { path: paths.socket, ...socketRights(paths, config) };
}

/** Who may connect: in system mode the group, in a session the user. */
function socketRights(paths: DaemonPaths, config: DaemonConfig): { mode: number; gid?: number } {
  if (paths.mode === 'session') return { mode: 0o600 };
  const gid = socketGroup(config.daemon.socket_group);
  // Without such a group only root may connect.
  return gid === undefined ? { mode: 0o600 } : { mode: 0o660, gid };
}

/** Where the administrator's scripts are; undefined where there are to be none. */
function hooksDirectory(paths: DaemonPaths, config: DaemonConfig): string | undefined {
  const configured = config.hooks.directory;
  return configured === '' ? undefined : (configured ?? paths.hooks);
}

function idleDelayMs(args: DaemonArguments, config: DaemonConfig, paths: DaemonPaths): number | undefined {
  if (args.idleExitSeconds === null) return undefined;
  if (args.idleExitSeconds !== undefined) return args.idleExitSeconds * 1000;
  return paths.mode === 'session' ? config.daemon.idle_exit_seconds * 1000 : undefined;
}

/** The directories that `daemon.info` tells. */
function visiblePaths(paths: DaemonPaths): Record<string, string> {
  const { runtime, config, data, logs, cache, definitions, quarantine, images } = paths;
  return { runtime, config, data, logs, cache, definitions, quarantine, images };
}

/** Takes over what can change while running: the log level. */
async function reload(args: DaemonArguments, paths: DaemonPaths, log: Logger): Promise<void> {
  try {
    const config = await loadConfig(args.configFile ?? paths.configFile);
    log.level = args.logLevel ?? config.daemon.log_level;
    log.info({ level: log.level }, 'configuration read again; all but the log level needs a restart');
  } catch (error) {
    log.error({ reason: reasonOf(error) }, 'the configuration is wrong; the old one stays');
  }
}
