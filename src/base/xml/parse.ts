/** Text to tree: the one place that reads XML. fast-xml-parser does the grammar, this file the limits. */
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { VirtError } from '../errors.ts';
import { isPlainDocument } from './plain-document.ts';
import type { XmlElement, XmlNode } from './tree.ts';

/** Limits of one document (docs/security.md, class E). A document over one of them is refused whole. */
export const xmlLimits = {
  documentChars: 4 * 1024 * 1024,
  depth: 256,
  nodes: 100_000,
  attributes: 1024,
  attributeChars: 1024 * 1024,
} as const;

/** Thrown text is short and never quotes more than a few characters of the document. */
function refuse(reason: string, hint?: string): VirtError {
  return new VirtError('xml.malformed', { wanted: 'read the XML document', reason, ...(hint && { hint }) });
}

const parser = new XMLParser({
  preserveOrder: true,
  // Depth is checked before (xmlLimits.depth); the parser's own limit is lower.
  maxNestedTags: xmlLimits.depth,
  ignoreAttributes: false,
  attributeNamePrefix: '',
  // Namespaces stay as they are written, so that foreign metadata comes back verbatim.
  removeNSPrefix: false,
  // Entities are decoded here, strictly: five names and numbers, nothing else.
  processEntities: false,
  htmlEntities: false,
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  cdataPropName: '#cdata',
  allowBooleanAttributes: false,
  ignoreDeclaration: true,
  ignorePiTags: true,
  // Callbacks of ours there are none: without this it makes the path of every element and attribute as text for them.
  jPath: false,
});

// XML 1.0 section 2.2: everything outside these is no character of a document.
const forbidden = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u;

/**
 * Parses one document to its root element. Comments and processing instructions are left out; CDATA becomes text.
 * @throws VirtError xml.malformed for anything that is not well-formed, carries a DOCTYPE, or is over a limit.
 */
export function parseXml(text: string): XmlElement {
  const source = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  checkSource(source);
  if (!isPlainDocument(source, xmlLimits)) validate(source);
  let nodes: unknown;
  try {
    nodes = parser.parse(source);
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : String(error));
  }
  const budget = { nodes: 0 };
  const roots = convertAll(nodes, 0, budget).filter((node) => typeof node !== 'string' || node.trim() !== '');
  const root = roots[0];
  if (roots.length !== 1 || root === undefined || typeof root === 'string')
    throw refuse('the document needs exactly one root element');
  return root;
}

/** Whatever is not plain: the limits, and then the whole grammar, with the place where it is broken. */
function validate(source: string): void {
  checkDepth(source);
  const valid = XMLValidator.validate(source, { allowBooleanAttributes: false });
  if (valid !== true) throw refuse(`line ${valid.err.line}, column ${valid.err.col}: ${valid.err.msg}`);
  // The validator lets text stand behind a root that closes itself, and the parser drops it.
  const bare = source.replace(/<!--[^]*?-->|<\?[^]*?\?>/g, '');
  if (bare.indexOf('<') === bare.lastIndexOf('<') && !bare.trimEnd().endsWith('/>'))
    throw refuse('there is text behind the root element');
}

function checkSource(source: string): void {
  if (source.length > xmlLimits.documentChars)
    throw refuse(`the document is larger than ${xmlLimits.documentChars} characters`);
  if (source.trim() === '') throw refuse('the document is empty');
  const bad = forbidden.exec(source);
  if (bad)
    throw refuse(`character U+${bad[0].codePointAt(0)?.toString(16).padStart(4, '0')} is not allowed in XML`);
  if (/<!\s*(DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)/i.test(source))
    throw refuse('document type declarations are not accepted', 'leave out <!DOCTYPE …>');
  const declared = /^\s*<\?xml[^>]*encoding\s*=\s*["']([^"']*)["']/.exec(source);
  if (declared && !/^(utf-?8|us-ascii|ascii)$/i.test(declared[1] ?? ''))
    throw refuse(`encoding '${declared[1]}' is not accepted`, 'use UTF-8');
}

/** Depth and node count before the parser builds anything: linear, without recursion. */
function checkDepth(source: string): void {
  let depth = 0;
  let nodes = 0;
  for (let i = source.indexOf('<'); i !== -1; i = source.indexOf('<', i + 1)) {
    if (source.startsWith('<!--', i)) i = skipTo(source, '-->', i);
    else if (source.startsWith('<![CDATA[', i)) i = skipTo(source, ']]>', i);
    else if (source.startsWith('<?', i)) i = skipTo(source, '?>', i);
    else if (source.startsWith('</', i)) depth--;
    else {
      const end = tagEnd(source, i);
      nodes++;
      if (source[end - 1] !== '/') depth++;
      i = end;
      if (depth > xmlLimits.depth) throw refuse(`elements are nested deeper than ${xmlLimits.depth}`);
      if (nodes > xmlLimits.nodes) throw refuse(`the document has more than ${xmlLimits.nodes} elements`);
    }
  }
}

