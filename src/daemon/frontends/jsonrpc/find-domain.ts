/** Domains by what a client calls them. */
import type { DomainRef } from '../../../api/domain-objects.ts';
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';

/** @throws VirtError domain.not-found, domain.quarantined */
export type FindDomain = (ref: DomainRef) => Domain;

/** A text is a uuid or a name, the uuid first. */
export function domainFinder(domains: DomainService): FindDomain {
  return (ref) => (typeof ref === 'string' ? domains.findByText(ref) : domains.find({ id: ref.id }));
}
