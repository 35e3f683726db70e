/** QEMU's QAPI schema (docs/devel/qapi-code-gen, "Client JSON Protocol introspection") as a short list of paths. */
import { isObject, type QmpObject } from '../qmp/codec.ts';

/** The schema by entity name. */
type Entities = ReadonlyMap<string, QmpObject>;

/** Deeper members than this are told by nobody's question. */
const MAX_STEPS = 6;

/**
 * Branches whose members are left out, a fifth of the whole: block drivers for QEMU's own tests, and what a transaction
 * only repeats of the commands in it.
 */
const boring = /\+blk(debug|verify|replay|logwrites)$|^transaction\/.*\+/;

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function list(value: unknown): readonly QmpObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

export function entitiesOf(schema: readonly QmpObject[]): Entities {
  return new Map(schema.map((entity) => [text(entity['name']), entity]));
}

/** Names of the commands or of the events. */
export function namesOf(schema: readonly QmpObject[], metaType: 'command' | 'event'): string[] {
  return schema
    .filter((entity) => entity['meta-type'] === metaType)
    .map((entity) => text(entity['name']))
    .sort();
}

/**
 * Flattens one type of one command. Steps of a path: `member`, `+case` for the members of a union's branch, `^value`
 * of an enumeration, `$feature` of a member, command or value; arrays and alternates add no step. A type that
 * contains itself is not entered a second time.
 */
export function flattenCommand(entities: Entities, command: string, part: 'arg-type' | 'ret-type'): string[] {
  const entity = entities.get(command);
  if (entity === undefined || entity['meta-type'] !== 'command') return [];
  const out = new Set<string>();
  for (const feature of features(entity)) out.add(`${command}/$${feature}`);
  walk({ entities, out, stack: [] }, text(entity[part]), `${command}/${part}`);
  return [...out];
}

interface Walk {
  readonly entities: Entities;
  readonly out: Set<string>;
  readonly stack: readonly string[];
}

function features(entity: QmpObject): string[] {
  return Array.isArray(entity['features']) ? entity['features'].filter((f) => typeof f === 'string') : [];
}

function walk(state: Walk, typeName: string, path: string): void {
  const entity = state.entities.get(typeName);
  if (entity === undefined || state.stack.includes(typeName) || state.stack.length > MAX_STEPS) return;
  const inner = { ...state, stack: [...state.stack, typeName] };
  switch (entity['meta-type']) {
    case 'object':
      walkObject(inner, entity, path);
      return;
    case 'array':
      walk(state, text(entity['element-type']), path);
      return;
    case 'alternate':
      for (const member of list(entity['members'])) walk(inner, text(member['type']), path);
      return;
    case 'enum':
      walkEnum(state, entity, path);
      return;
    default: // A builtin has nothing inside.
  }
}

function walkObject(state: Walk, entity: QmpObject, path: string): void {
  for (const member of list(entity['members'])) {
    const memberPath = `${path}/${text(member['name'])}`;
    state.out.add(memberPath);
    for (const feature of features(member)) state.out.add(`${memberPath}/$${feature}`);
    walk(state, text(member['type']), memberPath);
  }
  for (const variant of list(entity['variants'])) {
    const variantPath = `${path}/+${text(variant['case'])}`;
    state.out.add(variantPath);
    if (boring.test(variantPath)) continue;
    walk(state, text(variant['type']), variantPath);
  }
}

/** `values` since ever; `members`, with features, since 6.2. */
function walkEnum(state: Walk, entity: QmpObject, path: string): void {
  const members = list(entity['members']);
  for (const member of members) {
    const memberPath = `${path}/^${text(member['name'])}`;
    state.out.add(memberPath);
    for (const feature of features(member)) state.out.add(`${memberPath}/$${feature}`);
  }
  if (members.length > 0 || !Array.isArray(entity['values'])) return;
  for (const value of entity['values']) if (typeof value === 'string') state.out.add(`${path}/^${value}`);
}

/** The values of the enumeration at `path`, out of flattened paths. */
export function enumValues(paths: readonly string[], path: string): string[] {
  const prefix = `${path}/^`;
  return paths
    .filter((known) => known.startsWith(prefix) && !known.slice(prefix.length).includes('/'))
    .map((known) => known.slice(prefix.length))
    .sort();
}
