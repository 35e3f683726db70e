/** What is in the way of a port forward: another network that leads the port elsewhere, a program that listens on it. */
import { VirtError } from '../../base/errors.ts';
import type { NetworkDef } from '../../model/network/network.ts';
import {
  describeHostEnd,
  forwardFamilyOf,
  hostPortsOf,
  isSameHostEnd,
  listenAddressOf,
  type NetworkPortForward,
  portForwardsOf,
} from '../../model/network/port-forwards.ts';
import type { HostListener } from '../../net/plan.ts';
import type { Network } from './network.ts';
import { type NetworkWorld, parseTrusted } from './network-world.ts';

/**
 * The program of the host that would get nothing any more: the forward is before every socket, so also before those of
 * guests with user networking and of session daemons. In words, undefined when there is none.
 */
export function listenerInTheWay(world: NetworkWorld, forward: NetworkPortForward): string | undefined {
  const address = listenAddressOf(forward);
  const [firstPort, lastPort] = hostPortsOf(forward);
  const [found] = world.host.findListeners({
    protocol: forward.protocol,
    family: forwardFamilyOf(forward),
    ...(address !== undefined && { hostAddress: address }),
    firstPort,
    lastPort,
  });
  return found && describe(found, forward.protocol);
}

function describe({ program, pid, address, port }: HostListener, protocol: string): string {
  const who = program === undefined ? 'a program' : `'${program}' (process ${pid})`;
  return `${who} of the host listens on ${protocol} port ${port} of ${address}`;
}

/**
 * @param others definitions that count: all there are for a new forward, those that are active for a start
 * @throws VirtError forward.conflict when another network leads one of these ports elsewhere
 */
export function refuseForwardsOfOthers(
  world: NetworkWorld,
  wish: {
    readonly network: Pick<Network, 'uuid' | 'name'>;
    readonly forwards: readonly NetworkPortForward[];
  },
  others: (network: Network) => readonly NetworkDef[],
): void {
  if (wish.forwards.length === 0) return;
  for (const other of world.registry.all) {
    if (other.uuid === wish.network.uuid) continue;
    const theirs = others(other).flatMap((definition) => portForwardsOf(definition));
    const taken = wish.forwards.find((one) => theirs.some((their) => isSameHostEnd(one, their)));
    if (taken) throw takenBy(wish.network.name, taken, `network '${other.name}' forwards it already`);
  }
}

/** The definitions of a network: as it runs, as it starts, and as it is stored. */
export function allDefinitions(network: Network): NetworkDef[] {
  const stored = network.xml === undefined ? undefined : parseTrusted(network.xml);
  return [...activeDefinitions(network), ...(stored === undefined ? [] : [stored])];
}

export function activeDefinitions({ live, starting }: Network): NetworkDef[] {
  return [live?.definition, starting].filter((definition) => definition !== undefined);
}

export function takenBy(network: string, forward: NetworkPortForward, reason: string): VirtError {
  return new VirtError('forward.conflict', {
    wanted: `forward ${describeHostEnd(forward)} into network '${network}'`,
    reason,
    hint: 'take another port of the host, or give the forward an address of the host that is free',
  });
}
