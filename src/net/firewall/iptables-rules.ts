/**
 * Rules as iptables-save(8) prints them, and the one transaction for iptables-restore(8) that brings a host from what
 * is there to what should be. Chain names and rule order are libvirt's: hosts' own scripts know them. Pure.
 */
import type { Family } from '../plan.ts';
import type { FirewallRule, PortRange, RuleAction, RuleChain, RuleMatch } from './ruleset.ts';

type Table = 'filter' | 'nat' | 'mangle' | 'raw';

interface ChainPlace {
  readonly table: Table;
  readonly name: string;
  /** The built-in chain that jumps to it. */
  readonly from: string;
}

/** In the order of libvirt's jumps: in FORWARD first between guests, then to guests, then from guests. */
const places: Readonly<Record<RuleChain, ChainPlace>> = {
  input: { table: 'filter', name: 'LIBVIRT_INP', from: 'INPUT' },
  output: { table: 'filter', name: 'LIBVIRT_OUT', from: 'OUTPUT' },
  cross: { table: 'filter', name: 'LIBVIRT_FWX', from: 'FORWARD' },
  guestInput: { table: 'filter', name: 'LIBVIRT_FWI', from: 'FORWARD' },
  guestOutput: { table: 'filter', name: 'LIBVIRT_FWO', from: 'FORWARD' },
  sourceNat: { table: 'nat', name: 'LIBVIRT_PRT', from: 'POSTROUTING' },
  repair: { table: 'mangle', name: 'LIBVIRT_PRT', from: 'POSTROUTING' },
  forwardIn: { table: 'nat', name: 'VIREO_PRE', from: 'PREROUTING' },
  forwardLocal: { table: 'nat', name: 'VIREO_OUT', from: 'OUTPUT' },
  guard: { table: 'raw', name: 'VIREO_PRE', from: 'PREROUTING' },
};

const allPlaces: readonly ChainPlace[] = Object.values(places);

/**
 * A chain without rules in the filter table: it says that libvirt's chains are of our making. Without it another manager
 * made them, which relies on them, and they stay.
 */
const makerMark = 'VIREO_MADE';

const isOfLibvirt = (name: string): boolean => name.startsWith('LIBVIRT_');

/** What is there: by table the chains, and the rules as they were printed (`LIBVIRT_INP -i virbr0 ...`). */
export type IptablesState = ReadonlyMap<string, TableState>;

interface TableState {
  readonly chains: ReadonlySet<string>;
  readonly rules: readonly string[];
}

/** Reads iptables-save's output. */
export function parseIptablesSave(text: string): IptablesState {
  const tables = new Map<string, { chains: Set<string>; rules: string[] }>();
  let current: { chains: Set<string>; rules: string[] } | undefined;
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      current = { chains: new Set(), rules: [] };
      tables.set(line.slice(1), current);
    } else if (line.startsWith(':')) current?.chains.add(line.slice(1).split(' ', 1)[0] ?? '');
    else if (line.startsWith('-A ')) current?.rules.push(line.slice(3));
  }
  return tables;
}

/** A rule in the table it belongs to: `LIBVIRT_INP -i virbr0 -p udp -m udp --dport 53 -j ACCEPT`. */
interface PlacedRule {
  readonly table: Table;
  readonly chain: string;
  readonly text: string;
}

export function formatIptablesRule(rule: FirewallRule): PlacedRule {
  const { table, name } = places[rule.chain];
  const words = [name, ...matchWords(rule.match), ...actionWords(rule.action, rule.family)];
  return { table, chain: name, text: words.join(' ') };
}

/** In the order iptables-save prints them, so that texts can be compared. */
function matchWords(match: RuleMatch): string[] {
  const words: string[] = [];
  if (match.source !== undefined) words.push('-s', match.source);
  if (match.destination !== undefined) words.push('-d', match.destination);
  if (match.notDestination !== undefined) words.push('!', '-d', match.notDestination);
  if (match.inInterface !== undefined) words.push('-i', match.inInterface);
  if (match.outInterface !== undefined) words.push('-o', match.outInterface);
  if (match.protocol !== undefined) words.push('-p', match.protocol);
  if (match.isToHost) words.push('-m', 'addrtype', '--dst-type', 'LOCAL');
  if (match.connection === 'answers') words.push('-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED');
  if (match.connection === 'redirected') words.push('-m', 'conntrack', '--ctstate', 'DNAT');
  if (match.destinationPorts && match.protocol)
    words.push('-m', match.protocol, '--dport', formatPorts(match.destinationPorts, ':'));
  return words;
}

function formatPorts({ first, last }: PortRange, divider: string): string {
  return first === last ? String(first) : `${first}${divider}${last}`;
}

function actionWords(action: RuleAction, family: Family): string[] {
  switch (action.kind) {
    case 'accept':
    case 'drop':
    case 'return':
      return ['-j', action.kind.toUpperCase()];
    case 'reject':
      return [
        '-j',
        'REJECT',
        '--reject-with',
        family === 4 ? 'icmp-port-unreachable' : 'icmp6-port-unreachable',
      ];
    case 'fill-checksum':
      return ['-j', 'CHECKSUM', '--checksum-fill'];
    case 'masquerade':
      return ['-j', 'MASQUERADE', ...(action.ports ? ['--to-ports', formatPorts(action.ports, '-')] : [])];
    case 'source-nat': {
      const { first, last, ports } = action;
      const bracket = (address: string) => (family === 6 && ports ? `[${address}]` : address);
      const range = first === last ? bracket(first) : `${bracket(first)}-${bracket(last)}`;
      return ['-j', 'SNAT', '--to-source', ports ? `${range}:${formatPorts(ports, '-')}` : range];
    }
    case 'redirect': {
      const { address, port } = action;
      const host = family === 6 && port !== undefined ? `[${address}]` : address;
      return ['-j', 'DNAT', '--to-destination', port === undefined ? host : `${host}:${port}`];
    }
  }
}

