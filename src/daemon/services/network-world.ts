/** What the network services share: registry, host, stores, events, and how a definition becomes facts and text. */
import { VirtError } from '../../base/errors.ts';
import { formatSubnet, parseSubnet, type Subnet } from '../../base/ip.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import type { JobQueue } from '../../base/jobs.ts';
import type { Logger } from '../../base/log.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import { subnetsOf } from '../../model/network/addresses.ts';
import {
  type CompleteNetworkDef,
  formatNetwork,
  forwardModeOf,
  type NetworkDef,
  parseNetwork,
} from '../../model/network/network.ts';
import type { HostNetworkFacts, NetworkHost } from '../../net/plan.ts';
import type { Hooks } from '../hooks/hooks.ts';
import type { DefinitionStore } from '../state/definitions.ts';
import type { NetworkStatusStore } from '../state/network-status.ts';
import type { EventBus } from './events.ts';
import type { Jobs } from './jobs.ts';
import type { Network, NetworkFacts, NetworkRegistry } from './network.ts';

/** An interface of a running guest that is on a network. */
export interface NetworkPort {
  readonly network: string;
  readonly domain: { readonly uuid: string; readonly name: string };
  readonly mac: string;
  /** The tap or macvtap on the host. */
  readonly device: string;
  /** The interface as it runs. */
  readonly definition: Interface;
}

/** What the network side asks of the domain side. */
export interface GuestDirectory {
  /** All interfaces of running guests on virtual networks. */
  ports(): readonly NetworkPort[];
  /** MAC addresses that the domain of that name has on the network, running or not. */
  macsOf(domain: string, network: string): readonly string[];
}

export interface NetworkWorld {
  readonly registry: NetworkRegistry;
  readonly definitions: DefinitionStore;
  readonly status: NetworkStatusStore;
  readonly host: NetworkHost;
  readonly guests: GuestDirectory;
  readonly events: EventBus;
  /** What goes on, for clients to see. */
  readonly jobs: Jobs;
  /** The administrator's scripts; none when left out. */
  readonly hooks?: Hooks;
  readonly log: Logger;
  /** How long a call waits for another job on the same network. */
  readonly jobWaitMs: number;
  /** The administrator lets definitions bring lines for dnsmasq's configuration. */
  readonly allowDnsmasqOptions: boolean;
  /** One definition at a time is checked against the others and taken in, so that two can't get the same bridge. */
  readonly defining: JobQueue;
}

export function factsOf(definition: NetworkDef): NetworkFacts {
  const bridge = definition.bridge?.name;
  return {
    ...(definition.title !== undefined && { title: definition.title }),
    mode: forwardModeOf(definition),
    ...(bridge !== undefined && { bridge }),
    subnets: subnetsOf(definition).map((subnet) => formatSubnet(subnet)),
  };
}

/** Facts for lists: those of the running side where there is one. */
export function shownFacts(network: Network): NetworkFacts {
  if (network.live) return factsOf(network.live.definition);
  return network.facts ?? { mode: 'unknown', subnets: [] };
}

export function storedXml(definition: NetworkDef): string {
  return formatNetwork(definition, { inactive: true, secure: true });
}

/** Reads text that we wrote ourselves, or that was checked when it came in. */
export function parseTrusted(xml: string): CompleteNetworkDef {
  const { definition } = parseNetwork(xml, { mode: 'lenient' });
  const { uuid } = definition;
  if (uuid === undefined) throw new Error(`the stored network '${definition.name}' has no uuid`);
  return { ...definition, uuid };
}

/** The stored definition. @throws VirtError network.transient */
export function storedDefinition(network: Network, verb: string): CompleteNetworkDef {
  if (network.xml === undefined) throw transient(network, verb);
  return parseTrusted(network.xml);
}

export function transient(network: Network, verb: string): VirtError {
  return new VirtError('network.transient', {
    wanted: `${verb} network '${network.name}'`,
    reason: 'the network is transient: it has no stored definition',
    hint: `store one with 'vireo network xml ${network.name} > FILE' and 'vireo network define FILE'`,
  });
}

/** Runs a named job on a network; start, progress and end are told as events. */
export function runNetworkJob<T>(
  world: NetworkWorld,
  network: Network,
  name: string,
  work: (job: RunningJob) => Promise<T>,
): Promise<T> {
  return network.jobs.run(
    name,
    () => {
      // The job before this one may have taken it away.
      if (world.registry.withUuid(network.uuid) !== network)
        throw new VirtError('network.not-found', {
          wanted: `${name} network '${network.name}'`,
          reason: 'the network is gone',
        });
      return world.jobs.run({ kind: name, object: { type: 'network', ...network.identity } }, work);
    },
    { waitMs: world.jobWaitMs },
  );
}

/** Subnets that routes and addresses of the host take, but for those on the links left out. */
export function hostSubnets(
  facts: HostNetworkFacts,
  leftOut: ReadonlySet<string> = new Set(),
): { readonly subnet: Subnet; readonly link: string }[] {
  const entries = [
    ...facts.addresses.map((entry) => ({ ...entry, text: entry.address, link: entry.link })),
    ...facts.routes.map((entry) => ({ ...entry, text: entry.destination, link: entry.link ?? '' })),
  ];
  return entries.flatMap(({ text, prefix, link }) => {
    const subnet = parseSubnet(`${text}/${prefix}`);
    // The default route covers all and takes nothing; link-local and multicast are everywhere.
    const isCommon = prefix === 0 || /^(fe80|ff)/i.test(text);
    return subnet === undefined || isCommon || leftOut.has(link) ? [] : [{ subnet, link }];
  });
}

/** Writes the status of an active network as it is now. */
export async function saveNetworkStatus(
  world: NetworkWorld,
  network: Network,
  phase: 'starting' | 'active',
  definition: CompleteNetworkDef,
): Promise<void> {
  await world.status.save({
    format: 1,
    uuid: network.uuid,
    name: network.name,
    phase,
    persistent: network.isPersistent,
    startedAtMs: network.live?.startedAtMs ?? Date.now(),
    xml: storedXml(definition),
  });
}
