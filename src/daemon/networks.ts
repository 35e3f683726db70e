/** Puts the network side together: the host's adapters, the service on top of them, and taps for guests. */
import { join } from 'node:path';
import type { Logger } from '../base/log.ts';
import type { LinkProvider } from '../drivers/driver.ts';
import { hasOwnBridge } from '../model/network/network.ts';
import { needsDnsmasq } from '../net/dnsmasq/config.ts';
import { dnsmasqFiles } from '../net/dnsmasq/files.ts';
import { TapFilters } from '../net/filter/tap-filters.ts';
import { createNetworkHost, networkRuntime } from '../net/host.ts';
import { linkByName, listLinks } from '../net/links/rtnetlink.ts';
import type { NetworkHost } from '../net/plan.ts';
import { planOf } from '../net/plan-from-definition.ts';
import { resolverCommands } from '../net/resolved.ts';
import type { DaemonConfig } from './config.ts';
import type { Hooks } from './hooks/hooks.ts';
import type { CheckedNetwork } from './host-check/networks.ts';
import type { DaemonPaths } from './paths.ts';
import type { DomainService } from './services/domain-service.ts';
import type { EventBus } from './services/events.ts';
import { GuestFilters } from './services/guest-filters.ts';
import { GuestLinks } from './services/guest-links.ts';
import type { Jobs } from './services/jobs.ts';
import type { Network } from './services/network.ts';
import { filteredCards, guestDirectory } from './services/network-guests.ts';
import { NetworkService } from './services/network-service.ts';
import { NwFilterService } from './services/nwfilter-service.ts';
import { DefinitionStore } from './state/definitions.ts';
import { NetworkStatusStore } from './state/network-status.ts';

/** Networks as the daemon runs them. */
export interface Networking {
  readonly service: NetworkService;
  readonly links: LinkProvider;
  readonly nwfilters: NwFilterService;
  /** Reads what is stored and active, and defines `default` at the first start: before anybody can ask. */
  open(): Promise<void>;
  /** Brings the host in order after a restart, and starts what is to be started. Failures are logged. */
  bringUp(): Promise<void>;
  /** Deletes links of guests that ended while no daemon looked; told the uuids of those that run. Failures are logged. */
  sweepLinks(running: ReadonlySet<string>): Promise<void>;
  /** The active networks, for checks of the host. */
  checked(): CheckedNetwork[];
  /** Lets go of the host without touching it, when the daemon stops. */
  detach(): void;
}

interface NetworkingParts {
  readonly paths: DaemonPaths;
  readonly config: DaemonConfig;
  readonly log: Logger;
  readonly events: EventBus;
  readonly jobs: Jobs;
  readonly hooks: Hooks;
  readonly domains: () => DomainService;
}

/** Undefined in a session, where networks need rights that nobody has. */
export function buildNetworking(parts: NetworkingParts): Networking | undefined {
  const { paths, config, log } = parts;
  if (paths.mode === 'session') return undefined;
  const host = createNetworkHost({
    dnsmasqDirectory: paths.dnsmasq,
    runtimeDirectory: paths.runtime,
    firewall: config.network.firewall_backend,
    ...(config.network.dnsmasq_user !== undefined && { dnsmasqUser: config.network.dnsmasq_user }),
    log,
  });
  const service = buildService(parts, host);
  const guestLinks = new GuestLinks(service, host, paths.runtime, parts.hooks);
  const filters = new TapFilters({ log });
  const { links, nwfilters } = buildFilters(parts, { service, guestLinks, filters });
  host.subscribe((event) => {
    if (event.kind === 'leases') void links.follow(event.network); // It tells its failures itself.
  });
  return {
    service,
    links,
    nwfilters,
    async open() {
      nwfilters.open();
      service.open();
      if (config.network.define_default && process.getuid?.() === 0) await defineDefault(service, paths, log);
    },
    async bringUp() {
      await Promise.all([service.bringUp(join(paths.runtime, 'networks-autostarted')), links.recover()]);
    },
    sweepLinks: (running) => sweepLinks(guestLinks, running, log),
    checked: () => service.list({ active: true }).flatMap((network) => checkedNetwork(network, paths)),
    detach() {
      filters.detach();
      service.detach();
    },
  };
}

function buildService(
  { paths, config, log, events, jobs, hooks, domains }: NetworkingParts,
  host: NetworkHost,
): NetworkService {
  return new NetworkService({
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
    jobs,
    hooks,
    log,
    jobWaitMs: config.daemon.job_wait_seconds * 1000,
    allowDnsmasqOptions: config.network.allow_dnsmasq_options,
  });
}

/** Filters around the links of guests, and the service that stores them: each asks the other. */
function buildFilters(
  { paths, config, log, events, domains }: NetworkingParts,
  parts: {
    readonly service: NetworkService;
    readonly guestLinks: GuestLinks;
    readonly filters: TapFilters;
  },
): { readonly links: GuestFilters; readonly nwfilters: NwFilterService } {
  const links: GuestFilters = new GuestFilters({
    links: parts.guestLinks,
    filters: parts.filters,
    networks: parts.service,
    cards: () => filteredCards(domains()),
    linkByName,
    linkByIndex: (index) => listLinks().find((link) => link.index === index),
    log,
    lookup: (name) => nwfilters.lookup(name),
  });
  const nwfilters: NwFilterService = new NwFilterService({
    definitions: new DefinitionStore({
      directory: paths.nwfilters,
      quarantine: paths.nwfilterQuarantine,
      noun: 'network filter',
      log,
    }),
    guests: links,
    events,
    log,
    jobWaitMs: config.daemon.job_wait_seconds * 1000,
  });
  return { links, nwfilters };
}

async function defineDefault(service: NetworkService, paths: DaemonPaths, log: Logger): Promise<void> {
  try {
    await service.creation.defineDefault(paths.defaultNetworkMarker);
  } catch (error) {
    log.error({ err: error }, "the network 'default' could not be defined");
  }
}

async function sweepLinks(links: GuestLinks, running: ReadonlySet<string>, log: Logger): Promise<void> {
  try {
    const deleted = await links.sweep(running);
    if (deleted.length > 0) log.warn({ devices: deleted }, 'links that guests left behind were deleted');
  } catch (error) {
    log.error({ err: error }, 'links that guests left behind could not be looked for');
  }
}

/** None for a network on a bridge or an interface of others. */
function checkedNetwork({ live }: Network, paths: DaemonPaths): CheckedNetwork[] {
  if (live === undefined || !hasOwnBridge(live.definition)) return [];
  const plan = planOf(live.definition, { portForwards: [], guestNames: [], guests: [] });
  const { name, bridge, forward, subnets, domain } = plan;
  const pidFile = dnsmasqFiles(plan, paths.dnsmasq, networkRuntime(paths.runtime)).pid;
  const [first] = subnets;
  const isRegistered = resolverCommands(plan).length > 0;
  return [
    {
      name,
      bridge: bridge.name,
      mode: forward.mode,
      gateways: subnets.map(({ address }) => address),
      ...(needsDnsmasq(plan) && { pidFile }),
      ...(isRegistered && domain && first && { resolver: { domain: domain.name, server: first.address } }),
    },
  ];
}
