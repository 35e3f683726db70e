/** Networks: lists, lookups, start and stop, leases. In a session there are none, which clients are told by empty lists. */
import { isVirtError, VirtError } from '../../../../base/errors.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { WireNetwork } from '../../../../libvirt/protocol/objects.ts';
import type { Lease } from '../../../../net/plan.ts';
import type { Network } from '../../../services/network.ts';
import type { NetworkService } from '../../../services/network-service.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { atMost, checkFlags, notValid, SETTLE_MS, wireNetworkOf } from './support.ts';

/** virConnectListAllNetworksFlags, in pairs. */
const filterPairs: readonly (readonly [number, number, (network: Network) => boolean])[] = [
  [2, 1, (network) => network.isActive],
  [4, 8, (network) => network.isPersistent],
  [16, 32, (network) => network.autostart],
];
const filterMask = 0x3f;

function fitsFilter(network: Network, flags: number): boolean {
  return filterPairs.every(([yes, no, holds]) => {
    const wanted = flags & (yes | no);
    return wanted === 0 || wanted === (yes | no) || holds(network) === (wanted === yes);
  });
}

/** @throws VirtError network.session: what works there instead */
export function networksOf({ networks }: Engine): NetworkService {
  if (networks !== undefined) return networks;
  throw new VirtError('network.session', {
    reason: 'virtual networks need the system connection (qemu:///system); a session has user networking',
  });
}

/** The network a client means: its uuid decides. @throws LibvirtError no network */
export function networkOf(engine: Engine, { uuid, name }: WireNetwork): Network {
  return find(engine, uuid, `no network with matching uuid '${uuid}' (${name})`);
}

function find(engine: Engine, text: string, reason: string): Network {
  const gone = new LibvirtError(errorNumber.noNetwork, reason, errorDomain.network);
  if (engine.networks === undefined) throw gone;
  try {
    return engine.networks.find(text);
  } catch (error) {
    throw isVirtError(error, 'network.not-found') ? gone : error;
  }
}

export function networkHandlers(engine: Engine) {
  const list = (filter: { readonly active?: boolean } = {}) => engine.networks?.list(filter) ?? [];
  const names = (active: boolean) => list({ active }).map(({ name }) => name);
  return {
    connectListAllNetworks: ({ needResults, flags }, call) => {
      checkFlags(flags, filterMask, call);
      const found = list().filter((network) => fitsFilter(network, flags));
      return { nets: needResults === 0 ? [] : found.map(wireNetworkOf), ret: found.length };
    },
    connectNumOfNetworks: () => ({ num: list({ active: true }).length }),
    connectListNetworks: ({ maxnames }) => ({ names: atMost(names(true), maxnames) }),
    connectNumOfDefinedNetworks: () => ({ num: list({ active: false }).length }),
    connectListDefinedNetworks: ({ maxnames }) => ({ names: atMost(names(false), maxnames) }),
    networkLookupByName: ({ name }) => {
      const found = find(engine, name, `no network with matching name '${name}'`);
      return { net: wireNetworkOf(found) };
    },
    networkLookupByUuid: ({ uuid }) => ({
      net: wireNetworkOf(find(engine, uuid, `no network with matching uuid '${uuid}'`)),
    }),
    networkIsActive: async ({ net }) => {
      await networkOf(engine, net).jobs.idle(SETTLE_MS);
      return { active: networkOf(engine, net).isActive ? 1 : 0 };
    },
    networkIsPersistent: ({ net }) => ({ persistent: networkOf(engine, net).isPersistent ? 1 : 0 }),
    networkCreate: async ({ net }) => {
      await networksOf(engine).lifecycle.start(networkOf(engine, net));
    },
    networkDestroy: ({ net }) => networksOf(engine).lifecycle.stop(networkOf(engine, net)),
    networkGetAutostart: ({ net }) => ({ autostart: networkOf(engine, net).autostart ? 1 : 0 }),
    networkSetAutostart: ({ net, autostart }) =>
      networksOf(engine).definitions.setAutostart(persistent(networkOf(engine, net)), autostart !== 0),
    networkGetBridgeName: ({ net }) => ({ name: bridgeOf(engine, networkOf(engine, net)) }),
    networkGetDhcpLeases: async ({ net, mac, needResults, flags }, call) => {
      checkFlags(flags, 0, call);
      const network = networkOf(engine, net);
      const bridge = bridgeOf(engine, network);
      const leases = (await networksOf(engine).leases(network)).filter(
        (lease) => mac === null || lease.mac === mac.toLowerCase(),
      );
      return {
        leases: needResults === 0 ? [] : leases.map((lease) => leaseOf(lease, bridge)),
        ret: leases.length,
      };
    },
  } satisfies RemoteHandlers;
}

/** @throws LibvirtError for a network that is only active */
function persistent(network: Network): Network {
  if (network.isPersistent) return network;
  throw notValid('cannot set autostart for transient network', errorDomain.network);
}

function bridgeOf(engine: Engine, network: Network): string {
  const name = networksOf(engine).definitions.definition(network).bridge?.name;
  if (name !== undefined) return name;
  throw new LibvirtError(
    errorNumber.internalError,
    `network '${network.name}' does not have a bridge name.`,
    errorDomain.network,
  );
}

/** virIPAddrType. */
const addressType = { 4: 0, 6: 1 } as const;

function leaseOf(lease: Lease, bridge: string) {
  return {
    iface: bridge,
    // 0 is "never" to clients as well.
    expirytime: lease.expiresAt ?? 0,
    type: addressType[lease.family],
    mac: lease.mac ?? null,
    iaid: lease.iaid ?? null,
    ipaddr: lease.address,
    prefix: lease.prefix,
    hostname: lease.hostName ?? null,
    clientid: lease.clientId ?? null,
  };
}
