/**
 * The addresses of running guests, put together from everybody who knows one: the network's DHCP server, the guest's
 * own agent, the host's neighbour table, and QEMU's user network. Each address says who told it; none is vouched for,
 * since a guest can claim what it likes. No job is needed: a guest that is busy or hangs is asked all the same.
 */
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import { formatIp, parseIp } from '../../base/ip.ts';
import type { Logger } from '../../base/log.ts';
import type { AgentInterface, LiveGuest } from '../../drivers/driver.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import type { Lease } from '../../net/plan.ts';
import { assumedAddresses } from './assumed-addresses.ts';
import type { Domain } from './domain.ts';

/** Who told an address: a DHCP lease, the guest agent, the neighbour table, QEMU's list of user-mode connections. */
export const addressSources = ['lease', 'agent', 'arp', 'user'] as const;
export type AddressSource = (typeof addressSources)[number];
/** Those that the guest is not asked for. */
export const hostSideSources = ['lease', 'arp', 'user'] as const satisfies readonly AddressSource[];

/** What stands with an address: who told it, or that nobody did and it is likely. */
export type ToldBy = AddressSource | 'assumed';

export interface GuestAddress {
  readonly family: 4 | 6;
  readonly address: string;
  /** Undefined where the source doesn't tell it (the neighbour table). */
  readonly prefix: number | undefined;
  readonly sources: readonly ToldBy[];
  /** The name the guest gave to DHCP. */
  readonly hostName: string | undefined;
  /** Told or seen since the guest was started; false for what may be left of an earlier run. */
  readonly isConfirmed: boolean;
}

export interface GuestInterface {
  readonly alias: string | undefined;
  /** Name of the device on the host. */
  readonly hostDevice: string | undefined;
  /** Its name inside the guest, as the agent tells it. */
  readonly guestName: string | undefined;
  readonly mac: string | undefined;
  /** Virtual network it is on. */
  readonly network: string | undefined;
  /** IPv4 first, link-local addresses last. */
  readonly addresses: readonly GuestAddress[];
}

/** Addresses, and why a source could tell none. */
export interface FoundAddresses {
  readonly interfaces: readonly GuestInterface[];
  readonly silent: readonly { readonly source: AddressSource; readonly reason: string }[];
}

/** A lease, with when it was last given or renewed as far as this daemon has seen it. */
export type DatedLease = Lease & { readonly changedAtMs?: number | undefined };

interface SeenNeighbour {
  readonly family: 4 | 6;
  readonly address: string;
  readonly mac: string;
  readonly confirmedAgoMs: number | undefined;
}

/** What is known about the host's side; wired in the daemon. */
export interface AddressKnowledge {
  /** Leases of a virtual network by its name; none when it is not active, or there are no networks (session). */
  leases(network: string): Promise<readonly DatedLease[]>;
  /** The host's neighbour table. */
  neighbours(): readonly SeenNeighbour[];
  readonly log: Logger;
}

/** One statement: this source says that interface has that address. */
interface Statement extends Omit<GuestAddress, 'sources'> {
  readonly source: ToldBy;
  readonly alias?: string | undefined;
  readonly mac?: string | undefined;
  readonly guestName?: string | undefined;
}

interface Answer {
  readonly statements: readonly Statement[];
  readonly silent?: string;
}

export class GuestAddresses {
  private readonly knowledge: AddressKnowledge;

  constructor(knowledge: AddressKnowledge) {
    this.knowledge = knowledge;
  }

  /**
   * All that these sources tell of a running guest. A source that fails is named with its reason; asking the agent
   * takes up to some seconds when it hangs, the others answer at once.
   * @throws VirtError domain.inactive; with a single source, what that one throws
   */
  async find(domain: Domain, sources: readonly AddressSource[] = addressSources): Promise<FoundAddresses> {
    const { guest } = domain.requireLive('tell the addresses of');
    const nics = guest.definition.devices.interfaces;
    const answers = await Promise.all(
      sources.map(async (source) => ({ source, ...(await this.ask(source, guest, sources.length === 1)) })),
    );
    return {
      interfaces: merge(
        nics,
        answers.flatMap(({ statements }) => statements),
      ),
      silent: answers.flatMap(({ source, silent }) =>
        silent === undefined ? [] : [{ source, reason: silent }],
      ),
    };
  }

