/**
 * dnsmasq's lease file (lease_update_file() in its lease.c), and the JSON that libvirt's name service module and other
 * tools read beside it. Everything a guest can choose in it, its name and its id above all, is taken as noise until
 * checked.
 */
import { oneLine } from '../../base/errors.ts';
import { parseIp } from '../../base/ip.ts';
import type { Lease, NetworkPlan } from '../plan.ts';
import { prefixFor } from './config.ts';

/** More than any lease file of a sane network; what is beyond it is not read. */
export const MAX_LEASE_FILE_BYTES = 16 * 1024 * 1024;

interface LeaseFile {
  readonly leases: readonly Lease[];
  /** Our server's DUID, once there is IPv6. */
  readonly serverDuid: string | undefined;
}

/**
 * Reads a lease file. Lines that are no lease are left out: the file may be read in the middle of being written.
 * IPv4: `expiry mac address name client-id`; after a `duid` line IPv6: `expiry iaid address name duid`; `*` is unknown.
 */
export function parseLeases(text: string, plan: NetworkPlan): LeaseFile {
  const leases: Lease[] = [];
  let serverDuid: string | undefined;
  for (const line of text.split('\n')) {
    const words = line.split(' ');
    if (words[0] === 'duid') serverDuid = words[1];
    else {
      const lease = parseLease(words, plan);
      if (lease) leases.push(lease);
    }
  }
  return { leases, serverDuid };
}

function parseLease(words: readonly string[], plan: NetworkPlan): Lease | undefined {
  const [expiry, second, text, name, id] = words;
  const address = parseIp(text ?? '');
  if (expiry === undefined || second === undefined || address === undefined || words.length < 4)
    return undefined;
  if (!/^\d{1,15}$/.test(expiry)) return undefined;
  const known = (word: string | undefined) =>
    word === undefined || word === '*' || word === '' ? undefined : oneLine(word, 255);
  const isFour = address.family === 4;
  const optional = {
    mac: isFour ? macOf(second) : undefined,
    iaid: isFour ? undefined : known(second),
    clientId: known(id),
    hostName: known(name),
    expiresAt: expiry === '0' ? undefined : Number(expiry),
  };
  const present = Object.entries(optional).filter(([, value]) => value !== undefined);
  return {
    family: address.family,
    address: text ?? '',
    prefix: prefixFor(plan, address),
    ...(Object.fromEntries(present) as Partial<Lease>),
  };
}

/** dnsmasq puts `06-` in front for a hardware type other than Ethernet. */
function macOf(word: string): string | undefined {
  const mac = word.replace(/^[0-9a-f]{2}-/i, '').toLowerCase();
  return /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) ? mac : undefined;
}

/** The leases still valid at `now`, in milliseconds since 1970. */
export function validLeases(leases: readonly Lease[], now: number): Lease[] {
  return leases.filter(({ expiresAt }) => expiresAt === undefined || expiresAt * 1000 > now);
}

/** libvirt's BRIDGE.status: what libnss_libvirt looks names up in. */
export function formatLeaseStatus({ leases, serverDuid }: LeaseFile): string {
  const rows = leases.map((lease) => ({
    ...(lease.iaid && { iaid: lease.iaid }),
    'ip-address': lease.address,
    ...(lease.mac && { 'mac-address': lease.mac }),
    ...(lease.hostName && { hostname: lease.hostName }),
    ...(lease.clientId && { [lease.family === 4 ? 'client-id' : 'client-duid']: lease.clientId }),
    ...(lease.family === 6 && serverDuid && { 'server-duid': serverDuid }),
    'expiry-time': lease.expiresAt ?? 0,
  }));
  return `${JSON.stringify(rows, undefined, 2)}\n`;
}

/** libvirt's BRIDGE.macs: by it libnss_libvirt_guest finds a domain's leases. */
export function formatGuestMacs(guests: NetworkPlan['guests']): string {
  return `${JSON.stringify(guests, undefined, 2)}\n`;
}

/** What became of one lease between two readings. */
export interface LeaseChange {
  readonly action: 'added' | 'renewed' | 'removed';
  readonly lease: Lease;
}

/** Names a lease: an address that goes to another guest is another lease. */
export function leaseKey({ address, mac, clientId, iaid }: Lease): string {
  return `${address} ${mac ?? `${clientId ?? ''} ${iaid ?? ''}`}`;
}

/**
 * What changed from one reading to the next. dnsmasq writes a new expiry at each renewal; a guest that tells another
 * name counts as one, too.
 */
export function diffLeases(before: readonly Lease[], after: readonly Lease[]): LeaseChange[] {
  const old = new Map(before.map((lease) => [leaseKey(lease), lease]));
  const changes: LeaseChange[] = [];
  for (const lease of after) {
    const known = old.get(leaseKey(lease));
    old.delete(leaseKey(lease));
    if (known === undefined) changes.push({ action: 'added', lease });
    else if (known.expiresAt !== lease.expiresAt || known.hostName !== lease.hostName)
      changes.push({ action: 'renewed', lease });
  }
  return [...[...old.values()].map((lease): LeaseChange => ({ action: 'removed', lease })), ...changes];
}
