/** What is known about a domain or a network besides how it works: title, description, foreign metadata. */
import { VirtError } from '../../base/errors.ts';
import { formatXml, type XmlElement } from '../../base/xml/tree.ts';
import { findMetadata, withMetadata } from '../../model/domain/metadata.ts';
import { metadataReplacement } from './metadata-change.ts';

/** The parts of a definition that this is about. */
interface Described {
  readonly title?: string | undefined;
  readonly description?: string | undefined;
  readonly metadata: XmlElement[];
}

/** Where a change goes; what is left out means wherever there is a definition. */
interface Targets {
  readonly live?: boolean;
  readonly stored?: boolean;
}

/** The objects that have it. */
export interface Owner<Owned extends { readonly name: string }, Definition extends Described> {
  readonly noun: 'domain' | 'network';
  /** As it runs for an active object (unless `inactive`), else the stored one. */
  definition(object: Owned, options: { readonly inactive?: boolean }): Definition;
  /** Changes it in one job; `job` is what is being done, in words. */
  change(
    object: Owned,
    job: string,
    change: (definition: Definition) => Definition,
    targets: Targets,
  ): Promise<void>;
  /** Refuses a title that the change itself would take. @throws VirtError request.invalid */
  checkTitle?(title: string): void;
  /** Tells the event of a change; `uri` is the namespace of foreign metadata. */
  tell(object: Owned, what: 'title' | 'description' | 'metadata', uri: string | null): void;
}

export class Metadata<Owned extends { readonly name: string }, Definition extends Described> {
  private readonly owner: Owner<Owned, Definition>;

  constructor(owner: Owner<Owned, Definition>) {
    this.owner = owner;
  }

  /** Null takes it away. @throws VirtError for more than one line, and as a change of the definition */
  async setTitle(object: Owned, title: string | null, targets: Targets = {}): Promise<void> {
    if (title !== null) this.owner.checkTitle?.(title);
    const change = (definition: Definition) => ({ ...definition, title: title ?? undefined });
    await this.owner.change(object, 'set title', change, targets);
    this.owner.tell(object, 'title', null);
  }

  /** Null takes it away. @throws VirtError as a change of the definition */
  async setDescription(object: Owned, description: string | null, targets: Targets = {}): Promise<void> {
    const change = (definition: Definition) => ({ ...definition, description: description ?? undefined });
    await this.owner.change(object, 'set description', change, targets);
    this.owner.tell(object, 'description', null);
  }

  /** The metadata element of a namespace. @throws VirtError domain.no-metadata, network.no-metadata */
  get(object: Owned, uri: string, options: { readonly inactive?: boolean } = {}): string {
    const { noun } = this.owner;
    const found = findMetadata(this.owner.definition(object, options).metadata, uri);
    if (found !== undefined) return formatXml(found);
    throw new VirtError(`${noun}.no-metadata`, {
      reason: `${noun} '${object.name}' has no metadata of the namespace '${uri}'`,
    });
  }

  /**
   * Sets (or with null removes) the metadata element of a namespace; `prefix` is what it is written with.
   * @throws VirtError domain.no-metadata or network.no-metadata when there is none to remove, request.invalid, xml.malformed
   */
  async set(
    object: Owned,
    uri: string,
    prefix: string | undefined,
    xml: string | null,
    targets: Targets = {},
  ): Promise<void> {
    const replacement = metadataReplacement(xml, prefix);
    if (replacement === undefined) this.get(object, uri, { inactive: targets.live === false });
    const change = (definition: Definition) => ({
      ...definition,
      metadata: withMetadata(definition.metadata, uri, replacement),
    });
    await this.owner.change(object, 'set metadata', change, targets);
    this.owner.tell(object, 'metadata', uri);
  }
}
