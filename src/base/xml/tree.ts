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
  attrs: Iterable<[string, string]> = [],
  children: XmlNode[] = [],
): XmlElement {
  return { name, attrs: new Map(attrs), children };
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
  const out: string[] = [];
  formatInto(root, '', out);
  return out.join('');
}

function openTag(element: XmlElement): string {
  let tag = `<${element.name}`;
  for (const [name, value] of element.attrs) tag += ` ${name}='${escapeAttribute(value)}'`;
  return tag;
}

function formatInto(element: XmlElement, indent: string, out: string[]): void {
  if (element.children.length === 0) {
    out.push(indent, openTag(element), '/>\n');
    return;
  }
  if (element.children.some((node) => typeof node === 'string' && node.trim() !== '')) {
    out.push(indent);
    formatInline(element, out);
    out.push('\n');
    return;
  }
  out.push(indent, openTag(element), '>\n');
  for (const node of element.children) if (isElement(node)) formatInto(node, `${indent}  `, out);
  out.push(indent, `</${element.name}>\n`);
}

function formatInline(element: XmlElement, out: string[]): void {
  if (element.children.length === 0) {
    out.push(openTag(element), '/>');
    return;
  }
  out.push(openTag(element), '>');
  for (const node of element.children) {
    if (typeof node === 'string') out.push(escapeText(node));
    else formatInline(node, out);
  }
  out.push(`</${element.name}>`);
}
