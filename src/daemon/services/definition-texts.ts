/** Texts of running definitions: a guest's status is written at each of its events, and its definition seldom changes. */
import { type DomainDef, formatDomain } from '../../model/domain/domain.ts';

interface Written {
  readonly parts: readonly unknown[];
  readonly text: string;
}

const texts = new WeakMap<DomainDef, Written>();

/**
 * The text of a definition with its secrets, as formatDomain gives it. It is made anew when the definition, its device lists
 * or any part of these two is another object than it was: parts of definitions are replaced, never changed (model/domain).
 */
export function definitionText(definition: DomainDef): string {
  const parts = partsOf(definition);
  const before = texts.get(definition);
  if (before !== undefined && isSame(before.parts, parts)) return before.text;
  const text = formatDomain(definition, { secure: true });
  texts.set(definition, { parts, text });
  return text;
}

/** With their names: a part that is gone is another part. */
const partsOf = (definition: DomainDef): readonly unknown[] => [
  ...Object.entries(definition).flat(),
  ...Object.entries(definition.devices).flat(),
];

const isSame = (one: readonly unknown[], other: readonly unknown[]): boolean =>
  one.length === other.length && one.every((part, at) => part === other[at]);
