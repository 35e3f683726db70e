/** Methods about network cards onto the domain service. */
import type { Result } from '../../../api/index.ts';
import type { InterfaceStatistics } from '../../services/domain-interfaces.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type InterfaceHandlers = Pick<
  Handlers,
  'domain.set-link' | 'domain.set-bandwidth' | 'domain.interface-stats'
>;

export function bindInterfaces(domains: DomainService): InterfaceHandlers {
  const find = domainFinder(domains);
  return {
    'domain.set-link': async ({ domain, interface: name, state, ...targets }) => {
      await domains.interfaces.setLink(find(domain), name, state, targets);
      return {};
    },
    'domain.set-bandwidth': async ({ domain, interface: name, inbound, outbound, ...targets }) => {
      await domains.interfaces.setBandwidth(find(domain), name, { inbound, outbound }, targets);
      return {};
    },
    'domain.interface-stats': async ({ domain, interface: name }) => ({
      interfaces: domains.interfaces.statistics(find(domain), name).map((one) => shapeOf(one)),
    }),
  };
}

function shapeOf({
  nic,
  counters,
  reason,
}: InterfaceStatistics): Result<'domain.interface-stats'>['interfaces'][number] {
  return {
    alias: nic.alias ?? null,
    type: nic.source.type,
    mac: nic.mac?.address ?? null,
    device: nic.target?.dev ?? null,
    link: nic.link ?? 'up',
    counters: counters ?? null,
    reason: reason ?? null,
  };
}
