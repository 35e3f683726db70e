/** New networks from a few words, and the network `default` of the first start. */
import { statSync } from 'node:fs';
import { VirtError } from '../../base/errors.ts';
import { writeDurable } from '../../base/files.ts';
import { formatSubnet, parseSubnet, type Subnet } from '../../base/ip.ts';
import { freeSubnet } from '../../model/network/free-subnet.ts';
import { formatNetwork, type NetworkDef, parseNetwork } from '../../model/network/network.ts';
import {
  type ForeignNetworkWish,
  foreignModes,
  foreignNetworkOf,
  type NetworkWish,
  networkOf,
} from '../../model/network/short-form.ts';
import type { Network } from './network.ts';
import type { NetworkDefinitions } from './network-definitions.ts';
import { hostSubnets, type NetworkWorld, shownFacts } from './network-world.ts';

/** What a client asks for; the subnet as text. */
export type NetworkRequest = Omit<NetworkWish, 'subnet' | 'mode'> & {
  readonly mode: NetworkWish['mode'] | ForeignNetworkWish['mode'];
  readonly subnet?: string | undefined;
  /** Interfaces of the host, for modes that are on them. */
  readonly interfaces?: readonly string[] | undefined;
  readonly autostart: boolean;
};

/** Where the default network lies when nobody is in the way. */
const CUSTOMARY = '192.168.122.0/24';

export class NetworkCreation {
  private readonly world: NetworkWorld;
  private readonly definitions: NetworkDefinitions;

  constructor(world: NetworkWorld, definitions: NetworkDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /** @throws VirtError request.invalid, xml.invalid, network.exists, network.conflict when every range is taken */
  async create(request: NetworkRequest): Promise<{ network: Network; warnings: readonly string[] }> {
    const { name, autostart } = request;
    const wanted = `create network '${name}'`;
    if (this.world.registry.withName(name))
      throw new VirtError('network.exists', { wanted, reason: `network '${name}' exists already` });
    // A new uuid: nothing that is there is replaced, whoever was faster.
    const definition = checked(await this.described(request, wanted));
    return this.definitions.store(definition, 'lenient', { autostart });
  }

  private async described(request: NetworkRequest, wanted: string): Promise<NetworkDef> {
    const { mode, subnet: text, interfaces, autostart: _autostart, ...wish } = request;
    if (isForeign(mode)) return foreignNetwork({ ...request, mode }, wanted);
    if (interfaces !== undefined) throw misplaced(wanted, 'interfaces', mode);
    const subnet = text === undefined ? await this.freeSubnet(wanted) : readSubnet(text, wanted);
    return networkOf({ ...wish, mode, subnet });
  }

  private async freeSubnet(wanted: string): Promise<Subnet> {
    const found = freeSubnet(await this.takenSubnets());
    if (found !== undefined) return found;
    throw new VirtError('network.conflict', {
      wanted,
      reason: 'every private range that is tried by custom is in use on this host',
      hint: 'tell a subnet',
    });
  }

  /** Subnets of the host and of all networks. */
  private async takenSubnets(): Promise<Subnet[]> {
    const host = hostSubnets(await this.world.host.probe()).map(({ subnet }) => subnet);
    const ours = this.world.registry.all.flatMap((network) =>
      shownFacts(network).subnets.flatMap((text) => parseSubnet(text) ?? []),
    );
    return [...host, ...ours];
  }

  /**
   * Defines the NAT network `default` once in the life of an installation, marked for autostart. Where networks are
   * stored already, somebody has decided for themselves. The marker is written last: a crash before it means that it
   * is tried again.
   */
  async defineDefault(marker: string): Promise<void> {
    if (statSync(marker, { throwIfNoEntry: false }) !== undefined) return;
    if (this.world.registry.all.length === 0) {
      const subnet = await this.freeSubnet("create network 'default'");
      const wish = { name: 'default', mode: 'nat', subnet } as const;
      await this.definitions.store(networkOf(wish), 'lenient', { autostart: true });
      const text = formatSubnet(subnet);
      if (text === CUSTOMARY) this.world.log.info({ subnet: text }, "the network 'default' was defined");
      else
        this.world.log.warn(
          { subnet: text },
          `the network 'default' was defined with ${text}, since ${CUSTOMARY} is in use on this host`,
        );
    }
    await writeDurable(marker, '', { mode: 0o600 });
  }
}

/** Names that a client gave pass the same rules as those in a document. @throws VirtError xml.invalid */
function checked(definition: NetworkDef): NetworkDef {
  return parseNetwork(formatNetwork(definition), { mode: 'strict' }).definition;
}

function isForeign(mode: NetworkRequest['mode']): mode is ForeignNetworkWish['mode'] {
  return foreignModes.some((one) => one === mode);
}

/** A network on what the host has: there is nothing to give it but the names of that. */
function foreignNetwork(
  request: NetworkRequest & { readonly mode: ForeignNetworkWish['mode'] },
  wanted: string,
): NetworkDef {
  const { name, mode, bridge, interfaces = [], subnet, domain } = request;
  for (const [path, value] of Object.entries({ subnet, domainName: domain }))
    if (value !== undefined) throw misplaced(wanted, path, mode);
  if (bridge === undefined && interfaces.length === 0)
    throw new VirtError('request.invalid', {
      wanted,
      reason: `mode '${mode}' needs ${mode === 'bridge' ? 'a bridge or an interface' : 'an interface'} of the host`,
      hint: "'vireo host interfaces' shows those it has",
      details: { problems: [{ path: 'interfaces', message: 'is missing' }] },
    });
  return foreignNetworkOf({ name, mode, bridge, interfaces });
}

function misplaced(wanted: string, path: string, mode: string): VirtError {
  return new VirtError('request.invalid', {
    wanted,
    reason: `'${path}' does not go with mode '${mode === 'none' ? 'isolated' : mode}'`,
    details: { problems: [{ path, message: 'does not go with the mode' }] },
  });
}

function readSubnet(text: string, wanted: string): Subnet {
  const subnet = parseSubnet(text);
  if (subnet === undefined || subnet.base.family !== 4)
    throw new VirtError('request.invalid', {
      wanted,
      reason: `'${text}' is not an IPv4 subnet`,
      hint: 'write it like 192.168.150.0/24; for IPv6 define the network as XML',
      details: { problems: [{ path: 'subnet', message: 'is not an IPv4 subnet' }] },
    });
  return subnet;
}
