/** Methods that ask about domains onto the domain service: nothing is changed. */
import type { Result } from '../../../api/index.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { addressSources, hostSideSources } from '../../services/guest-addresses.ts';
import type { NetworkService } from '../../services/network-service.ts';
import { addressesOf, detailsOf, jobOf, quarantinedOf, summaryOf } from './domain-shapes.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

/** Without networks (a session) no lease tells an address. */
export function bindQueries(domains: DomainService, networks: NetworkService | undefined) {
  const find = domainFinder(domains);
  return {
    'domain.list': async (filter) => ({
      domains: domains.list(filter).map((domain) => summaryOf(domains, domain)),
      quarantined: domains.quarantined.map((file) => quarantinedOf(file)),
    }),
    'domain.get': async ({ domain }) => {
      const details = detailsOf(domains, find(domain));
      const interfaces = details.interfaces.map((nic) => withLeasedAddress(nic, networks));
      return { ...details, interfaces: await Promise.all(interfaces) };
    },
    'domain.xml': async ({ domain, inactive, secure, migratable }) => ({
      xml: domains.definitions.xml(find(domain), { inactive, secure, migratable }),
    }),
    'domain.log': async ({ domain, source, maxBytes }) => ({
      text: await domains.controls.log(find(domain), source, maxBytes),
    }),
    'domain.wait': async ({ domain, until, timeoutMs }, { signal, readOnly }) => {
      const found = find(domain);
      const { address, port } = await domains.waiting.wait(found, until, {
        timeoutMs,
        signal,
        mayAskGuest: !readOnly,
      });
      const reached = address === undefined ? null : { address, port: port ?? null };
      return { ...summaryOf(domains, found), reached };
    },
    'domain.addresses': async ({ domain, sources }, { readOnly }) => {
      const wanted = sources ?? (readOnly ? hostSideSources : addressSources);
      const found = find(domain);
      // Who asks one source wants to know what that one says.
      return addressesOf(
        sources === undefined
          ? await domains.addresses.findOrAssume(found, wanted)
          : await domains.addresses.find(found, wanted),
      );
    },
    'domain.job': async ({ domain }) => ({ job: jobOf(find(domain)) }),
    'domain.get-metadata': async ({ domain, uri, inactive }) => ({
      xml: domains.metadata.get(find(domain), uri, { inactive }),
    }),
    'domain.port-forward.list': async ({ domain }) => ({
      portForwards: domains.controls.portForwards(find(domain)),
    }),
    'domain.command-line': async ({ domain }) => ({
      argv: [...(await domains.controls.commandLine(find(domain)))],
    }),
  } satisfies Partial<Handlers>;
}

type InterfaceInfo = Result<'domain.get'>['interfaces'][number];

/** An interface with the address that its network leased to it, IPv4 first. */
async function withLeasedAddress(
  nic: InterfaceInfo,
  networks: NetworkService | undefined,
): Promise<InterfaceInfo> {
  if (networks === undefined || nic.type !== 'network' || nic.source === null) return nic;
  const network = networks.list({ active: true }).find(({ name }) => name === nic.source);
  const leases = network === undefined ? [] : await networks.leases(network);
  const own = leases.filter(({ mac }) => mac !== undefined && mac === nic.mac);
  const lease = own.find(({ family }) => family === 4) ?? own[0];
  return lease === undefined ? nic : { ...nic, address: lease.address };
}
