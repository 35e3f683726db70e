/** The third stage of a daemon: its front doors, and how many have come in. */
import type { LogLevel } from '../base/log-levels.ts';
import { QemuCpuModels } from '../drivers/qemu/cpu-models.ts';
import type { EarlyDoor } from './early-door.ts';
import type { DaemonEngine } from './engine.ts';
import type { DaemonSource } from './frontends/jsonrpc/bind-daemon.ts';
import type { JsonRpcServer } from './frontends/jsonrpc/server.ts';
import type { Engine } from './frontends/libvirt/context.ts';
import type { LibvirtServer } from './frontends/libvirt/server.ts';
import type { TcpDoor } from './frontends/libvirt/tcp.ts';
import type { TlsDoor } from './frontends/libvirt/tls.ts';
import type { Ground } from './ground.ts';
import { capabilitySources, emulatorVersion, probeOptions } from './hypervisor.ts';
import { openJsonRpcDoor } from './jsonrpc-door.ts';
import { openLibvirtDoor, openTcpDoor, openTlsDoor } from './libvirt-door.ts';
import type { DaemonPaths } from './paths.ts';
import { hostInterfaces } from './services/host-interfaces.ts';
import { socketRights } from './socket-rights.ts';
import { version } from './version.ts';

/** All front doors of a daemon. */
export class Doors {
  private readonly ground: Ground;
  private readonly engine: DaemonEngine;
  private readonly early: EarlyDoor | undefined;
  private jsonRpc: JsonRpcServer | undefined;
  private libvirt: LibvirtServer | undefined;
  private tls: TlsDoor | undefined;
  private tcp: TcpDoor | undefined;

  /** @param early where libvirt's clients wait already */
  constructor(ground: Ground, engine: DaemonEngine, early?: EarlyDoor) {
    this.ground = ground;
    this.engine = engine;
    this.early = early;
  }

  get clientCount(): number {
    return (this.jsonRpc?.clientCount ?? 0) + (this.libvirt?.clientCount ?? 0);
  }

  /** URLs by front end. */
  get sockets(): Record<string, string> {
    return {
      jsonrpc: `unix://${this.ground.paths.socket}`,
      ...(this.libvirt && { libvirt: `unix://${this.libvirt.socketPath}` }),
      ...(this.tls && { tls: this.tls.urls.join(',') }),
      ...(this.tcp && { tcp: this.tcp.urls.join(',') }),
    };
  }

  /** Lets clients in. `onClientsChange` hears when one came or went. @throws VirtError file.*, config.invalid */
  async open(onClientsChange: () => void): Promise<void> {
    const { ground, engine } = this;
    const { paths, config, events, log } = ground;
    this.jsonRpc = await openJsonRpcDoor({ ground, engine, daemon: this.daemonSource(), onClientsChange });
    this.libvirt = await openLibvirtDoor({
      paths,
      config,
      rights: socketRights(paths, config),
      engine: libvirtEngine(ground, engine),
      events,
      early: this.early,
      onClientsChange,
    });
    // Nobody took it: clients of libvirt are not served, or elsewhere.
    this.early?.abandon();
    this.tls = await openTlsDoor(config, this.libvirt, { users: engine.saslUsers, log });
    this.tcp = await openTcpDoor(config, this.libvirt, log);
  }

  async close(): Promise<void> {
    await this.tls?.close();
    await this.tcp?.close();
    await Promise.all([this.jsonRpc?.close(), this.libvirt?.close()]);
  }

  /** What the daemon tells of itself. */
  private daemonSource(): DaemonSource {
    const { paths, startedAtMs, log } = this.ground;
    return {
      version,
      mode: paths.mode,
      startedAtMs,
      hostName: this.engine.facts.hostname,
      paths: visiblePaths(paths),
      sockets: () => [
        { frontend: 'jsonrpc', path: paths.socket },
        ...(this.libvirt === undefined ? [] : [{ frontend: 'libvirt', path: this.libvirt.socketPath }]),
      ],
      clients: () => ({
        clients: this.clientCount,
        subscriptions: (this.jsonRpc?.subscriptionCount ?? 0) + (this.libvirt?.subscriptionCount ?? 0),
      }),
      logLevel: () => log.level as LogLevel,
      setLogLevel: (level) => {
        log.level = level;
      },
      adoptLibvirt: (request) => this.engine.adoption.adopt(request),
    };
  }
}

/** The directories that `daemon.info` tells. */
function visiblePaths(paths: DaemonPaths): Record<string, string> {
  const { runtime, config, data, logs, cache, definitions, quarantine, images } = paths;
  return { runtime, config, data, logs, cache, definitions, quarantine, images };
}

/** The engine as libvirt's clients need it. */
function libvirtEngine({ paths, config, log }: Ground, engine: DaemonEngine): Engine {
  const { host, emulators, domains, networking, facts } = engine;
  return {
    mode: paths.mode,
    domains,
    networks: networking?.service,
    nwfilters: networking?.nwfilters,
    storage: engine.storage.service,
    nodeDevices: engine.nodeDevices,
    secrets: engine.secrets,
    passedFiles: engine.passedFiles,
    interfaces: () => hostInterfaces(domains, networking?.service),
    host,
    driver: engine.driver,
    cpus: new QemuCpuModels(capabilitySources({ host, emulators, log }), probeOptions(paths, config)),
    emulatorVersion: () => emulatorVersion(emulators, facts.arch),
    hostName: facts.hostname,
    recorder: engine.recorder,
    log,
  };
}
