/**
 * The filters' table in the language of nft(8), and the transaction that brings one tap's part of it to what it should
 * be. Two maps lead from the name of a tap to its chains, so that the number of guests costs a packet nothing. Every
 * rule carries a comment that tells its text, by which it is compared without being parsed. Pure.
 */
import { createHash } from 'node:crypto';
import type { CompiledChain, CompiledFilter, CompiledRule, FilterSide } from './compile.ts';
import { filterSides } from './compile.ts';
import { LEARNED } from './variables.ts';

export const filterTable = 'vireo_filter';
const table = `bridge ${filterTable}`;

/** Where frames of a side pass, and the map that finds the tap's chain. Before all others' filters (-200). */
const sides: Readonly<Record<FilterSide, { chain: string; hook: string; map: string; key: string }>> = {
  out: { chain: 'from_guests', hook: 'prerouting', map: 'out_of', key: 'iifname' },
  in: { chain: 'to_guests', hook: 'postrouting', map: 'in_to', key: 'oifname' },
};

const PRIORITY = -300;

/** What the kernel holds of our table. */
export interface FilterTableState {
  readonly chains: readonly string[];
  /** Comments of a chain's rules, in order, by the chain's name; a chain without rules may be missing. */
  readonly comments: ReadonlyMap<string, readonly (string | undefined)[]>;
  /** Elements of the two maps. */
  readonly elements: readonly { readonly map: string; readonly tap: string }[];
  readonly sets: readonly string[];
}

