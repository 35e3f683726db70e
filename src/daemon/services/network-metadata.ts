/** What is known about a network besides how it works: title, description, foreign metadata. */
import { VirtError } from '../../base/errors.ts';
import { formatXml } from '../../base/xml/tree.ts';
import { findMetadata, withMetadata } from '../../model/domain/metadata.ts';
import { formatNetwork, type NetworkDef, parseNetwork } from '../../model/network/network.ts';
import { metadataReplacement } from './metadata-change.ts';
import type { Network } from './network.ts';
import type { ChangeTargets, NetworkDefinitions } from './network-definitions.ts';
import type { NetworkWorld } from './network-world.ts';

export class NetworkMetadata {
  private readonly world: NetworkWorld;
  private readonly definitions: NetworkDefinitions;

  constructor(world: NetworkWorld, definitions: NetworkDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  async setTitle(network: Network, title: string | null, targets?: ChangeTargets): Promise<void> {
    const change = (definition: NetworkDef) => ({ ...definition, title: title ?? undefined });
    await this.change(network, 'set title', change, targets);
    this.tell(network, 'title', null);
  }

  async setDescription(network: Network, description: string | null, targets?: ChangeTargets): Promise<void> {
    const change = (definition: NetworkDef) => ({ ...definition, description: description ?? undefined });
    await this.change(network, 'set description', change, targets);
    this.tell(network, 'description', null);
  }

  /** The metadata element of a namespace. @throws VirtError network.no-metadata */
  get(network: Network, uri: string, options: { readonly inactive?: boolean } = {}): string {
    const found = findMetadata(this.definitions.definition(network, options).metadata, uri);
    if (found !== undefined) return formatXml(found);
    throw new VirtError('network.no-metadata', {
      reason: `network '${network.name}' has no metadata of the namespace '${uri}'`,
    });
  }

  /** Sets (or with null removes) the metadata element of a namespace; `prefix` is what it is written with. */
  async set(
    network: Network,
    uri: string,
    prefix: string | undefined,
    xml: string | null,
    targets: ChangeTargets = {},
  ): Promise<void> {
    const replacement = metadataReplacement(xml, prefix);
    if (replacement === undefined) this.get(network, uri, { inactive: targets.live === false });
    await this.change(
      network,
      'set metadata',
      (definition) => ({
        ...definition,
        metadata: withMetadata(definition.metadata, uri, replacement),
      }),
      targets,
    );
    this.tell(network, 'metadata', uri);
  }

  /** What a client gave passes the same rules as in a document. */
  private async change(
    network: Network,
    job: string,
    change: (definition: NetworkDef) => NetworkDef,
    targets: ChangeTargets = {},
  ): Promise<void> {
    await this.definitions.changeQuietly(
      network,
      job,
      (definition) => parseNetwork(formatNetwork(change(definition)), { mode: 'strict' }).definition,
      targets,
    );
  }

  private tell(network: Network, what: 'title' | 'description' | 'metadata', uri: string | null): void {
    this.world.events.publish({ event: 'network.metadata-changed', network: network.identity, what, uri });
  }
}
