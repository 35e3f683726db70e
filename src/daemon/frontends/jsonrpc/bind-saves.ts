/** Methods that save, restore and dump domains onto the services. */
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { summaryOf } from './domain-shapes.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type SaveHandlers = Pick<
  Handlers,
  | 'domain.save'
  | 'domain.restore'
  | 'domain.managed-save'
  | 'domain.managed-save.remove'
  | 'domain.managed-save.get'
  | 'domain.managed-save.edit'
  | 'domain.dump'
  | 'save-image.get'
  | 'save-image.edit'
>;

export function bindSaves(domains: DomainService): SaveHandlers {
  const find = domainFinder(domains);
  return {
    'domain.save': async ({ domain, path, ...request }) => {
      const found = find(domain);
      const before = summaryOf(domains, found);
      await domains.saves.save(found, path, request);
      return afterEnd(domains, found, before);
    },
    'domain.restore': async ({ path, ...request }) =>
      summaryOf(domains, await domains.saves.restore(path, request)),
    'domain.managed-save': async ({ domain, ...request }) => {
      const found = find(domain);
      await domains.saves.managedSave(found, request);
      return summaryOf(domains, found);
    },
    'domain.managed-save.remove': async ({ domain }) => {
      await domains.saves.removeManagedSave(find(domain));
      return {};
    },
    'domain.managed-save.get': ({ domain, secure }) =>
      domains.saves.describeManaged(find(domain), { secure }),
    'domain.managed-save.edit': async ({ domain, ...change }) => {
      await domains.saves.editManaged(find(domain), change);
      return {};
    },
    'save-image.get': ({ path, secure }) => domains.saves.describe(path, { secure }),
    'save-image.edit': async ({ path, ...change }) => {
      await domains.saves.edit(path, change);
      return {};
    },
    'domain.dump': async ({ domain, path, ...request }) => {
      const found = find(domain);
      const before = summaryOf(domains, found);
      await domains.dumps.dump(found, path, request);
      return afterEnd(domains, found, before);
    },
  };
}

type Summary = ReturnType<typeof summaryOf>;

/** A transient domain is gone with its guest; what it was stands in for what there is no more to ask. */
function afterEnd(domains: DomainService, domain: Domain, before: Summary): Summary {
  const now = summaryOf(domains, domain);
  return domain.isNothing ? { ...before, ...now, memoryBytes: before.memoryBytes, vcpus: before.vcpus } : now;
}
