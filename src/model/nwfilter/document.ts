/** libvirt's XML of a network filter (libvirt, "Network Filters"). */
import {
  attr,
  BadValue,
  childText,
  type Field,
  type FormatOptions,
  type Infer,
  object,
  type ParseMode,
  Reader,
  readDocument,
  required,
  type Scalar,
  writeElement,
} from '../../base/xml/codec.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { int, matching, oneOf, uuidText, yesNo } from '../../base/xml/scalars.ts';
import { formatXml, isElement, xmlElement } from '../../base/xml/tree.ts';
import { filterrefCodec } from '../domain/devices/interface-parts.ts';
import { protocolAttributes } from './attributes.ts';
import {
  chainPriorities,
  chainProtocol,
  DEFAULT_RULE_PRIORITY,
  type FilterMatch,
  type FilterProtocol,
  type FilterRule,
  type NwFilter,
} from './filter.ts';

/** A rule or a reference, in the order of the document. */
type Entry = NwFilter['entries'][number];

const priority = attr('priority', int({ min: -1000, max: 1000 }));
/** XML Schema's NCName, as far as file names and rule sets can have it. */
const filterName = matching(/^[A-Za-z_][\w.-]{0,254}$/, 'the name of a filter');

/** Where a filter's rules stand: a chain begins with the name of its protocol and has at most 13 characters. */
const chainName: Scalar<string> = {
  parse(text) {
    const known = Object.keys(chainPriorities).filter((name) => name !== 'root');
    if (text === 'root') return text;
    if (text.length <= 13 && /^[\w.:-]+$/.test(text) && known.some((name) => text.startsWith(name)))
      return text;
    throw new BadValue(`must be root, or begin with one of ${known.join(', ')}`);
  },
  format: (value) => value,
};

/** `statematch='false'` or `0`: the rule looks at packets, not connections. */
const statelessWord: Scalar<boolean> = {
  parse(text) {
    if (/^(false|0)$/i.test(text)) return true;
    if (/^(true|1)$/i.test(text)) return false;
    throw new BadValue(`'${text.slice(0, 40)}' is neither true nor false`);
  },
  format: (isStateless) => (isStateless ? 'false' : 'true'),
};

const ruleHead = {
  action: required(attr('action', oneOf('accept', 'drop', 'reject', 'return', 'continue')), 'action'),
  direction: required(attr('direction', oneOf('in', 'out', 'inout')), 'direction'),
  priority,
  isStateless: attr('statematch', statelessWord),
};

/** The element of the rule's protocol; a rule without one is about every packet. */
const match: Field<FilterMatch | undefined> = {
  read(reader) {
    const found = [...protocolAttributes.keys()].flatMap((name) => reader.children(name));
    if (found.length > 1) reader.problem(reader.path, 'has more than one protocol');
    const [element] = found;
    if (element === undefined) return undefined;
    const inner = new Reader(element, reader.at(element.name), reader.state);
    const isNegated = attr('match', yesNo).read(inner) === false;
    const values = readValues(inner, element.name);
    inner.finish();
    // The names of the map are the protocols.
    return { protocol: element.name as FilterProtocol, ...(isNegated && { isNegated }), values };
  },
  write(element, value) {
    if (value === undefined) return;
    const inner = xmlElement(value.protocol);
    if (value.isNegated === true) inner.attrs.set('match', 'no');
    for (const name of Object.keys(protocolAttributes.get(value.protocol) ?? {})) {
      const text = value.values[name];
      if (text !== undefined) inner.attrs.set(name, text);
    }
    element.children.push(inner);
  },
};

function readValues(reader: Reader, protocol: string): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [name, check] of Object.entries(protocolAttributes.get(protocol) ?? {})) {
    const text = reader.attr(name);
    if (text === undefined) continue;
    const trouble = check(text);
    if (trouble === undefined) values[name] = text;
    else reader.problem(reader.at(name), trouble);
  }
  return values;
}

const ruleCodec = object({ ...ruleHead, match });

const entries: Field<Entry[]> = {
  read(reader) {
    const known = new Set([...reader.children('rule'), ...reader.children('filterref')]);
    const counts = new Map<string, number>();
    return reader.element.children.flatMap((node): Entry[] => {
      if (!isElement(node) || !known.has(node)) return [];
      const index = counts.get(node.name) ?? 0;
      counts.set(node.name, index + 1);
      const inner = new Reader(node, `${reader.at(node.name)}[${index}]`, reader.state);
      if (node.name === 'rule') return [ruleOf(ruleCodec.read(inner))];
      return [{ kind: 'include', ...filterrefCodec.read(inner) }];
    });
  },
  write(element, value, options) {
    for (const entry of value) {
      const inner = xmlElement(entry.kind === 'rule' ? 'rule' : 'filterref');
      if (entry.kind === 'rule')
        ruleCodec.write(inner, { ...entry, priority: entry.priority ?? DEFAULT_RULE_PRIORITY }, options);
      else filterrefCodec.write(inner, { ...entry, parameters: [...entry.parameters] }, options);
      element.children.push(inner);
    }
  },
};

/** Following connections is what a rule does anyway, so that is nothing to remember. */
function ruleOf({
  action,
  direction,
  priority: place,
  isStateless,
  match: found,
}: Infer<typeof ruleCodec>): FilterRule {
  return {
    kind: 'rule',
    action,
    direction,
    ...(place !== undefined && { priority: place }),
    ...(isStateless === true && { isStateless }),
    ...(found !== undefined && { match: found }),
  };
}

const filterCodec = object({
  name: required(attr('name', filterName), 'name'),
  chain: attr('chain', chainName),
  priority,
  uuid: childText('uuid', uuidText),
  entries,
});

/**
 * Reads a filter's document. A chain and what it refers to are not looked at here: filters may be defined in any order.
 * @throws VirtError xml.malformed, or xml.invalid with all problems in `details.problems`
 */
export function parseFilter(
  xml: string,
  options: { readonly mode: ParseMode },
): { readonly filter: NwFilter; readonly dropped: readonly string[] } {
  const { value, dropped } = readDocument(filterCodec, parseXml(xml), 'filter', {
    mode: options.mode,
    what: 'network filter',
  });
  const { name, chain = 'root', priority: place, uuid, entries: found } = value;
  const rest = { ...(place !== undefined && { priority: place }), ...(uuid !== undefined && { uuid }) };
  return { filter: { name, chain, ...rest, entries: found }, dropped };
}

/** Prints a filter as libvirt does: with its chain, and all priorities that are not 0. */
export function formatFilter(filter: NwFilter, options: FormatOptions = {}): string {
  const place = filter.priority ?? chainPriorities[chainProtocol(filter.chain) ?? ''] ?? 0;
  const { name, chain, uuid } = filter;
  const complete = {
    name,
    chain,
    ...(place !== 0 && { priority: place }),
    ...(uuid !== undefined && { uuid }),
    entries: [...filter.entries],
  };
  return formatXml(writeElement(filterCodec, 'filter', complete, options));
}
