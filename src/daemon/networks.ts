/** Puts the network side together: the host's adapters, the service on top of them, and taps for guests. */
import { join } from 'node:path';
import type { Logger } from '../base/log.ts';
import type { LinkProvider } from '../drivers/driver.ts';
import { createNetworkHost } from '../net/host.ts';
import type { DaemonConfig } from './config.ts';
import type { DaemonPaths } from './paths.ts';
import type { DomainService } from './services/domain-service.ts';
import type { EventBus } from './services/events.ts';
import { GuestLinks } from './services/guest-links.ts';
import { guestDirectory } from './services/network-guests.ts';
import { NetworkService } from './services/network-service.ts';
import { DefinitionStore } from './state/definitions.ts';
import { NetworkStatusStore } from './state/network-status.ts';

/** Networks as the daemon runs them. */
export interface Networking {
  readonly service: NetworkService;
  readonly links: LinkProvider;
  /** Reads what is stored and active, and defines `default` at the first start: before anybody can ask. */
  open(): Promise<void>;
  /** Brings the host in order after a restart, and starts what is to be started. Failures are logged. */
  bringUp(): Promise<void>;
}

/** Undefined in a session, where networks need rights that nobody has. */
export function buildNetworking(parts: {
  readonly paths: DaemonPaths;
  readonly config: DaemonConfig;
  readonly log: Logger;
  readonly events: EventBus;
  readonly domains: () => DomainService;
}): Networking | undefined {
  const { paths, config, log, events, domains } = parts;
  if (paths.mode === 'session') return undefined;
  const host = createNetworkHost({
    dnsmasqDirectory: paths.dnsmasq,
    runtimeDirectory: paths.runtime,
    firewall: config.network.firewall_backend,
    ...(config.network.dnsmasq_user !== undefined && { dnsmasqUser: config.network.dnsmasq_user }),
    log,
  });
  const service = new NetworkService({
    definitions: new DefinitionStore({
      directory: paths.networks,
      quarantine: paths.networkQuarantine,
      noun: 'network',
      log,
    }),
    status: new NetworkStatusStore({ directory: paths.networkStatus, log }),
    host,
    guests: guestDirectory(domains),
    events,
    log,
    jobWaitMs: config.daemon.job_wait_seconds * 1000,
    allowDnsmasqOptions: config.network.allow_dnsmasq_options,
  });
  return {
    service,
    links: new GuestLinks(service, host),
    async open() {
      service.open();
      if (!config.network.define_default || process.getuid?.() !== 0) return;
      try {
        await service.creation.defineDefault(paths.defaultNetworkMarker);
      } catch (error) {
        log.error({ err: error }, "the network 'default' could not be defined");
      }
    },
    bringUp: () => service.bringUp(join(paths.runtime, 'networks-autostarted')),
  };
}
