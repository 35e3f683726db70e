/** New networks from a few words, and the network `default` of the first start. */
import { statSync } from 'node:fs';
import { VirtError } from '../../base/errors.ts';
import { writeDurable } from '../../base/files.ts';
import { formatSubnet, parseSubnet, type Subnet } from '../../base/ip.ts';
import { freeSubnet } from '../../model/network/free-subnet.ts';
import { formatNetwork, type NetworkDef, parseNetwork } from '../../model/network/network.ts';
import { type NetworkWish, networkOf } from '../../model/network/short-form.ts';
import type { Network } from './network.ts';
import type { NetworkDefinitions } from './network-definitions.ts';
import { hostSubnets, type NetworkWorld, shownFacts } from './network-world.ts';

/** What a client asks for; the subnet as text. */
export type NetworkRequest = Omit<NetworkWish, 'subnet'> & {
  readonly subnet?: string | undefined;
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
    const { subnet: text, autostart, ...wish } = request;
    const wanted = `create network '${wish.name}'`;
    if (this.world.registry.withName(wish.name))
      throw new VirtError('network.exists', { wanted, reason: `network '${wish.name}' exists already` });
    const subnet = text === undefined ? await this.freeSubnet(wanted) : readSubnet(text, wanted);
    // A new uuid: nothing that is there is replaced, whoever was faster.
    const definition = checked(networkOf({ ...wish, subnet }));
    return this.definitions.store(definition, 'lenient', { autostart });
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
