/** `<dns>`: records that are whole and not given twice, and servers to ask. */
import type { Problem } from '../../../base/errors.ts';
import type { Dns, DnsSrv } from '../dns.ts';
import type { NetworkDef } from '../network.ts';

export function dnsProblems({ dns, domain, ips }: NetworkDef): Problem[] {
  if (dns === undefined) return [];
  return [
    ...forwarderProblems(dns),
    ...repeatedRecords(dns),
    ...dns.hosts.flatMap((host, i) =>
      host.names.length === 0 ? [{ path: `dns.host[${i}].hostname`, message: 'is missing' }] : [],
    ),
    ...dns.srv.flatMap((srv, i) => srvProblems(srv, `dns.srv[${i}]`)),
    ...(dns.enable === false ? disabledProblems(dns) : []),
    ...(domain?.register === true && (dns.enable === false || ips.length === 0)
      ? [{ path: 'domain.register', message: 'needs DNS on this network' }]
      : []),
  ];
}

function forwarderProblems(dns: Dns): Problem[] {
  return dns.forwarders.flatMap((forwarder, i) =>
    forwarder.addr === undefined && forwarder.domain === undefined
      ? [{ path: `dns.forwarder[${i}]`, message: 'has neither addr nor domain' }]
      : [],
  );
}

/** An address or a name that stands in two entries would be decided by chance. */
function repeatedRecords(dns: Dns): Problem[] {
  const problems: Problem[] = [];
  const addresses = new Set<string>();
  for (const [i, host] of dns.hosts.entries()) {
    if (addresses.has(host.ip))
      problems.push({ path: `dns.host[${i}].ip`, message: `${host.ip} has an entry already` });
    addresses.add(host.ip);
  }
  return problems;
}

/** RFC 2782: a target, or nothing that only goes with one. */
function srvProblems(srv: DnsSrv, path: string): Problem[] {
  if (srv.target !== undefined) return [];
  return (['port', 'priority', 'weight'] as const)
    .filter((key) => srv[key] !== undefined)
    .map((key) => ({ path: `${path}.${key}`, message: 'needs a target' }));
}

function disabledProblems(dns: Dns): Problem[] {
  return (['forwarders', 'txt', 'srv', 'hosts'] as const)
    .filter((key) => dns[key].length > 0)
    .map((key) => ({ path: `dns.${key.replace(/s$/, '')}`, message: 'means nothing when DNS is off' }));
}
