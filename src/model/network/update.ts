/**
 * Changing one part of a network: libvirt's virNetworkUpdate. Pure: a definition and an update in, a definition out.
 * What each section takes is one row of a table.
 */
import { VirtError } from '../../base/errors.ts';
import { contains, parseIp } from '../../base/ip.ts';
import { type ElementCodec, readDocument } from '../../base/xml/codec.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { familyOf, subnetOfIp } from './addresses.ts';
import { type DnsHost, type DnsSrv, type DnsTxt, dnsCodecs, dnsMatchers } from './dns.ts';
import { forwardInterfaceCodec } from './forward.ts';
import { type Dhcp, type DhcpHost, type DhcpRange, dhcpCodecs } from './ip.ts';
import type { NetworkDef } from './network.ts';
import { type Portgroup, portgroupCodec } from './portgroup.ts';

/** libvirt's virNetworkUpdateSection (include/libvirt/libvirt-network.h), without those it refuses itself. */
export const updateSections = [
  'ip-dhcp-host',
  'ip-dhcp-range',
  'forward-interface',
  'portgroup',
  'dns-host',
  'dns-txt',
  'dns-srv',
] as const;
export type UpdateSection = (typeof updateSections)[number];

export const updateCommands = ['add-last', 'add-first', 'modify', 'delete'] as const;
export type UpdateCommand = (typeof updateCommands)[number];

export interface NetworkUpdate {
  readonly section: UpdateSection;
  readonly command: UpdateCommand;
  /** Which `<ip>` a DHCP section is of; without it the one whose subnet fits. */
  readonly parentIndex?: number | undefined;
  /** The element: `<host mac='…' ip='…'/>`. */
  readonly xml: string;
}

/** As much of an entry as somebody told. */
type Told<T> = { readonly [K in keyof T]?: T[K] | undefined };
type Reads<T> = Pick<ElementCodec<T>, 'read'>;

/** One list of the definition, and how its entries are told apart. */
interface Section<T> {
  /** Name of the element. */
  readonly element: string;
  readonly codec: ElementCodec<T>;
  /** Reads an entry to be deleted, of which only a part may be told. */
  readonly matcher: Reads<Told<T>>;
  /** Why an entry can't be added beside another; undefined when it can. */
  readonly clash: (old: T, added: T) => string | undefined;
  /** The entry that `modify` replaces; sections without it can't be modified. */
  readonly isSame?: (old: T, wanted: T) => boolean;
  readonly isMeant: (old: T, wanted: Told<T>) => boolean;
  readonly get: (definition: NetworkDef, place: Place) => readonly T[];
  readonly set: (definition: NetworkDef, place: Place, list: T[]) => NetworkDef;
}

/** Where in the definition: the index of the `<ip>`, for the DHCP sections. */
interface Place {
  readonly ip: number;
}

const given = <T>(wanted: T | undefined, old: T | undefined): boolean =>
  wanted === undefined || wanted === old;

/** Entries are the same when every field that is told is equal; none told means none. */
function matchesFields<T extends object>(old: T, wanted: Told<T>, keys: readonly (keyof T)[]): boolean {
  const told = keys.filter((key) => wanted[key] !== undefined);
  return told.length > 0 && told.every((key) => wanted[key] === old[key]);
}

/** Fields that may not be given to two entries. */
function clashOf<T extends object>(
  old: T,
  added: T,
  keys: readonly (keyof T & string)[],
): string | undefined {
  const key = keys.find((one) => added[one] !== undefined && added[one] === old[one]);
  return key === undefined ? undefined : `there is an entry with ${key} '${String(added[key])}' already`;
}

function setDhcp(definition: NetworkDef, place: Place, change: (dhcp: Dhcp) => Dhcp): NetworkDef {
  const ips = definition.ips.map((ip, index) =>
    index === place.ip ? { ...ip, dhcp: change(ip.dhcp ?? { ranges: [], hosts: [] }) } : ip,
  );
  return { ...definition, ips };
}

const emptyDns = { forwarders: [], txt: [], srv: [], hosts: [] };

const dhcpHost: Section<DhcpHost> = {
  element: 'host',
  codec: dhcpCodecs.host,
  matcher: dhcpCodecs.host,
  clash: (old, added) => clashOf(old, added, ['mac', 'id', 'name', 'ip']),
  isSame: (old, wanted) =>
    wanted.mac !== undefined || wanted.id !== undefined
      ? given(wanted.mac, old.mac) && given(wanted.id, old.id)
      : wanted.name !== undefined && wanted.name === old.name,
  isMeant: (old, wanted) => matchesFields(old, wanted, ['mac', 'id', 'name', 'ip']),
  get: (definition, { ip }) => definition.ips[ip]?.dhcp?.hosts ?? [],
  set: (definition, place, hosts) => setDhcp(definition, place, (dhcp) => ({ ...dhcp, hosts })),
};

