/** Methods that start, stop and pause domains onto the domain service. */
import type { Logger } from '../../../base/log.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { networksOf, startNetworks } from '../../services/network-demand.ts';
import type { NetworkService } from '../../services/network-service.ts';
import { destroyOnClose, ownerOf } from './autodestroy.ts';
import { summaryOf } from './domain-shapes.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

export function bindLifecycle(domains: DomainService, networks: NetworkService | undefined, log: Logger) {
  const find = domainFinder(domains);
  return {
    'domain.start': async (
      { domain, paused, autodestroy, forceBoot, resetNvram, bypassCache, startNetworks: isStarting },
      context,
    ) => {
      const found = find(domain);
      if (isStarting) await startNetworks(networks, networksOf(domains.definitions.definition(found)));
      const owner = ownerOf(autodestroy, context);
      await domains.lifecycle.start(found, { paused, forceBoot, resetNvram, bypassCache, ...owner });
      if (autodestroy) destroyOnClose(domains, context, log);
      return summaryOf(domains, found);
    },
    'domain.shutdown': async ({ domain, mode, timeoutMs }, { signal }) => {
      const found = find(domain);
      await domains.lifecycle.shutdown(found, mode);
      if (timeoutMs !== undefined) await domains.waiting.wait(found, 'shutoff', { timeoutMs, signal });
      return summaryOf(domains, found);
    },
    'domain.reboot': async ({ domain, mode }) => {
      await domains.lifecycle.reboot(find(domain), mode);
      return {};
    },
    'domain.reset': async ({ domain }) => {
      await domains.lifecycle.reset(find(domain));
      return {};
    },
    'domain.suspend': async ({ domain }) => {
      const found = find(domain);
      await domains.lifecycle.suspend(found);
      return summaryOf(domains, found);
    },
    'domain.resume': async ({ domain }) => {
      const found = find(domain);
      await domains.lifecycle.resume(found);
      return summaryOf(domains, found);
    },
    'domain.destroy': async ({ domain, graceful }) => {
      await domains.lifecycle.destroy(find(domain), { graceful });
      return {};
    },
  } satisfies Partial<Handlers>;
}
