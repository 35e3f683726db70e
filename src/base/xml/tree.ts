/** The XML tree that everything else works on: elements with ordered attributes and children. */

export type XmlNode = XmlElement | string;

/** An element: its qualified name (prefix kept), attributes in document order, children (text is a string). */
export interface XmlElement {
  readonly name: string;
  readonly attrs: Map<string, string>;
  readonly children: XmlNode[];
}

export function xmlElement(
  name: string,
  attrs?: Iterable<[string, string]>,
  children: XmlNode[] = [],
): XmlElement {
  // Most are made without attributes, and reading an empty list costs more than making a Map.
  return { name, attrs: attrs === undefined ? new Map<string, string>() : new Map(attrs), children };
}

export function isElement(node: XmlNode): node is XmlElement {
  return typeof node !== 'string';
}

/** The text directly inside an element, joined. */
export function textOf(element: XmlElement): string {
  let text = '';
  for (const node of element.children) if (typeof node === 'string') text += node;
  return text;
}

/** The first child element of that name. */
export function childOf(element: XmlElement, name: string): XmlElement | undefined {
  for (const node of element.children) if (isElement(node) && node.name === name) return node;
  return undefined;
}

export function childElements(element: XmlElement, name?: string): XmlElement[] {
  const found: XmlElement[] = [];
  for (const node of element.children)
    if (isElement(node) && (name === undefined || node.name === name)) found.push(node);
  return found;
}

const attrEscapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&apos;',
  '"': '&quot;',
  '\n': '&#10;',
  '\r': '&#13;',
  '\t': '&#9;',
};
const textEscapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '\r': '&#13;',
};

export function escapeAttribute(value: string): string {
  return /[&<>'"\n\r\t]/.test(value) ? value.replace(/[&<>'"\n\r\t]/g, (c) => attrEscapes[c] ?? c) : value;
}

export function escapeText(value: string): string {
  return /[&<>\r]/.test(value) ? value.replace(/[&<>\r]/g, (c) => textEscapes[c] ?? c) : value;
}

/**
 * Formats a tree as libvirt does: two spaces an indent, single quotes, one element a line; an element with text
 * keeps its text as it is (mixed content is written without added white space).
 */
export function formatXml(root: XmlElement): string {
  return formatBlock(root, '');
}

function openTag(element: XmlElement): string {
  let tag = `<${element.name}`;
  for (const [name, value] of element.attrs) tag += ` ${name}='${escapeAttribute(value)}'`;
  return tag;
}

/** One element and what is in it, each on a line of its own. Text is added up: V8 joins it once, at the end. */
function formatBlock(element: XmlElement, indent: string): string {
  const { name, children } = element;
  if (children.length === 0) return `${indent}${openTag(element)}/>\n`;
  if (hasText(children)) return `${indent}${formatInline(element)}\n`;
  let out = `${indent}${openTag(element)}>\n`;
  const deeper = `${indent}  `;
  for (const node of children) if (isElement(node)) out += formatBlock(node, deeper);
  return `${out}${indent}</${name}>\n`;
}

function hasText(nodes: readonly XmlNode[]): boolean {
  for (const node of nodes) if (typeof node === 'string' && node.trim() !== '') return true;
  return false;
}

function formatInline(element: XmlElement): string {
  if (element.children.length === 0) return `${openTag(element)}/>`;
  let out = `${openTag(element)}>`;
  for (const node of element.children)
    out += typeof node === 'string' ? escapeText(node) : formatInline(node);
  return `${out}</${element.name}>`;
}
