/** Network filter methods onto their service. */
import type { Result } from '../../../api/index.ts';
import { VirtError } from '../../../base/errors.ts';
import type { FilterObject, NwFilterService } from '../../services/nwfilter-service.ts';
import { quarantinedOf } from './domain-shapes.ts';
import type { Handlers } from './handlers.ts';

type FilterHandlers = Pick<Handlers, Extract<keyof Handlers, `nwfilter.${string}`>>;

/** Without a service this is a session daemon: every method says why there are no filters. */
export function bindNwFilters(service: NwFilterService | undefined): FilterHandlers {
  const filters = (): NwFilterService => {
    if (service !== undefined) return service;
    throw new VirtError('network.session', {
      wanted: 'use network filters',
      reason: 'rules on bridges need the system connection (qemu:///system)',
      hint: 'guests of a session are on networks of their own, which nobody else can reach',
    });
  };
  return {
    'nwfilter.list': async ({ builtIn }) => ({
      filters: filters()
        .list()
        .filter(({ isBuiltIn }) => builtIn === undefined || builtIn === isBuiltIn)
        .map(summaryOf),
      quarantined: filters().quarantined.map((file) => quarantinedOf(file)),
    }),
    'nwfilter.xml': async ({ filter }) => ({ xml: filters().xml(filters().find(filter)) }),
    'nwfilter.define': async ({ xml, strict }) => {
      const { filter, dropped } = await filters().define(xml, strict ? 'strict' : 'lenient', {
        byName: true,
      });
      return { filter: summaryOf(filter), dropped: [...dropped] };
    },
    'nwfilter.undefine': async ({ filter }) => filters().undefine(filter),
    'nwfilter.bindings': async () => ({
      bindings: filters()
        .bindings()
        .map(({ owner, device, mac, filter, parameters }) => ({
          device,
          domain: { uuid: owner.uuid, name: owner.name },
          mac,
          filter,
          parameters: parameters.map(({ name, value }) => ({ name, value })),
        })),
    }),
  };
}

function summaryOf({ uuid, name, isBuiltIn, filter }: FilterObject): Result<'nwfilter.define'>['filter'] {
  const { chain, priority, entries } = filter;
  return {
    uuid,
    name,
    chain,
    priority: priority ?? null,
    rules: entries.filter(({ kind }) => kind === 'rule').length,
    refers: entries.flatMap((entry) => (entry.kind === 'include' ? [entry.filter] : [])),
    builtIn: isBuiltIn,
  };
}
