/** Foreign content of `<metadata>`: kept verbatim, one element for each namespace, as libvirt keeps it. */
import type { Field, Reader } from '../../base/xml/codec.ts';
import { childElements, isElement, type XmlElement, xmlElement } from '../../base/xml/tree.ts';
import { namespaceOf, splitName } from './qemu-namespace.ts';

/**
 * The children of `<metadata>`. Each carries the namespace declarations it needs, also those that were made on
 * `<metadata>` or `<domain>`, so it can stand alone.
 */
export function metadata(rootOf: (reader: Reader) => XmlElement): Field<XmlElement[]> {
  return {
    read(reader) {
      const found = reader.child('metadata');
      return found === undefined ? [] : readChildren(reader, found, [found, rootOf(reader)]);
    },
    write(element, value) {
      if (value !== undefined && value.length > 0)
        element.children.push(xmlElement('metadata', [], [...value]));
    },
  };
}

function readChildren(reader: Reader, found: XmlElement, outer: readonly XmlElement[]): XmlElement[] {
  const seen = new Set<string>();
  const kept: XmlElement[] = [];
  for (const [index, child] of childElements(found).entries()) {
    const path = `metadata.${child.name}[${index}]`;
    const problem = refusal(child, outer, seen);
    if (problem === undefined) kept.push(standalone(child, outer));
    else if (problem.fatal || reader.state.mode === 'strict') reader.problem(path, problem.message);
    else reader.state.dropped.push(path);
  }
  return kept;
}

/** libvirt drops metadata without a namespace, and all but the first element of each namespace. */
function refusal(
  child: XmlElement,
  outer: readonly XmlElement[],
  seen: Set<string>,
): { message: string; fatal: boolean } | undefined {
  const undeclared = undeclaredPrefix(child, outer);
  if (undeclared !== undefined)
    return { message: `namespace prefix '${undeclared}' is not declared`, fatal: true };
  const uri = namespaceOf(splitName(child.name).prefix, [child, ...outer]);
  if (uri === undefined) return { message: 'has no namespace', fatal: false };
  if (seen.has(uri)) return { message: `namespace '${uri.slice(0, 80)}' is there already`, fatal: false };
  seen.add(uri);
  return undefined;
}

/** Prefixes an element uses by itself: its own and its attributes'. `xml` is always declared. */
function prefixesOf(element: XmlElement): string[] {
  const names = [...element.attrs.keys()].filter((name) => name !== 'xmlns' && !name.startsWith('xmlns:'));
  const prefixes = names.map((name) => splitName(name).prefix).filter((prefix) => prefix !== '');
  return [splitName(element.name).prefix, ...prefixes].filter((prefix) => prefix !== 'xml');
}

/** Every prefix that is used in the tree without being declared in it, the innermost scope first. */
function freePrefixes(element: XmlElement, inner: readonly XmlElement[] = []): Set<string> {
  const scope = [element, ...inner];
  const free = new Set(prefixesOf(element).filter((prefix) => !isDeclared(prefix, scope)));
  for (const child of element.children)
    if (isElement(child)) for (const prefix of freePrefixes(child, scope)) free.add(prefix);
  return free;
}

function isDeclared(prefix: string, scope: readonly XmlElement[]): boolean {
  const name = prefix === '' ? 'xmlns' : `xmlns:${prefix}`;
  return scope.some((element) => element.attrs.has(name));
}

function undeclaredPrefix(child: XmlElement, outer: readonly XmlElement[]): string | undefined {
  return [...freePrefixes(child)].find((prefix) => prefix !== '' && namespaceOf(prefix, outer) === undefined);
}

/** A copy of the element with the declarations it takes from outside written on it. */
function standalone(child: XmlElement, outer: readonly XmlElement[]): XmlElement {
  const copy = structuredClone(child);
  for (const prefix of freePrefixes(child)) {
    const uri = namespaceOf(prefix, outer);
    if (uri !== undefined) copy.attrs.set(prefix === '' ? 'xmlns' : `xmlns:${prefix}`, uri);
  }
  return copy;
}

/** The namespace of one metadata element. */
export function metadataNamespace(element: XmlElement): string | undefined {
  return namespaceOf(splitName(element.name).prefix, [element]);
}

/** The metadata element of a namespace. */
export function findMetadata(elements: readonly XmlElement[], uri: string): XmlElement | undefined {
  return elements.find((element) => metadataNamespace(element) === uri);
}

/**
 * The list with the element of that namespace set (in place, or at the end), or taken away for undefined. `prefix`
 * becomes the element's prefix, as libvirt's `key` argument does.
 */
export function withMetadata(
  elements: readonly XmlElement[],
  uri: string,
  replacement: { readonly element: XmlElement; readonly prefix: string } | undefined,
): XmlElement[] {
  const index = elements.findIndex((element) => metadataNamespace(element) === uri);
  if (replacement === undefined) return elements.filter((_, i) => i !== index);
  const { element, prefix } = replacement;
  const local = splitName(element.name).local;
  const fresh = xmlElement(
    `${prefix}:${local}`,
    [[`xmlns:${prefix}`, uri], ...[...element.attrs].filter(([name]) => name !== `xmlns:${prefix}`)],
    element.children,
  );
  return index === -1 ? [...elements, fresh] : elements.map((old, i) => (i === index ? fresh : old));
}