/** Signs that a name of nft's may not have, in an interface's name, as `/` and two hexadecimal digits. */
function escaped(tap: string): string {
  return tap.replace(/[^A-Za-z0-9_-]/g, (sign) => `/${sign.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

const prefixOf = (tap: string, side: FilterSide): string => `${side}.${escaped(tap)}.`;
const setOf = (tap: string): string => `learned.${escaped(tap)}`;

/** Which tap a chain of ours is for; undefined for the base chains. */
export function tapOfChain(chain: string): string | undefined {
  const name = /^(?:out|in)\.([^.]+)\./.exec(chain)?.[1];
  return name?.replace(/\/([0-9a-f]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}

interface RuleText {
  readonly text: string;
  readonly comment: string;
}

function ruleText(rule: CompiledRule, tap: string, side: FilterSide): RuleText {
  const { verdict } = rule;
  const words = rule.words.map((word) => (word === LEARNED ? `@${setOf(tap)}` : word));
  const last = typeof verdict === 'string' ? verdict : `jump ${prefixOf(tap, side)}${verdict.jump}`;
  return withComment([...words, 'counter', last].join(' '));
}

function withComment(text: string): RuleText {
  return { text, comment: `vireo:${createHash('sha256').update(text).digest('hex').slice(0, 16)}` };
}

const usesLearning = (filter: CompiledFilter): boolean =>
  filterSides.some((side) =>
    filter.sides[side].some(({ rules }) => rules.some(({ words }) => words.includes(LEARNED))),
  );

const addRule = (chain: string, { text, comment }: RuleText): string =>
  `add rule ${table} ${chain} ${text} comment "${comment}"`;

const dispatchRule = (side: FilterSide): RuleText =>
  withComment(`${sides[side].key} vmap @${sides[side].map}`);

/** The chains of a tap as they should be, by name. */
function wantedChains(tap: string, filter: CompiledFilter): Map<string, readonly RuleText[]> {
  const entry = (side: FilterSide) => (chain: CompiledChain) =>
    [`${prefixOf(tap, side)}${chain.name}`, chain.rules.map((rule) => ruleText(rule, tap, side))] as const;
  return new Map(filterSides.flatMap((side) => filter.sides[side].map(entry(side))));
}

const elementText = (tap: string, side: FilterSide): string =>
  `{ "${tap}" : jump ${prefixOf(tap, side)}root }`;

function commentsOf(state: FilterTableState, chain: string): string {
  return (state.comments.get(chain) ?? []).join();
}

const hasElement = (state: FilterTableState, tap: string, side: FilterSide): boolean =>
  state.elements.some((element) => element.map === sides[side].map && element.tap === tap);

/** True when the tap's chains, and the ways to them, are as they should be. */
export function isInPlace(tap: string, filter: CompiledFilter, state: FilterTableState | undefined): boolean {
  if (state === undefined) return false;
  const wanted = wantedChains(tap, filter);
  const present = state.chains.filter((chain) => tapOfChain(chain) === tap);
  return (
    present.length === wanted.size &&
    [...wanted].every(
      ([chain, rules]) => commentsOf(state, chain) === rules.map(({ comment }) => comment).join(),
    ) &&
    filterSides.every((side) => hasElement(state, tap, side) === filter.sides[side].length > 0) &&
    filterSides.every((side) => commentsOf(state, sides[side].chain) === dispatchRule(side).comment)
  );
}

/**
 * Puts a tap's filter in place of whatever stands there for it, in one transaction: no frame meets a half of it. Addresses
 * that were learned are forgotten.
 */
export function applyText(tap: string, filter: CompiledFilter, state: FilterTableState | undefined): string {
  const wanted = wantedChains(tap, filter);
  const stale = (state?.chains ?? []).filter((chain) => tapOfChain(chain) === tap && !wanted.has(chain));
  const chains = [...wanted.keys(), ...stale];
  const lines = [
    ...structureLines(state),
    ...removedElements(tap, state),
    ...chains.flatMap((chain) => [`add chain ${table} ${chain}`, `flush chain ${table} ${chain}`]),
    ...stale.map((chain) => `delete chain ${table} ${chain}`),
    ...setLines(tap, state, usesLearning(filter)),
    ...[...wanted].flatMap(([chain, rules]) => rules.map((rule) => addRule(chain, rule))),
    ...filterSides
      .filter((side) => filter.sides[side].length > 0)
      .map((side) => `add element ${table} ${sides[side].map} ${elementText(tap, side)}`),
  ];
  return `${lines.join('\n')}\n`;
}

/** Table, maps and base chains, as far as they aren't there; `add` of what exists does nothing. */
function structureLines(state: FilterTableState | undefined): string[] {
  const isSame = (side: FilterSide) =>
    state !== undefined && commentsOf(state, sides[side].chain) === dispatchRule(side).comment;
  return [
    `add table ${table}`,
    ...filterSides.flatMap((side) => {
      const { chain, hook, map } = sides[side];
      if (isSame(side)) return [];
      return [
        `add map ${table} ${map} { type ifname : verdict; }`,
        `add chain ${table} ${chain} { type filter hook ${hook} priority ${PRIORITY}; policy accept; }`,
        `flush chain ${table} ${chain}`,
        addRule(chain, dispatchRule(side)),
      ];
    }),
  ];
}

function removedElements(tap: string, state: FilterTableState | undefined): string[] {
  return filterSides
    .filter((side) => state !== undefined && hasElement(state, tap, side))
    .map((side) => `delete element ${table} ${sides[side].map} { "${tap}" }`);
}

/** One address and no more: the first that the guest uses. */
function setLines(tap: string, state: FilterTableState | undefined, isWanted: boolean): string[] {
  const name = setOf(tap);
  const isThere = state?.sets.includes(name) === true;
  if (!isWanted) return isThere ? [`delete set ${table} ${name}`] : [];
  return [
    `add set ${table} ${name} { type ipv4_addr; size 1; flags dynamic; }`,
    `flush set ${table} ${name}`,
  ];
}

/** Takes a tap's part away, and the table when nobody else's is left; undefined when there is nothing of it. */
export function dropText(taps: ReadonlySet<string>, state: FilterTableState | undefined): string | undefined {
  if (state === undefined) return undefined;
  const isMine = (chain: string) => taps.has(tapOfChain(chain) ?? '');
  const chains = state.chains.filter(isMine);
  const others = state.chains.filter((chain) => tapOfChain(chain) !== undefined && !isMine(chain));
  if (others.length === 0) return `delete table ${table}\n`;
  const lines = [
    ...[...taps].flatMap((tap) => removedElements(tap, state)),
    ...chains.map((chain) => `flush chain ${table} ${chain}`),
    ...chains.map((chain) => `delete chain ${table} ${chain}`),
    ...[...taps].flatMap((tap) => setLines(tap, state, false)),
  ];
  return lines.length === 0 ? undefined : `${lines.join('\n')}\n`;
}