const dhcpRange: Section<DhcpRange> = {
  element: 'range',
  codec: dhcpCodecs.range,
  matcher: dhcpCodecs.range,
  clash: (old, added) =>
    old.start === added.start && old.end === added.end
      ? `there is a range from ${added.start} to ${added.end} already`
      : undefined,
  isMeant: (old, wanted) => wanted.start === old.start && wanted.end === old.end,
  get: (definition, { ip }) => definition.ips[ip]?.dhcp?.ranges ?? [],
  set: (definition, place, ranges) => setDhcp(definition, place, (dhcp) => ({ ...dhcp, ranges })),
};

type ForwardInterface = NonNullable<NetworkDef['forward']>['interfaces'][number];

const forwardInterface: Section<ForwardInterface> = {
  element: 'interface',
  codec: forwardInterfaceCodec,
  matcher: forwardInterfaceCodec,
  clash: (old, added) => clashOf(old, added, ['dev']),
  isMeant: (old, wanted) => wanted.dev === old.dev,
  get: (definition) => definition.forward?.interfaces ?? [],
  set(definition, _place, interfaces) {
    if (definition.forward === undefined) return definition;
    const { dev: _old, ...forward } = definition.forward;
    const dev = interfaces[0]?.dev;
    return { ...definition, forward: { ...forward, interfaces, ...(dev !== undefined && { dev }) } };
  },
};

const portgroup: Section<Portgroup> = {
  element: 'portgroup',
  codec: portgroupCodec,
  matcher: portgroupCodec,
  clash: (old, added) =>
    clashOf(old, added, ['name']) ??
    (old.default === true && added.default === true ? `'${old.name}' is the default already` : undefined),
  isSame: (old, wanted) => wanted.name === old.name,
  isMeant: (old, wanted) => wanted.name === old.name,
  get: (definition) => definition.portgroups,
  set: (definition, _place, portgroups) => ({ ...definition, portgroups }),
};

const dnsHost: Section<DnsHost> = {
  element: 'host',
  codec: dnsCodecs.host,
  matcher: dnsMatchers.host,
  clash: (old, added) => clashOf(old, added, ['ip']),
  isMeant: (old, { ip, names = [] }) =>
    (ip !== undefined || names.length > 0) &&
    given(ip, old.ip) &&
    names.every((name) => old.names.includes(name)),
  get: (definition) => definition.dns?.hosts ?? [],
  set: (definition, _place, hosts) => ({ ...definition, dns: { ...emptyDns, ...definition.dns, hosts } }),
};

const dnsTxt: Section<DnsTxt> = {
  element: 'txt',
  codec: dnsCodecs.txt,
  matcher: dnsMatchers.txt,
  clash: (old, added) =>
    old.name === added.name && old.value === added.value
      ? `'${added.name}' has that value already`
      : undefined,
  isMeant: (old, wanted) => matchesFields(old, wanted, ['name', 'value']),
  get: (definition) => definition.dns?.txt ?? [],
  set: (definition, _place, txt) => ({ ...definition, dns: { ...emptyDns, ...definition.dns, txt } }),
};

const srvKeys = ['service', 'protocol', 'domain', 'target', 'port', 'priority', 'weight'] as const;
const dnsSrv: Section<DnsSrv> = {
  element: 'srv',
  codec: dnsCodecs.srv,
  matcher: dnsMatchers.srv,
  clash: (old, added) =>
    srvKeys.every((key) => old[key] === added[key]) ? 'there is such a record already' : undefined,
  isMeant: (old, wanted) => matchesFields(old, wanted, srvKeys),
  get: (definition) => definition.dns?.srv ?? [],
  set: (definition, _place, srv) => ({ ...definition, dns: { ...emptyDns, ...definition.dns, srv } }),
};

/**
 * The definition with the update in it; what the result breaks is for `validateNetwork` to say.
 * @throws VirtError xml.*, request.unsupported, operation.failed when the entry is not there, or is there already
 */
export function updateNetwork(definition: NetworkDef, update: NetworkUpdate): NetworkDef {
  switch (update.section) {
    case 'ip-dhcp-host':
      return apply(dhcpHost, definition, update);
    case 'ip-dhcp-range':
      return apply(dhcpRange, definition, update);
    case 'forward-interface':
      return apply(forwardInterface, definition, update);
    case 'portgroup':
      return apply(portgroup, definition, update);
    case 'dns-host':
      return apply(dnsHost, definition, update);
    case 'dns-txt':
      return apply(dnsTxt, definition, update);
    case 'dns-srv':
      return apply(dnsSrv, definition, update);
  }
}

