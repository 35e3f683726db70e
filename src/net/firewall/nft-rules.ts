/**
 * Rules in the language of nft(8), and the one transaction that brings a host from what is there to what should be.
 * Tables and chains have newer libvirt's names; each rule of ours carries a comment that names its bridge and tells its
 * text apart, so it can be found, compared and deleted without touching another's. Pure.
 */
import { createHash } from 'node:crypto';
import type { Family } from '../plan.ts';
import type { FirewallRule, PortRange, RuleAction, RuleChain, RuleMatch } from './ruleset.ts';

export const nftTable = 'libvirt_network';

export const nftFamily = (family: Family): 'ip' | 'ip6' => (family === 4 ? 'ip' : 'ip6');

/**
 * Chains by rule chain. Rules for the host's own input and output are left out: an accept in a table of our own doesn't
 * overrule another's drop, so they would promise what they can't hold. nft has no word for filling checksums either.
 */
const chainNames: Readonly<Partial<Record<RuleChain, string>>> = {
  cross: 'guest_cross',
  guestInput: 'guest_input',
  guestOutput: 'guest_output',
  sourceNat: 'guest_nat',
  forwardIn: 'vireo_forward_in',
  forwardLocal: 'vireo_forward_local',
  guard: 'vireo_guard',
};

/** What a base chain hooks into. */
const baseChains: Readonly<Record<string, string>> = {
  forward: 'type filter hook forward priority filter; policy accept;',
  guest_nat: 'type nat hook postrouting priority srcnat; policy accept;',
  vireo_forward_in: 'type nat hook prerouting priority dstnat; policy accept;',
  // nft has the name dstnat for prerouting only; -100 is its number.
  vireo_forward_local: 'type nat hook output priority -100; policy accept;',
  vireo_guard: 'type filter hook prerouting priority raw; policy accept;',
};

const jumpTargets = ['guest_cross', 'guest_input', 'guest_output'] as const;

/** A rule of our table as the kernel lists it. */
export interface ListedRule {
  readonly chain: string;
  readonly handle: bigint;
  readonly comment: string | undefined;
}

const prefix = 'vireo:';

/** A rule's place, text without comment, and comment. */
export interface NftRule {
  readonly chain: string;
  readonly text: string;
  readonly comment: string;
}

/** Undefined for rules that this backend has no use for. */
export function formatNftRule(rule: FirewallRule, bridge: string): NftRule | undefined {
  const chain = chainNames[rule.chain];
  if (chain === undefined) return undefined;
  const text = [
    ...matchWords(rule.match, rule.family),
    'counter',
    ...actionWords(rule.action, rule.family),
  ].join(' ');
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 12);
  return { chain, text, comment: `${prefix}${bridge}:${digest}` };
}

function matchWords(match: RuleMatch, family: Family): string[] {
  const ip = nftFamily(family);
  const words: string[] = [];
  if (match.isToHost) words.push('fib', 'daddr', 'type', 'local');
  if (match.source !== undefined) words.push(ip, 'saddr', match.source);
  if (match.destination !== undefined) words.push(ip, 'daddr', match.destination);
  if (match.notDestination !== undefined) words.push(ip, 'daddr', '!=', match.notDestination);
  if (match.inInterface !== undefined) words.push('iifname', `"${match.inInterface}"`);
  if (match.outInterface !== undefined) words.push('oifname', `"${match.outInterface}"`);
  if (match.connection === 'answers') words.push('ct', 'state', 'established,related');
  if (match.connection === 'redirected') words.push('ct', 'status', 'dnat');
  if (match.protocol !== undefined) {
    if (match.destinationPorts) words.push(match.protocol, 'dport', formatPorts(match.destinationPorts));
    else words.push('meta', 'l4proto', match.protocol);
  }
  return words;
}

function formatPorts({ first, last }: PortRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}

