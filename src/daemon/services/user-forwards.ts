/** Ports of the host that guests with user networking take by a socket, and virtual networks by a rule before all sockets. */
import { VirtError } from '../../base/errors.ts';
import type { PortForward } from '../../drivers/driver.ts';
import {
  describeHostEnd,
  isSameHostEnd,
  type NetworkPortForward,
} from '../../model/network/port-forwards.ts';
import type { DomainWorld } from './world.ts';

/** A port of the host that an active network leads to one of its guests. */
export interface ForwardedPort {
  readonly network: string;
  readonly forward: NetworkPortForward;
}

/**
 * QEMU could listen there all the same and would never hear anybody: packets are led into the network before.
 * @throws VirtError forward.conflict when an active network has one of these ports
 */
export function refuseForwardedPorts(
  world: Pick<DomainWorld, 'forwardedPorts'>,
  domain: { readonly name: string },
  forwards: readonly Pick<PortForward, 'protocol' | 'hostAddress' | 'hostPort'>[],
): void {
  if (forwards.length === 0) return;
  const taken = world.forwardedPorts?.() ?? [];
  for (const { network, forward } of taken) {
    const own = forwards.map(hostEndOf).find((end) => isSameHostEnd(end, forward));
    if (own !== undefined)
      throw new VirtError('forward.conflict', {
        wanted: `forward ${describeHostEnd(own)} to domain '${domain.name}'`,
        reason: `network '${network}' forwards it already`,
        hint: `take another port of the host, or 'vireo network forward remove ${network} ${forward.hostPort}'`,
      });
  }
}

/** No address means all of IPv4, which is what SLIRP takes. */
function hostEndOf({
  protocol,
  hostAddress,
  hostPort,
}: Pick<PortForward, 'protocol' | 'hostAddress' | 'hostPort'>) {
  return { protocol, hostPort, ...(hostAddress !== '' && hostAddress !== '0.0.0.0' && { hostAddress }) };
}