function apply<T extends object>(
  section: Section<T>,
  definition: NetworkDef,
  update: NetworkUpdate,
): NetworkDef {
  const wanted = `${update.command} <${section.element}> (${update.section}) of network '${definition.name}'`;
  if (update.command === 'delete') {
    const meant = readEntry(section.matcher, section.element, update.xml, wanted);
    const place = placeOf(definition, update, meant, wanted);
    const list = section.get(definition, place);
    const index = onlyMatch(list, (old) => section.isMeant(old, meant), wanted);
    return section.set(
      definition,
      place,
      list.filter((_, i) => i !== index),
    );
  }
  const entry = readEntry(section.codec, section.element, update.xml, wanted);
  const place = placeOf(definition, update, entry, wanted);
  if (update.section === 'forward-interface' && definition.forward === undefined)
    throw new VirtError('operation.failed', { wanted, reason: 'the network forwards nothing' });
  const list = section.get(definition, place);
  const changed =
    update.command === 'modify'
      ? modified(section, list, entry, wanted)
      : added(section, list, entry, update, wanted);
  return section.set(definition, place, changed);
}

function readEntry<T>(codec: Reads<T>, element: string, xml: string, wanted: string): T {
  return readDocument(codec, parseXml(xml), element, { mode: 'strict', what: `element to ${wanted}` }).value;
}

function modified<T>(section: Section<T>, list: readonly T[], entry: T, wanted: string): T[] {
  const { isSame } = section;
  if (isSame === undefined)
    throw new VirtError('request.unsupported', {
      wanted,
      reason: 'such an entry has nothing to know it by but itself',
      hint: "use 'delete' and then 'add-last'",
    });
  const index = onlyMatch(list, (old) => isSame(old, entry), wanted);
  refuseClash(section, list.toSpliced(index, 1), entry, wanted);
  return list.with(index, entry);
}

function added<T>(
  section: Section<T>,
  list: readonly T[],
  entry: T,
  { command }: NetworkUpdate,
  wanted: string,
): T[] {
  refuseClash(section, list, entry, wanted);
  return command === 'add-first' ? [entry, ...list] : [...list, entry];
}

function refuseClash<T>(section: Section<T>, list: readonly T[], entry: T, wanted: string): void {
  for (const old of list) {
    const reason = section.clash(old, entry);
    if (reason !== undefined) throw new VirtError('operation.failed', { wanted, reason });
  }
}

function onlyMatch<T>(list: readonly T[], isMeant: (old: T) => boolean, wanted: string): number {
  const found = list.flatMap((old, index) => (isMeant(old) ? [index] : []));
  const [index] = found;
  if (index === undefined)
    throw new VirtError('operation.failed', { wanted, reason: 'there is no such entry' });
  if (found.length > 1)
    throw new VirtError('operation.failed', {
      wanted,
      reason: `${found.length} entries fit`,
      hint: 'tell more of the one that is meant',
    });
  return index;
}

/** Which `<ip>` an entry belongs to: the one named, the one whose subnet it is in, or the first that serves DHCP. */
function placeOf(definition: NetworkDef, update: NetworkUpdate, entry: object, wanted: string): Place {
  if (!update.section.startsWith('ip-')) return { ip: 0 };
  const { ips } = definition;
  const { parentIndex } = update;
  if (parentIndex !== undefined) {
    if (ips[parentIndex] === undefined)
      throw new VirtError('request.invalid', {
        wanted,
        reason: `there is no <ip> with index ${parentIndex}`,
      });
    return { ip: parentIndex };
  }
  const text = 'start' in entry ? entry.start : 'ip' in entry ? entry.ip : undefined;
  const address = typeof text === 'string' ? parseIp(text) : undefined;
  const fitting = ips.findIndex((ip) => {
    const subnet = subnetOfIp(ip);
    return address !== undefined && subnet !== undefined && contains(subnet, address);
  });
  if (fitting !== -1) return { ip: fitting };
  const family = address?.family ?? ('id' in entry && entry.id !== undefined ? 6 : 4);
  const serving = ips.findIndex((ip) => ip.dhcp !== undefined && familyOf(ip.address ?? '') === family);
  if (serving !== -1) return { ip: serving };
  throw new VirtError('operation.failed', { wanted, reason: `the network has no DHCP for IPv${family}` });
}
