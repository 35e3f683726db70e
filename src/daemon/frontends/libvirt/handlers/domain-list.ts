/** Finding domains: lists with filters, the old calls by count, lookups. */
import { isVirtError } from '../../../../base/errors.ts';
import type { Domain } from '../../../services/domain.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { atMost, checkFlags, domainOf, wireDomainOf } from './support.ts';

/** virConnectListAllDomainsFlags: pairs and groups; within a group any may hold, and each group that is named must. */
const filterGroups: readonly (readonly (readonly [number, (domain: Domain, engine: Engine) => boolean])[])[] =
  [
    [
      [1 << 0, (domain) => domain.isActive],
      [1 << 1, (domain) => !domain.isActive],
    ],
    [
      [1 << 2, (domain) => domain.isPersistent],
      [1 << 3, (domain) => !domain.isPersistent],
    ],
    [
      [1 << 4, (domain) => domain.state.state === 'running'],
      [1 << 5, (domain) => domain.state.state === 'paused'],
      [1 << 6, (domain) => domain.state.state === 'shutoff'],
      [1 << 7, (domain) => !['running', 'paused', 'shutoff'].includes(domain.state.state)],
    ],
    [
      [1 << 8, (domain, { domains }) => domains.saves.hasManagedSave(domain)],
      [1 << 9, (domain, { domains }) => !domains.saves.hasManagedSave(domain)],
    ],
    [
      [1 << 10, (domain) => domain.autostart],
      [1 << 11, (domain) => !domain.autostart],
    ],
    [
      [1 << 12, (domain, { domains }) => domains.snapshots.treeOf(domain).size > 0],
      [1 << 13, (domain, { domains }) => domains.snapshots.treeOf(domain).size === 0],
    ],
    [
      [1 << 14, (domain, { domains }) => domains.checkpoints.treeOf(domain).size > 0],
      [1 << 15, (domain, { domains }) => domains.checkpoints.treeOf(domain).size === 0],
    ],
  ];

export const listFilterMask = 0xffff;

/** What tells whether a domain fits the filter bits. */
export function filterFor(engine: Engine, flags: number): (domain: Domain) => boolean {
  const asked = filterGroups
    .map((group) => group.filter(([bit]) => (flags & bit) !== 0))
    .filter((group) => group.length > 0);
  return (domain) => asked.every((group) => group.some(([, holds]) => holds(domain, engine)));
}

export function domainListHandlers(engine: Engine) {
  const { domains } = engine;
  return {
    connectListAllDomains: ({ needResults, flags }, call) => {
      checkFlags(flags, listFilterMask, call);
      const found = domains.list().filter(filterFor(engine, flags));
      return { domains: needResults === 0 ? [] : found.map(wireDomainOf), ret: found.length };
    },
    connectNumOfDomains: () => ({ num: domains.list({ active: true }).length }),
    connectListDomains: ({ maxids }) => ({
      ids: atMost(
        domains.list({ active: true }).map((domain) => wireDomainOf(domain).id),
        maxids,
      ),
    }),
    connectNumOfDefinedDomains: () => ({ num: domains.list({ active: false }).length }),
    connectListDefinedDomains: ({ maxnames }) => ({
      names: atMost(
        domains.list({ active: false }).map(({ name }) => name),
        maxnames,
      ),
    }),
    domainLookupById: ({ id }) => ({ dom: wireDomainOf(domains.find({ id })) }),
    domainLookupByUuid: ({ uuid }) => ({ dom: wireDomainOf(domains.find({ uuid })) }),
    domainLookupByName: ({ name }) => ({ dom: wireDomainOf(byName(engine, name)) }),
    domainIsActive: ({ dom }) => ({ active: domainOf(engine, dom).isActive ? 1 : 0 }),
    domainIsPersistent: ({ dom }) => ({ persistent: domainOf(engine, dom).isPersistent ? 1 : 0 }),
  } satisfies RemoteHandlers;
}

/** By name alone: a name that looks like a uuid is a name here, clients try the uuid themselves first. */
function byName({ domains }: Engine, name: string): Domain {
  try {
    return domains.find({ name });
  } catch (error) {
    // A definition that was put aside is told as such, to who asks for it by name.
    if (isVirtError(error, 'domain.not-found')) domains.files.refuseQuarantined(name);
    throw error;
  }
}
