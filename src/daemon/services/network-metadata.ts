/** Title, description and foreign metadata of networks. */
import { formatNetwork, type NetworkDef, parseNetwork } from '../../model/network/network.ts';
import type { EventBus } from './events.ts';
import { Metadata } from './metadata.ts';
import type { Network } from './network.ts';
import type { NetworkDefinitions } from './network-definitions.ts';

export type NetworkMetadata = Metadata<Network, NetworkDef>;

/** What a client gives passes the same rules as in a document. */
export function networkMetadata(definitions: NetworkDefinitions, events: EventBus): NetworkMetadata {
  return new Metadata({
    noun: 'network',
    definition: (network, options) => definitions.definition(network, options),
    change: (network, job, change, targets) =>
      definitions.changeQuietly(network, job, (definition) => asDocument(change(definition)), targets),
    tell: (network, what, uri) =>
      events.publish({ event: 'network.metadata-changed', network: network.identity, what, uri }),
  });
}

const asDocument = (definition: NetworkDef): NetworkDef =>
  parseNetwork(formatNetwork(definition), { mode: 'strict' }).definition;
