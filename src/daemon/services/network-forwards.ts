/** Port forwards of networks as clients see them: list, add, remove. */
import { VirtError } from '../../base/errors.ts';
import {
  describeHostEnd,
  isSameHostEnd,
  type NetworkPortForward,
  portForwardsOf,
  withPortForwards,
} from '../../model/network/port-forwards.ts';
import type { Network } from './network.ts';
import type { NetworkDefinitions } from './network-definitions.ts';
import {
  activeDefinitions,
  allDefinitions,
  listenerInTheWay,
  refuseForwardsOfOthers,
  takenBy,
} from './network-forward-conflicts.ts';
import type { NetworkPlans, ResolvedForward } from './network-plans.ts';
import type { NetworkWorld } from './network-world.ts';
import type { ForwardedPort } from './user-forwards.ts';

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

  /** The ports of the host that lead into active networks at this moment. */
  active(): ForwardedPort[] {
    return this.world.registry.all.flatMap((network) =>
      activeDefinitions(network)
        .flatMap((definition) => portForwardsOf(definition))
        .map((forward) => ({ network: network.name, forward })),
    );
  }

  /**
   * Adds a forward to the active network and to the stored definition.
   * @throws VirtError forward.conflict when a network or a program of the host has the port; xml.invalid when it does not
   * fit the network
   */
  async add(network: Network, forward: NetworkPortForward): Promise<ResolvedForward> {
    refuseForwardsOfOthers(this.world, { network, forwards: [forward] }, allDefinitions);
    const listener = listenerInTheWay(this.world, forward);
    if (listener !== undefined) throw takenBy(network.name, forward, listener);
    await this.definitions.change(network, 'add port forward', (definition) => {
      const forwards = portForwardsOf(definition);
      if (forwards.some((other) => isSameHostEnd(other, forward)))
        throw takenBy(network.name, forward, 'this network forwards it already');
      return withPortForwards(definition, [...forwards, forward]);
    });
    const found = (await this.list(network)).find((one) => isSameHostEnd(one.forward, forward));
    return found ?? { forward, address: undefined, trouble: undefined };
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
          reason: `${describeHostEnd(end)} is not forwarded`,
          hint: `'vireo network forward list ${network.name}' shows them`,
        });
      return withPortForwards(definition, kept);
    });
  }
}