function actionWords(action: RuleAction, family: Family): string[] {
  switch (action.kind) {
    case 'accept':
    case 'drop':
    case 'return':
    case 'reject':
      return [action.kind];
    case 'fill-checksum':
      throw new Error('nft cannot fill checksums; the rule has no chain here');
    case 'masquerade':
      return ['masquerade', ...(action.ports ? ['to', `:${formatPorts(action.ports)}`] : [])];
    case 'source-nat': {
      const { first, last, ports } = action;
      const bracket = (address: string) => (family === 6 && ports ? `[${address}]` : address);
      const range = first === last ? bracket(first) : `${bracket(first)}-${bracket(last)}`;
      return ['snat', 'to', ports ? `${range}:${formatPorts(ports)}` : range];
    }
    case 'redirect': {
      const { address, port } = action;
      const host = family === 6 && port !== undefined ? `[${address}]` : address;
      return ['dnat', 'to', port === undefined ? host : `${host}:${port}`];
    }
  }
}

/** One family's change for a network. */
export interface NftChange {
  readonly family: Family;
  readonly bridge: string;
  readonly wanted: readonly NftRule[];
  /** All rules of our table in that family; undefined when there is no such table. */
  readonly listed: readonly ListedRule[] | undefined;
}

/** The input for `nft -f -` that puts the network's rules in place, or undefined when they are. */
export function nftTransaction(change: NftChange): string | undefined {
  const { family, bridge, wanted, listed } = change;
  const ours = (listed ?? []).filter(({ comment }) => comment?.startsWith(`${prefix}${bridge}:`));
  const chains = [...new Set([...wanted, ...ours].map(({ chain }) => chain))];
  const lines = chains.flatMap((chain) => {
    const should = wanted.filter((rule) => rule.chain === chain);
    const are = ours.filter((rule) => rule.chain === chain);
    const isSame = should.map(({ comment }) => comment).join() === are.map(({ comment }) => comment).join();
    return isSame ? [] : [...are.map((rule) => deletion(family, rule)), ...should.map(addition(family))];
  });
  const structure = wanted.length === 0 ? [] : structureLines(family, wanted, listed);
  const all = [...structure, ...lines];
  return all.length === 0 ? undefined : `${all.join('\n')}\n`;
}

function addition(family: Family) {
  return ({ chain, text, comment }: NftRule) =>
    `add rule ${nftFamily(family)} ${nftTable} ${chain} ${text} comment "${comment}"`;
}

function deletion(family: Family, { chain, handle }: ListedRule): string {
  return `delete rule ${nftFamily(family)} ${nftTable} ${chain} handle ${handle}`;
}

/** Table, chains and jumps, as far as they aren't there; `add` of one that exists does nothing. */
function structureLines(
  family: Family,
  wanted: readonly NftRule[],
  listed: readonly ListedRule[] | undefined,
): string[] {
  const table = `${nftFamily(family)} ${nftTable}`;
  const jumps = jumpTargets.filter(
    (target) => listed?.some(({ comment }) => comment === `${prefix}jump:${target}`) !== true,
  );
  const present = new Set(listed?.map(({ chain }) => chain));
  const chains = new Set([...wanted.map(({ chain }) => chain), ...jumpTargets, 'forward']);
  // A chain with a rule in it is there; one without may have gone.
  const missing = [...chains].filter((chain) => !present.has(chain));
  if (missing.length === 0 && jumps.length === 0) return [];
  return [
    `add table ${table}`,
    ...missing.map((chain) => {
      const base = baseChains[chain];
      return `add chain ${table} ${chain}${base === undefined ? '' : ` { ${base} }`}`;
    }),
    ...jumps.map(
      (target) => `add rule ${table} forward counter jump ${target} comment "${prefix}jump:${target}"`,
    ),
  ];
}

/** Deletes the table when nothing but our own jumps is left in it; else the network's rules. */
export function nftRemoval(change: Omit<NftChange, 'wanted'>): string | undefined {
  const { family, bridge, listed } = change;
  if (listed === undefined) return undefined;
  const isOurs = ({ comment }: ListedRule) =>
    comment?.startsWith(`${prefix}${bridge}:`) === true || comment?.startsWith(`${prefix}jump:`) === true;
  if (listed.every(isOurs)) return `delete table ${nftFamily(family)} ${nftTable}\n`;
  return nftTransaction({ ...change, wanted: [] });
}