function skipTo(source: string, mark: string, from: number): number {
  const end = source.indexOf(mark, from);
  if (end === -1) throw refuse(`'${mark}' is missing`);
  return end + mark.length - 1;
}

/** The index of the `>` that ends the tag at `from`, with quoted values passed over. */
function tagEnd(source: string, from: number): number {
  let quote = '';
  for (let i = from + 1; i < source.length; i++) {
    const c = source[i];
    if (quote !== '') {
      if (c === quote) quote = '';
      else if (c === '<') throw refuse("'<' inside an attribute value");
    } else if (c === '"' || c === "'") quote = c;
    else if (c === '>') return i;
  }
  throw refuse('a tag is not closed');
}

/** What fast-xml-parser gives with preserveOrder: an array of one-key objects, attributes under ':@'. */
function convertAll(nodes: unknown, depth: number, budget: { nodes: number }): XmlNode[] {
  if (!Array.isArray(nodes)) throw refuse('unreadable document');
  const out: XmlNode[] = [];
  for (const node of nodes as Record<string, unknown>[]) {
    const converted = convert(node, depth, budget);
    if (converted === undefined) continue;
    const last = out.length - 1;
    if (typeof converted === 'string' && typeof out[last] === 'string') out[last] += converted;
    else out.push(converted);
  }
  return out;
}

function convert(
  node: Record<string, unknown>,
  depth: number,
  budget: { nodes: number },
): XmlNode | undefined {
  const name = nameOf(node);
  if (name === undefined) return undefined;
  const value = node[name];
  if (name === '#text') return decodeEntities(unixLines(String(value)));
  if (name === '#cdata') return cdataText(value);
  if (name.startsWith('?')) return undefined;
  budget.nodes++;
  return {
    name: checkName(name),
    attrs: convertAttributes(node[':@']),
    children: convertAll(value, depth + 1, budget),
  };
}

/** XML 1.0 section 2.11: a line ends with a line feed. */
function unixLines(text: string): string {
  return text.includes('\r') ? text.replace(/\r\n?/g, '\n') : text;
}

/** The one key that is not the attributes'. */
function nameOf(node: Record<string, unknown>): string | undefined {
  for (const key in node) if (key !== ':@') return key;
  return undefined;
}

function cdataText(value: unknown): string {
  if (!Array.isArray(value)) return '';
  return (value as Record<string, string>[]).map((part) => part['#text'] ?? '').join('');
}

function convertAttributes(raw: unknown): Map<string, string> {
  const attrs = new Map<string, string>();
  if (raw === null || typeof raw !== 'object') return attrs;
  for (const name in raw) {
    const text = String((raw as Record<string, unknown>)[name]);
    if (text.length > xmlLimits.attributeChars) throw refuse(`attribute '${name.slice(0, 40)}' is too long`);
    // XML 1.0 section 3.3.3: literal white space in an attribute is a space, references are not.
    const line = /[\t\n\r]/.test(text) ? text.replace(/\r\n|[\t\n\r]/g, ' ') : text;
    attrs.set(checkName(name), decodeEntities(line));
    if (attrs.size > xmlLimits.attributes)
      throw refuse(`an element has more than ${xmlLimits.attributes} attributes`);
  }
  return attrs;
}

const nameRule = /^[A-Za-z_\u00c0-\uffff][\w.:\u00b7\u00c0-\uffff-]*$/;

function checkName(name: string): string {
  if (!nameRule.test(name)) throw refuse(`'${name.slice(0, 40)}' is not a name`);
  return name;
}

const named: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', apos: "'", quot: '"' };

function decodeEntities(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&([^;&\s]{0,12});?/g, (whole, body: string) => {
    if (!whole.endsWith(';')) throw refuse("'&' without an entity; write &amp;");
    if (Object.hasOwn(named, body)) return named[body] as string;
    const number = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))$/.exec(body);
    if (!number) throw refuse(`entity '&${body};' is not known`);
    const code =
      number[1] === undefined ? Number.parseInt(number[2] ?? '', 10) : Number.parseInt(number[1], 16);
    const char = code <= 0x10ffff ? String.fromCodePoint(code) : '\0';
    if (forbidden.test(char)) throw refuse(`character reference '&${body};' is not allowed in XML`);
    return char;
  });
}
