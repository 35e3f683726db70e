/** Title, description and foreign metadata of domains. */
import { isVirtError } from '../../../../base/errors.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { Domain } from '../../../services/domain.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { withoutNamespace } from './foreign-metadata.ts';
import { affect, checkFlags, domainOf, impactOn, invalid } from './support.ts';

/** virDomainMetadataType. */
export const metadataType = { description: 0, title: 1, element: 2 } as const;

export function domainMetadataHandlers(engine: Engine) {
  const known = engine.domains.metadata;
  return {
    domainGetMetadata: ({ dom, type, uri, flags }, call) => {
      checkFlags(flags, affect.live | affect.config, call);
      const domain = domainOf(engine, dom);
      const { stored } = impactOn(domain, flags);
      return { metadata: metadataOf(engine, domain, { type, uri, inactive: stored }) };
    },
    domainSetMetadata: async ({ dom, type, metadata, key, uri, flags }, call) => {
      checkFlags(flags, affect.live | affect.config, call);
      const domain = domainOf(engine, dom);
      const targets = impactOn(domain, flags);
      const text = metadata === '' ? null : metadata;
      switch (type) {
        case metadataType.description:
          return known.setDescription(domain, text, targets);
        case metadataType.title:
          return known.setTitle(domain, text, targets);
        case metadataType.element:
          if (uri === null) throw invalid('a namespace is needed');
          return known.set(domain, uri, key ?? undefined, metadata, targets);
        default:
          throw invalid(`unknown metadata type '${type}'`);
      }
    },
  } satisfies RemoteHandlers;
}

function metadataOf(
  { domains }: Engine,
  domain: Domain,
  wanted: { readonly type: number; readonly uri: string | null; readonly inactive: boolean },
): string {
  const { type, uri, inactive } = wanted;
  if (type === metadataType.element) {
    if (uri === null) throw invalid('a namespace is needed');
    try {
      return withoutNamespace(domains.metadata.get(domain, uri, { inactive }));
    } catch (error) {
      throw isVirtError(error, 'domain.no-metadata') ? notThere('metadata') : error;
    }
  }
  const definition = domains.definitions.definition(domain, { inactive });
  if (type === metadataType.description) return definition.description ?? missing('description');
  if (type === metadataType.title) return definition.title ?? missing('title');
  throw invalid(`unknown metadata type '${type}'`);
}

function missing(element: string): never {
  throw notThere(element);
}

function notThere(element: string): LibvirtError {
  return new LibvirtError(errorNumber.noDomainMetadata, `Requested ${element} element is not present`);
}
