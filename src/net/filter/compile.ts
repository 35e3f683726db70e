/** From a filter with its parameters to chains of nftables rules for one tap. Pure. */
import { VirtError } from '../../base/errors.ts';
import {
  chainPriorities,
  chainProtocol,
  DEFAULT_RULE_PRIORITY,
  type FilterAction,
  type FilterLookup,
  type FilterMatch,
  type FilterRule,
  type NwFilter,
} from '../../model/nwfilter/filter.ts';
import { matchWords, protocolWords, type Words } from './match-words.ts';
import { type FilterVariables, instancesOf, refusal } from './variables.ts';

/** Frames that the guest sends, and those that it gets. */
export const filterSides = ['out', 'in'] as const;
export type FilterSide = (typeof filterSides)[number];

/** What happens to a frame that meets a rule's conditions. */
export type Verdict = 'accept' | 'drop' | 'return' | 'continue' | { readonly jump: string };

export interface CompiledRule {
  /** May contain LEARNED, the name of the tap's set. */
  readonly words: Words;
  readonly verdict: Verdict;
}

export interface CompiledChain {
  /** `root`, or the filter's chain. */
  readonly name: string;
  readonly rules: readonly CompiledRule[];
}

/** All rules for one tap: the root chain first on each side. A side without rules has no chains. */
export interface CompiledFilter {
  readonly sides: Readonly<Record<FilterSide, readonly CompiledChain[]>>;
}

/** References may be nested that deep; libvirt forbids cycles when a filter is defined. */
const MAX_DEPTH = 16;

interface PlacedRule {
  readonly chain: string;
  readonly chainPriority: number;
  readonly rule: FilterRule;
  readonly variables: FilterVariables;
}

/**
 * Compiles a filter and all that it refers to. What no rule decides is accepted.
 * @throws VirtError definition.unsupported: no such filter, a parameter without a value, a cycle, a value that means
 *   nothing
 */
export function compileFilter(
  name: string,
  variables: FilterVariables,
  lookup: FilterLookup,
): CompiledFilter {
  const placed = placedRules({ name, variables, lookup, path: [] });
  return { sides: { out: compileSide(placed, 'out'), in: compileSide(placed, 'in') } };
}

/** All rules of a filter and of those it refers to, each with the chain it stands in. */
function placedRules(request: {
  readonly name: string;
  readonly variables: FilterVariables;
  readonly lookup: FilterLookup;
  readonly path: readonly string[];
}): PlacedRule[] {
  const { name, variables, lookup, path } = request;
  const filter = findFilter(name, lookup, path);
  const { chain } = filter;
  const chainPriority = priorityOf(filter);
  return filter.entries.flatMap((entry): PlacedRule[] => {
    if (entry.kind === 'rule') return [{ chain, chainPriority, rule: entry, variables }];
    // Who uses a filter overrules what the filter says to those that it refers to.
    const inner = { ...listsOf(entry.parameters), ...variables };
    return placedRules({ name: entry.filter, variables: inner, lookup, path: [...path, name] });
  });
}

function findFilter(name: string, lookup: FilterLookup, path: readonly string[]): NwFilter {
  const by = path.length === 0 ? '' : `, which '${path.at(-1)}' refers to`;
  if (path.includes(name) || path.length > MAX_DEPTH)
    throw refusal(`the filter '${name}' refers to itself, by way of '${path.at(-1)}'`);
  const filter = lookup(name);
  if (filter === undefined)
    throw new VirtError('definition.unsupported', {
      reason: `there is no filter '${name}'${by}`,
      hint: "docs/guide/network-filters.md lists the built-in ones; 'clean-traffic' is the common one",
    });
  return filter;
}

function priorityOf({ name, chain, priority }: NwFilter): number {
  const protocol = chainProtocol(chain);
  if (protocol === undefined)
    throw refusal(`chain '${chain}' of the filter '${name}' begins with no protocol`);
  return priority ?? chainPriorities[protocol] ?? 0;
}

/** Parameters of one name make a list. */
export function listsOf(
  parameters: readonly { readonly name: string; readonly value: string }[],
): Record<string, readonly string[]> {
  const byName = Map.groupBy(parameters, ({ name }) => name);
  return Object.fromEntries([...byName].map(([name, all]) => [name, all.map(({ value }) => value)]));
}

function compileSide(placed: readonly PlacedRule[], side: FilterSide): CompiledChain[] {
  const mine = placed.filter(({ rule }) => rule.direction === side || rule.direction === 'inout');
  if (mine.length === 0) return [];
  const byChain = Map.groupBy(mine, ({ chain }) => chain);
  const chains = [...byChain]
    .filter(([chain]) => chain !== 'root')
    .map(([chain, rules]) => ({
      name: chain,
      priority: rules[0]?.chainPriority ?? 0,
      rules: inOrder(rules).flatMap((one) => compileRule(one, side)),
    }));
  const root = [
    ...inOrder(byChain.get('root') ?? []).map((one) => ({
      priority: rulePriority(one),
      rules: compileRule(one, side),
    })),
    ...chains.map(({ name, priority }) => ({ priority, rules: [jumpTo(name)] })),
  ].toSorted((a, b) => a.priority - b.priority);
  return [
    { name: 'root', rules: root.flatMap(({ rules }) => rules) },
    ...chains.map(({ name, rules }) => ({ name, rules })),
  ];
}

const rulePriority = ({ rule }: PlacedRule): number => rule.priority ?? DEFAULT_RULE_PRIORITY;

function inOrder(rules: readonly PlacedRule[]): PlacedRule[] {
  return rules.toSorted((a, b) => rulePriority(a) - rulePriority(b));
}

function jumpTo(chain: string): CompiledRule {
  return { words: protocolWords(chainProtocol(chain) ?? ''), verdict: { jump: chain } };
}

function compileRule({ rule, variables }: PlacedRule, side: FilterSide): CompiledRule[] {
  const { match, action, direction } = rule;
  const verdict = verdicts[action];
  if (match === undefined) return [{ words: [], verdict }];
  const turned = direction === 'inout' && side === 'out' ? mirrored(match) : match;
  const canLearn = side === 'out' && (action === 'return' || action === 'accept');
  return instancesOf(turned.values, variables).flatMap((values) => {
    const { words, learning } = matchWords({ ...turned, values }, canLearn);
    return [{ words, verdict }, ...(learning ? [{ words: learning, verdict }] : [])];
  });
}

/** A bridge answers nobody: what is refused is dropped, as libvirt does with frames. */
const verdicts: Readonly<Record<FilterAction, Exclude<Verdict, object>>> = {
  accept: 'accept',
  drop: 'drop',
  reject: 'drop',
  return: 'return',
  continue: 'continue',
};

/** `srcipaddr` and `dstipaddr` change places, and so do all such pairs. */
function mirrored(match: FilterMatch): FilterMatch {
  const turn = (name: string) =>
    name.replace(
      /^(arp)?(src|dst)/,
      (_, arp: string = '', end: string) => `${arp ?? ''}${end === 'src' ? 'dst' : 'src'}`,
    );
  return {
    ...match,
    values: Object.fromEntries(Object.entries(match.values).map(([name, value]) => [turn(name), value])),
  };
}
