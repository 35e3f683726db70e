/** Title, description and foreign metadata of domains. */
import { VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import type { EventBus } from './events.ts';
import { Metadata } from './metadata.ts';

export type DomainMetadata = Metadata<Domain, DomainDef>;

/** In the running and in the stored definition, unless one is meant. */
export function domainMetadata(definitions: DomainDefinitions, events: EventBus): DomainMetadata {
  return new Metadata({
    noun: 'domain',
    definition: (domain, options) => definitions.definition(domain, options),
    change: (domain, job, change, targets) => definitions.change(domain, job, change, targets),
    checkTitle: (title) => {
      if (title.includes('\n'))
        throw new VirtError('request.invalid', { wanted: 'set the title', reason: 'a title is one line' });
    },
    tell: (domain, what, uri) => events.emit('domain.metadata-changed', domain.identity, { what, uri }),
  });
}