  /**
   * As `find` by all sources, and where none of them knows an address of a card on QEMU's user network, the one that it most
   * likely has, marked as assumed and not confirmed. @throws VirtError as find
   */
  async findOrAssume(domain: Domain, sources: readonly AddressSource[]): Promise<FoundAddresses> {
    const found = await this.find(domain, sources);
    const { guest } = domain.requireLive('tell the addresses of');
    const likely = assumedAddresses(guest.definition.devices.interfaces);
    const interfaces = found.interfaces.map((nic) => {
      const one = likely.find(({ alias }) => alias === nic.alias);
      if (nic.addresses.length > 0 || one === undefined) return nic;
      const { address, prefix } = one;
      const assumed = { family: 4 as const, address, prefix, sources: ['assumed' as const] };
      return { ...nic, addresses: [{ ...assumed, hostName: undefined, isConfirmed: false }] };
    });
    return { ...found, interfaces };
  }

  private async ask(source: AddressSource, guest: LiveGuest, isOnly: boolean): Promise<Answer> {
    try {
      return { statements: await this.askOne(source, guest) };
    } catch (error) {
      if (isOnly) throw error;
      // A guest without an agent is the rule, not news.
      if (!isVirtError(error)) this.knowledge.log.warn({ err: error, source }, 'no addresses were told');
      return { statements: [], silent: reasonOf(error) };
    }
  }

  private async askOne(source: AddressSource, guest: LiveGuest): Promise<Statement[]> {
    const nics = guest.definition.devices.interfaces;
    switch (source) {
      case 'lease':
        return this.leased(nics, guest.record.startedAtMs);
      case 'agent':
        return (await guest.agentInterfaces()).flatMap(agentStatements);
      case 'arp':
        return this.seen(nics, guest.record.startedAtMs);
      case 'user':
        return (await guest.userNetworkAddresses()).map(({ alias, address }) => ({
          source,
          alias,
          ...canonical(address),
          prefix: nics.find((nic) => nic.alias === alias)?.ips[0]?.prefix ?? 24,
          hostName: undefined,
          isConfirmed: true,
        }));
    }
  }

  private async leased(nics: readonly Interface[], startedAtMs: number): Promise<Statement[]> {
    const macs = macsOf(nics);
    const names = new Set(nics.flatMap(({ source }) => (source.type === 'network' ? [source.network] : [])));
    const leases = await Promise.all([...names].map((name) => this.knowledge.leases(name)));
    return leases.flat().flatMap((lease) => {
      const mac = lease.mac ?? macOfDuid(lease.clientId);
      if (mac === undefined || !macs.has(mac)) return [];
      const { prefix, hostName, changedAtMs = 0 } = lease;
      const isConfirmed = changedAtMs >= startedAtMs;
      return [{ source: 'lease' as const, mac, ...canonical(lease.address), prefix, hostName, isConfirmed }];
    });
  }

  private seen(nics: readonly Interface[], startedAtMs: number): Statement[] {
    const macs = macsOf(nics);
    if (macs.size === 0) return [];
    return this.knowledge
      .neighbours()
      .filter(({ mac }) => macs.has(mac))
      .map(({ mac, family, address, confirmedAgoMs = Number.POSITIVE_INFINITY }) => ({
        source: 'arp' as const,
        mac,
        family,
        address,
        prefix: undefined,
        hostName: undefined,
        isConfirmed: Date.now() - confirmedAgoMs >= startedAtMs,
      }));
  }
}

function macsOf(nics: readonly Interface[]): ReadonlySet<string> {
  return new Set(nics.flatMap((nic) => (nic.mac === undefined ? [] : [nic.mac.address.toLowerCase()])));
}

