/** Makes a parsed network complete: what libvirt would fill in when it stores one. */
import { type CompleteNetworkDef, hasOwnBridge, type NetworkDef } from './network.ts';

/** What the defaults need to know; all of it handed in, so that applying them stays pure. */
export interface NetworkDefaultsFacts {
  newUuid(): string;
  /** A MAC address of 52:54:00 with three random bytes. */
  newMac(): string;
  /** A bridge name that neither the host nor another network has: `virbr` with the lowest free number. */
  freeBridgeName(): string;
}

/**
 * The definition with everything filled in that it left open. Applied to its own result it changes nothing. The
 * argument stays as it is.
 */
export function applyNetworkDefaults(
  definition: NetworkDef,
  facts: NetworkDefaultsFacts,
): CompleteNetworkDef {
  return {
    ...definition,
    uuid: definition.uuid ?? facts.newUuid(),
    ...(definition.forward && { forward: completeForward(definition) }),
    ...(hasOwnBridge(definition) && ownBridge(definition, facts)),
  };
}

/** `dev` and the first `<interface>` say the same; whichever is given fills in the other. */
function completeForward(definition: NetworkDef): NetworkDef['forward'] {
  const { forward } = definition;
  if (forward === undefined) return undefined;
  const dev = forward.dev ?? forward.interfaces[0]?.dev;
  const interfaces = forward.interfaces.length > 0 || dev === undefined ? forward.interfaces : [{ dev }];
  return { ...forward, mode: forward.mode ?? 'nat', interfaces, ...(dev !== undefined && { dev }) };
}

function ownBridge(definition: NetworkDef, facts: NetworkDefaultsFacts): Pick<NetworkDef, 'bridge' | 'mac'> {
  const { bridge } = definition;
  return {
    bridge: {
      ...bridge,
      name: bridge?.name ?? facts.freeBridgeName(),
      stp: bridge?.stp ?? true,
      delay: bridge?.delay ?? 0,
    },
    mac: definition.mac ?? facts.newMac(),
  };
}
