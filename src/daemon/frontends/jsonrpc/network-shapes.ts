/** Networks as this API shows them: summaries, details, leases and forwards made of the service's objects. */
import type { Result } from '../../../api/index.ts';
import { familyOf, prefixOf } from '../../../model/network/addresses.ts';
import type { NetworkDef } from '../../../model/network/network.ts';
import type { Lease } from '../../../net/plan.ts';
import type { Network } from '../../services/network.ts';
import { leaseInfoOf } from '../../services/network-lease-watch.ts';
import type { ResolvedForward } from '../../services/network-plans.ts';
import type { NetworkService } from '../../services/network-service.ts';
import { type NetworkPort, shownFacts } from '../../services/network-world.ts';

export type NetworkSummary = Result<'network.list'>['networks'][number];

export function networkSummaryOf(networks: NetworkService, network: Network): NetworkSummary {
  return { ...headOf(network), ports: networks.ports(network).length };
}

function headOf(network: Network): Omit<NetworkSummary, 'ports'> {
  const { title, mode, bridge, subnets } = shownFacts(network);
  const job = network.jobs.current;
  return {
    ...network.identity,
    active: network.isActive,
    persistent: network.isPersistent,
    autostart: network.autostart,
    title: title ?? null,
    mode,
    bridge: bridge ?? null,
    subnets: [...subnets],
    job: job === undefined ? null : { name: job.name, startedAt: new Date(job.startedAtMs).toISOString() },
  };
}

export async function networkDetailsOf(
  networks: NetworkService,
  network: Network,
): Promise<Result<'network.get'>> {
  const definition = networks.definitions.definition(network);
  const { live } = network;
  return {
    ...headOf(network),
    description: definition.description ?? null,
    mac: definition.mac ?? null,
    mtu: definition.mtu ?? null,
    domainName: definition.domain?.name ?? null,
    startedAt: live === undefined ? null : new Date(live.startedAtMs).toISOString(),
    addresses: definition.ips.flatMap((ip) => addressOf(ip)),
    ports: networks.ports(network).map(({ domain, mac, device }) => ({ domain, mac, device })),
    portForwards: (await networks.forwards.list(network)).map((one) => networkForwardOf(network, one)),
  };
}

function addressOf(ip: NetworkDef['ips'][number]): Result<'network.get'>['addresses'] {
  const { address, dhcp } = ip;
  if (address === undefined) return [];
  return [
    {
      address,
      prefix: prefixOf(ip) ?? 0,
      family: `ipv${familyOf(address)}`,
      dhcpRanges: (dhcp?.ranges ?? []).map(({ start, end }) => ({ start, end })),
      reservations: dhcp?.hosts.length ?? 0,
    },
  ];
}

export function networkForwardOf(
  network: Network,
  { forward, address, trouble }: ResolvedForward,
): Result<'network.port-forward.add'> {
  return {
    protocol: forward.protocol,
    hostAddress: forward.hostAddress ?? null,
    hostPort: forward.hostPort,
    guest: forward.guest ?? null,
    guestAddress: address ?? null,
    guestPort: forward.guestPort,
    count: forward.count ?? 1,
    active: network.isActive && address !== undefined,
    trouble: trouble ?? null,
  };
}

export function leaseOf(
  lease: Lease,
  ports: readonly NetworkPort[],
): Result<'network.leases'>['leases'][number] {
  return leaseInfoOf(lease, ports.find((port) => port.mac === lease.mac)?.domain.name);
}
