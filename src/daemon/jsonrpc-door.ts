/** Opens the front door for our own clients: JSON-RPC over a unix socket. */
import { isVirtError } from '../base/errors.ts';
import { listenFds } from '../base/sd-notify.ts';
import { readMemoryEncryption } from '../drivers/qemu/memory-encryption.ts';
import type { DaemonEngine } from './engine.ts';
import { buildHandlers } from './frontends/jsonrpc/bind.ts';
import type { DaemonSource } from './frontends/jsonrpc/bind-daemon.ts';
import type { HostSource } from './frontends/jsonrpc/bind-host.ts';
import type { ReportSource } from './frontends/jsonrpc/bind-report.ts';
import type { ListenTarget } from './frontends/jsonrpc/listen.ts';
import type { CallRecord } from './frontends/jsonrpc/record-calls.ts';
import { type JsonRpcServer, serveJsonRpc } from './frontends/jsonrpc/server.ts';
import type { Ground } from './ground.ts';
import { capabilitySources, guestUids } from './hypervisor.ts';
import { reportOn } from './recorder/guest-report.ts';
import { listHostDevices } from './services/host-device-list.ts';
import { hostInterfaces } from './services/host-interfaces.ts';
import { type SocketRights, socketRights } from './socket-rights.ts';
import { version } from './version.ts';

/** @throws VirtError file.* when the socket cannot be had */
export function openJsonRpcDoor(parts: {
  readonly ground: Ground;
  readonly engine: DaemonEngine;
  readonly daemon: DaemonSource;
  readonly onClientsChange: () => void;
}): Promise<JsonRpcServer> {
  const { ground, engine, daemon, onClientsChange } = parts;
  const { paths, config, events, jobs, log } = ground;
  const { networking, sessionLinks } = engine;
  const host = hostSource(ground, engine);
  return serveJsonRpc({
    listen: listenTarget(paths.socket, socketRights(paths, config)),
    mode: paths.mode,
    handlers: buildHandlers({
      domains: engine.domains,
      networks: networking?.service,
      nwfilters: networking?.nwfilters,
      secrets: engine.secrets,
      saslUsers: engine.saslUsers,
      nodeDevices: engine.nodeDevices,
      undo: engine.undo,
      history: { history: engine.history, isOn: config.statistics.history },
      ...(sessionLinks && { waysOut: () => sessionLinks.waysOut() }),
      storage: engine.storage.service,
      ...engine.images,
      jobs,
      driver: engine.driver,
      log,
      host,
      record: callRecord(engine),
      reports: reportSource(engine, host),
      daemon,
    }),
    events: (listener) => events.subscribe(listener),
    log,
    onClientsChange,
  });
}

/** Notes calls for the flight recorder. */
function callRecord({ recorder, domains }: DaemonEngine): CallRecord {
  return {
    note: (uuid, kind, text, facts) => recorder.note(uuid, kind, text, facts),
    find: (ref) => {
      try {
        return (typeof ref === 'string' ? domains.findByText(ref) : domains.find(ref)).uuid;
      } catch (error) {
        if (isVirtError(error)) return undefined; // the call itself says so
        throw error;
      }
    },
  };
}

function reportSource(engine: DaemonEngine, host: HostSource): ReportSource {
  const { recorder, domains, networking, driver } = engine;
  const parts = { recorder, domains, networks: networking?.service, driver, version };
  return {
    read: (uuid, limit) => recorder.read(uuid, limit),
    report: (domain, signal) =>
      reportOn(domain, { ...parts, check: (stop) => host.check({ signal: stop }) }, signal),
  };
}

/** A socket that systemd listens on for us, else our own. */
function listenTarget(path: string, rights: SocketRights): ListenTarget {
  const inherited = listenFds()[0];
  return inherited ? { fd: inherited.fd } : { path, ...rights };
}

function hostSource({ paths, config, log }: Ground, engine: DaemonEngine): HostSource {
  const { host, emulators, domains, networking, hostDevices, adoption } = engine;
  return {
    facts: () => host.facts(),
    memory: () => host.memory(),
    kvm: () => host.kvmReport(),
    interfaces: () => hostInterfaces(domains, networking?.service),
    devices: () => listHostDevices(hostDevices),
    sev: () => readMemoryEncryption(capabilitySources({ host, emulators, log })),
    statistics: host,
    check: async ({ signal }) =>
      host.check({
        guestUids: guestUids(paths, config),
        networks: networking?.checked() ?? [],
        adoption: await adoption.pending(),
        signal,
      }),
  };
}
