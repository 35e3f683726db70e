/** Methods for clones and templates onto the services. */
import { isTemplate } from '../../../model/domain/template.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { summaryOf } from './domain-shapes.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type CloneHandlers = Pick<Handlers, 'domain.clone' | 'template.set' | 'template.list'>;

export function bindClones(domains: DomainService): CloneHandlers {
  const find = domainFinder(domains);
  return {
    'domain.clone': async ({ domain, name, pool, start, tpm, linked: wish }) => {
      const source = find(domain);
      const linked = wish ?? isTemplate(domains.definitions.definition(source));
      const made = await domains.clones.clone(source, { name, linked, pool, tpm });
      if (start) await domains.lifecycle.start(made.domain, { paused: false });
      const { disks, warnings } = made;
      return { domain: summaryOf(domains, made.domain), linked, disks: [...disks], warnings: [...warnings] };
    },
    'template.set': async ({ domain, template }) => {
      const found = find(domain);
      await domains.clones.setTemplate(found, template);
      return summaryOf(domains, found);
    },
    'template.list': async () => ({
      templates: (await domains.clones.list()).map(({ domain, disks, instances }) => ({
        domain: domain.identity,
        disks: [...disks],
        instances: [...instances],
      })),
    }),
  };
}
