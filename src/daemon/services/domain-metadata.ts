/** What is known about a domain and no guest sees: title, description, foreign metadata. */
import { VirtError } from '../../base/errors.ts';
import { formatXml } from '../../base/xml/tree.ts';
import { findMetadata, withMetadata } from '../../model/domain/metadata.ts';
import type { Domain } from './domain.ts';
import type { ChangeTargets, DomainDefinitions } from './domain-definitions.ts';
import { metadataReplacement } from './metadata-change.ts';
import type { DomainWorld } from './world.ts';

export class DomainMetadata {
  private readonly world: Pick<DomainWorld, 'events'>;
  private readonly definitions: DomainDefinitions;

  constructor(world: Pick<DomainWorld, 'events'>, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /** Null takes it away. @throws VirtError request.invalid for more than one line; as a change of a definition */
  async setTitle(domain: Domain, title: string | null, targets?: ChangeTargets): Promise<void> {
    if (title?.includes('\n'))
      throw new VirtError('request.invalid', { wanted: 'set the title', reason: 'a title is one line' });
    await this.definitions.change(
      domain,
      'set title',
      (definition) => ({ ...definition, title: title ?? undefined }),
      targets,
    );
    this.tell(domain, 'title', null);
  }

  /** Null takes it away. @throws VirtError as a change of a definition */
  async setDescription(domain: Domain, description: string | null, targets?: ChangeTargets): Promise<void> {
    await this.definitions.change(
      domain,
      'set description',
      (definition) => ({ ...definition, description: description ?? undefined }),
      targets,
    );
    this.tell(domain, 'description', null);
  }

  /** The metadata element of a namespace. @throws VirtError domain.no-metadata */
  get(domain: Domain, uri: string, options: { readonly inactive?: boolean } = {}): string {
    const found = findMetadata(this.definitions.definition(domain, options).metadata, uri);
    if (found !== undefined) return formatXml(found);
    throw new VirtError('domain.no-metadata', {
      reason: `domain '${domain.name}' has no metadata of the namespace '${uri}'`,
    });
  }

  /**
   * Sets (or with null removes) the metadata element of a namespace; `prefix` is what it is written with.
   * @throws VirtError domain.no-metadata when there is none to remove, request.invalid, xml.malformed
   */
  async set(
    domain: Domain,
    uri: string,
    prefix: string | undefined,
    xml: string | null,
    targets: ChangeTargets = {},
  ): Promise<void> {
    const replacement = metadataReplacement(xml, prefix);
    if (replacement === undefined) this.get(domain, uri, { inactive: targets.live === false });
    await this.definitions.change(
      domain,
      'set metadata',
      (definition) => ({ ...definition, metadata: withMetadata(definition.metadata, uri, replacement) }),
      targets,
    );
    this.tell(domain, 'metadata', uri);
  }

  private tell(domain: Domain, what: 'title' | 'description' | 'metadata', uri: string | null): void {
    this.world.events.emit('domain.metadata-changed', domain.identity, { what, uri });
  }
}