/**
 * The MAC address in a DUID-LLT or DUID-LL of Ethernet (RFC 8415, 11.2 and 11.4), which is all a DHCPv6 lease says of
 * its guest; the guest may have made it up, or brought it along from another machine.
 */
function macOfDuid(duid: string | undefined): string | undefined {
  return /^00:0(?:1:00:01(?::[0-9a-f]{2}){4}|3:00:01):((?:[0-9a-f]{2}:){5}[0-9a-f]{2})$/i
    .exec(duid ?? '')?.[1]
    ?.toLowerCase();
}

function agentStatements({ name, mac, addresses }: AgentInterface): Statement[] {
  return addresses.map((one) => ({
    source: 'agent' as const,
    guestName: name,
    mac,
    ...one,
    hostName: undefined,
    isConfirmed: true,
  }));
}

/** @throws Error for a text that is no address: those who told it have checked it */
function canonical(text: string): { readonly family: 4 | 6; readonly address: string } {
  const ip = parseIp(text);
  if (ip === undefined) throw new VirtError('internal.error', { reason: `'${text}' is no address` });
  return { family: ip.family, address: formatIp(ip) };
}

interface Collected {
  alias?: string | undefined;
  hostDevice?: string | undefined;
  guestName?: string | undefined;
  mac?: string | undefined;
  network?: string | undefined;
  readonly addresses: Map<string, GuestAddress>;
}

/**
 * Interfaces of the definition in their order, then those that only the guest knows of (bridges, tunnels); loopback is
 * nobody's address. Pure.
 */
function merge(nics: readonly Interface[], statements: readonly Statement[]): GuestInterface[] {
  const known = nics.map((nic): Collected => ({ ...partsOf(nic), addresses: new Map() }));
  const inside = new Map<string, Collected>();
  for (const statement of statements) {
    if (isLoopback(statement.address)) continue;
    const target = known.find((one) => belongsTo(statement, one)) ?? insideOne(inside, statement);
    target.guestName ??= statement.guestName;
    const before = target.addresses.get(statement.address);
    target.addresses.set(statement.address, {
      family: statement.family,
      address: statement.address,
      prefix: before?.prefix ?? statement.prefix,
      sources: [...new Set([...(before?.sources ?? []), statement.source])],
      hostName: before?.hostName ?? statement.hostName,
      isConfirmed: (before?.isConfirmed ?? false) || statement.isConfirmed,
    });
  }
  return [...known, ...inside.values()].map(finished);
}

function partsOf({ alias, target, mac, source }: Interface): Omit<Collected, 'addresses'> {
  return {
    alias,
    hostDevice: target?.dev,
    mac: mac?.address.toLowerCase(),
    network: source.type === 'network' ? source.network : undefined,
  };
}

function belongsTo({ alias, mac }: Statement, one: Collected): boolean {
  return alias === undefined ? mac !== undefined && one.mac === mac : one.alias === alias;
}

function insideOne(inside: Map<string, Collected>, { guestName, mac }: Statement): Collected {
  const key = guestName ?? mac ?? '';
  const found = inside.get(key) ?? { guestName, mac, addresses: new Map<string, GuestAddress>() };
  inside.set(key, found);
  return found;
}

function finished(one: Collected): GuestInterface {
  const { alias, hostDevice, guestName, mac, network } = one;
  const addresses = [...one.addresses.values()].sort(
    (a, b) =>
      Number(isLinkLocal(a.address)) - Number(isLinkLocal(b.address)) ||
      a.family - b.family ||
      (a.address < b.address ? -1 : 1),
  );
  return { alias, hostDevice, guestName, mac, network, addresses };
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}

/** Addresses that every interface gives itself; they say nothing about a network being there. */
export function isLinkLocal(address: string): boolean {
  return /^fe[89ab]/i.test(address) || address.startsWith('169.254.');
}
