/** Port forwards of networks as clients see them: list, add, remove. */
import { VirtError } from '../../base/errors.ts';
import {
  isSameHostEnd,
  type NetworkPortForward,
  portForwardsOf,
  withPortForwards,
} from '../../model/network/port-forwards.ts';
import type { Network } from './network.ts';
import type { NetworkDefinitions } from './network-definitions.ts';
import type { NetworkPlans, ResolvedForward } from './network-plans.ts';
import type { NetworkWorld } from './network-world.ts';

/** The host's end of a forward names it. */
export type HostEnd = Pick<NetworkPortForward, 'protocol' | 'hostAddress' | 'hostPort'>;

export class NetworkForwards {
  private readonly world: NetworkWorld;
  private readonly definitions: NetworkDefinitions;
  private readonly plans: NetworkPlans;

  constructor(world: NetworkWorld, definitions: NetworkDefinitions, plans: NetworkPlans) {
    this.world = world;
    this.definitions = definitions;
    this.plans = plans;
  }

  /** All forwards of the network; of an active one with the addresses of the guests. */
  async list(network: Network): Promise<ResolvedForward[]> {
    return this.plans.resolve(network, this.definitions.definition(network));
  }

  /**
   * Adds a forward to the active network and to the stored definition.
   * @throws VirtError forward.conflict, xml.invalid when it does not fit the network
   */
  async add(network: Network, forward: NetworkPortForward): Promise<ResolvedForward> {
    this.refuseTaken(network, forward);
    await this.definitions.change(network, 'add port forward', (definition) => {
      const forwards = portForwardsOf(definition);
      if (forwards.some((other) => isSameHostEnd(other, forward)))
        throw taken(network, forward, 'this network');
      return withPortForwards(definition, [...forwards, forward]);
    });
    const found = (await this.list(network)).find((one) => isSameHostEnd(one.forward, forward));
    return found ?? { forward, address: undefined };
  }

  /** Another network may lead the same port elsewhere. */
  private refuseTaken(network: Network, forward: NetworkPortForward): void {
    for (const other of this.world.registry.all) {
      if (other === network) continue;
      const forwards = portForwardsOf(this.definitions.definition(other));
      if (forwards.some((one) => isSameHostEnd(one, forward)))
        throw taken(network, forward, `network '${other.name}'`);
    }
  }

  /** @throws VirtError forward.not-found */
  async remove(network: Network, end: HostEnd): Promise<void> {
    const isMeant = (one: NetworkPortForward) =>
      one.protocol === end.protocol &&
      one.hostPort === end.hostPort &&
      (end.hostAddress === undefined || one.hostAddress === end.hostAddress);
    await this.definitions.change(network, 'remove port forward', (definition) => {
      const forwards = portForwardsOf(definition);
      const kept = forwards.filter((one) => !isMeant(one));
      if (kept.length === forwards.length)
        throw new VirtError('forward.not-found', {
          wanted: `remove a port forward of network '${network.name}'`,
          reason: `${end.protocol} port ${end.hostPort} is not forwarded`,
          hint: `'vireo network forward list ${network.name}' shows them`,
        });
      return withPortForwards(definition, kept);
    });
  }
}

function taken(network: Network, forward: NetworkPortForward, by: string): VirtError {
  return new VirtError('forward.conflict', {
    wanted: `forward a port into network '${network.name}'`,
    reason: `${forward.protocol} port ${forward.hostPort} is forwarded by ${by} already`,
    hint: 'take another port, or remove the other forward',
  });
}