/** The change of one network: its rules as they should be, and those it had under an earlier plan. */
export interface IptablesChange {
  readonly wanted: readonly FirewallRule[];
  readonly stale: readonly FirewallRule[];
  /** Take the chains away when nothing is left in any of them. */
  readonly isTidying: boolean;
}

/**
 * The input for `iptables-restore --noflush`, or undefined when all is as it should be. Only lines for rules that differ
 * are in it, so rules of others, and of other networks, are never touched.
 */
export function iptablesTransaction(state: IptablesState, change: IptablesChange): string | undefined {
  const wanted = change.wanted.map(formatIptablesRule);
  const stale = change.stale.map(formatIptablesRule);
  const isLast = change.isTidying && wanted.length === 0 && isAllEmptyWithout(state, stale);
  const tables = [...new Set(allPlaces.map(({ table }) => table))];
  const parts = tables.flatMap((table) => {
    const here = (rule: PlacedRule) => rule.table === table;
    const lines = isLast
      ? removalLines(state, table, stale.filter(here))
      : tableLines(state, table, wanted.filter(here), stale.filter(here));
    return lines.length === 0 ? [] : [`*${table}`, ...lines, 'COMMIT'];
  });
  return parts.length === 0 ? undefined : `${parts.join('\n')}\n`;
}

function tableLines(
  state: IptablesState,
  table: Table,
  wanted: readonly PlacedRule[],
  stale: readonly PlacedRule[],
): string[] {
  const present = state.get(table);
  const chains = allPlaces.filter((place) => place.table === table && isNeeded(place, wanted));
  const declared = chains
    .filter(({ name }) => present?.chains.has(name) !== true)
    .map(({ name }) => `:${name} - [0:0]`);
  if (table === 'filter' && declared.some((line) => isOfLibvirt(line.slice(1))))
    declared.unshift(`:${makerMark} - [0:0]`);
  return [...declared, ...jumpLines(present, chains), ...ruleLines(present, wanted, stale)];
}

/** libvirt's own chains are there as long as a network is; ours only where a rule needs them. */
function isNeeded({ name }: ChainPlace, wanted: readonly PlacedRule[]): boolean {
  return wanted.some(({ chain }) => isOfLibvirt(name) || chain === name);
}

/** Each insertion goes to the head, so they are made last to first. */
function jumpLines(present: TableState | undefined, chains: readonly ChainPlace[]): string[] {
  return chains
    .filter(({ name, from }) => present?.rules.includes(`${from} -j ${name}`) !== true)
    .toReversed()
    .map(({ name, from }) => `-I ${from} -j ${name}`);
}

function ruleLines(
  present: TableState | undefined,
  wanted: readonly PlacedRule[],
  stale: readonly PlacedRule[],
): string[] {
  const ours = new Set([...wanted, ...stale].map(({ text }) => text));
  const chains = new Set([...wanted, ...stale].map(({ chain }) => chain));
  return [...chains].flatMap((chain) => {
    const should = wanted.filter((rule) => rule.chain === chain).map(({ text }) => text);
    const are = (present?.rules ?? []).filter((text) => ours.has(text) && text.startsWith(`${chain} `));
    if (should.join('\n') === are.join('\n')) return [];
    // The order matters (accept before reject): what is there goes, and all comes anew, in one commit.
    return [...are.map((text) => `-D ${text}`), ...should.map((text) => `-A ${text}`)];
  });
}

function isAllEmptyWithout(state: IptablesState, stale: readonly PlacedRule[]): boolean {
  return allPlaces.every(({ table, name }) => {
    const gone = new Set(stale.filter((rule) => rule.table === table).map(({ text }) => text));
    return (state.get(table)?.rules ?? []).every((text) => !text.startsWith(`${name} `) || gone.has(text));
  });
}

/** Rules go in the same stroke as their chains; a chain that is another's is emptied of ours only. */
function removalLines(state: IptablesState, table: Table, stale: readonly PlacedRule[]): string[] {
  const present = state.get(table);
  const isMark = state.get('filter')?.chains.has(makerMark) === true;
  const names = allPlaces
    .filter((place) => place.table === table && present?.chains.has(place.name))
    .filter(({ name }) => isMark || !isOfLibvirt(name))
    .map(({ name }) => name);
  const jumps = (present?.rules ?? []).filter((text) =>
    allPlaces.some(({ name, from }) => names.includes(name) && text === `${from} -j ${name}`),
  );
  const marks = table === 'filter' && isMark ? [`-X ${makerMark}`] : [];
  const kept = stale.filter(({ chain }) => !names.includes(chain));
  return [
    ...ruleLines(present, [], kept),
    ...jumps.map((text) => `-D ${text}`),
    ...names.flatMap((name) => [`-F ${name}`, `-X ${name}`]),
    ...marks,
  ];
}
