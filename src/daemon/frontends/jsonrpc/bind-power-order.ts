/** Methods for guests that start and end with their host onto the services. */
import type { PowerOrder } from '../../../model/domain/power-order.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type PowerOrderHandlers = Pick<
  Handlers,
  'domain.power-order.get' | 'domain.power-order.set' | 'host.shutdown-guests'
>;

export function bindPowerOrder(domains: DomainService): PowerOrderHandlers {
  const find = domainFinder(domains);
  return {
    'domain.power-order.get': async ({ domain }) => shown(domains.powerOrder.get(find(domain))),
    'domain.power-order.set': async ({ domain, order, startDelaySeconds, hostDown, timeoutSeconds }) => {
      const change = {
        ...(order !== undefined && { order }),
        ...(startDelaySeconds !== undefined && { startDelaySeconds }),
        ...(hostDown !== undefined && { hostDown: hostDown ?? undefined }),
        ...(timeoutSeconds !== undefined && { timeoutSeconds: timeoutSeconds ?? undefined }),
      };
      return shown(await domains.powerOrder.set(find(domain), change));
    },
    'host.shutdown-guests': async (request, { signal }) => {
      const steps = await domains.powerOrder.endAll({ ...request, signal });
      return {
        guests: steps.map(({ domain, outcome = null, problem = null, ...step }) => ({
          ...step,
          uuid: domain.uuid,
          outcome,
          problem,
        })),
      };
    },
  };
}

function shown({ hostDown, timeoutSeconds, ...rest }: PowerOrder) {
  return { ...rest, hostDown: hostDown ?? null, timeoutSeconds: timeoutSeconds ?? null };
}
