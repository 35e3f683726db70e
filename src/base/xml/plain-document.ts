/**
 * Whether a document is well-formed, told in one pass for the plain ones: elements, attributes, text and comments with
 * names in ASCII, which nearly all documents consist of. Whatever else there is, or is wrong, is left to the parser's own
 * validator, which says what and where, and takes several times as long.
 */

export interface PlainLimits {
  readonly depth: number;
  readonly nodes: number;
}

/** An element with more attributes is not plain: their names are compared one by one. */
const MAX_ATTRIBUTES = 32;

const slash = 0x2f;
const greater = 0x3e;
const exclamation = 0x21;
const equals = 0x3d;
const doubleQuote = 0x22;
const singleQuote = 0x27;

/** What an ASCII character may be in a name (XML 1.0 section 2.3; the colon, which namespaces use, within it): 1 inside, 3 at its start too. */
const nameParts = new Uint8Array(128);
for (const [from, to, what] of [
  ['a', 'z', 3],
  ['A', 'Z', 3],
  ['_', '_', 3],
  ['0', '9', 1],
  ['-', '.', 1],
  [':', ':', 1],
] as const)
  nameParts.fill(what, from.charCodeAt(0), to.charCodeAt(0) + 1);

/**
 * True for a document that has one root, whose tags fit each other, whose attributes are quoted, separated and given once,
 * and that is within the limits. False says nothing: look more closely.
 */
export function isPlainDocument(source: string, limits: PlainLimits): boolean {
  // References are checked where they are decoded, and by the validator.
  return !source.includes('&') && new PlainScan(source, limits).isWellFormed();
}

class PlainScan {
  private readonly source: string;
  private readonly limits: PlainLimits;
  private readonly open: string[] = [];
  /** Of the element at hand. */
  private readonly names: string[] = [];
  private nodes = 0;
  private hasRoot = false;

  constructor(source: string, limits: PlainLimits) {
    this.source = source;
    this.limits = limits;
  }

  isWellFormed(): boolean {
    const { source, open } = this;
    let at = 0;
    for (;;) {
      const tag = source.indexOf('<', at);
      const isOutside = open.length === 0;
      if (isOutside && this.skipBlank(at) !== (tag === -1 ? source.length : tag)) return false;
      if (tag === -1) return isOutside && this.hasRoot;
      const next = source.charCodeAt(tag + 1);
      if (next === slash) at = this.closeTag(tag);
      else if (next === exclamation) at = this.comment(tag);
      else if (isOutside && this.hasRoot) return false;
      else at = this.openTag(tag);
      if (at === -1) return false;
    }
  }

  // Each of these gets the index of a `<`, and gives the index behind what begins there, or -1 where it is not plain.

  private closeTag(tag: number): number {
    const name = this.open.pop();
    if (name === undefined || !this.source.startsWith(name, tag + 2)) return -1;
    const end = this.skipBlank(tag + 2 + name.length);
    return this.source.charCodeAt(end) === greater ? end + 1 : -1;
  }

  private comment(tag: number): number {
    if (!this.source.startsWith('<!--', tag)) return -1;
    const end = this.source.indexOf('-->', tag + 4);
    return end === -1 ? -1 : end + 3;
  }

  private openTag(tag: number): number {
    const { source } = this;
    this.nodes += 1;
    const nameEnd = this.nameEnd(tag + 1);
    if (nameEnd === -1 || this.nodes > this.limits.nodes) return -1;
    const next = source.indexOf('<', nameEnd);
    const end = this.attributes(nameEnd, next === -1 ? source.length : next);
    if (end === -1) return -1;
    this.hasRoot = true;
    if (source.charCodeAt(end) === slash) return source.charCodeAt(end + 1) === greater ? end + 2 : -1;
    if (this.open.push(source.slice(tag + 1, nameEnd)) > this.limits.depth) return -1;
    return end + 1;
  }

  /** The index of the `>` or `/` behind the attributes that begin at `from`; they end before `limit`, where the next tag begins. */
  private attributes(from: number, limit: number): number {
    const { source, names } = this;
    names.length = 0;
    for (let end = from; ; ) {
      const start = this.skipBlank(end);
      const first = source.charCodeAt(start);
      if (first === greater || first === slash) return start;
      const nameEnd = start === end ? -1 : this.nameEnd(start);
      if (nameEnd === -1 || source.charCodeAt(nameEnd) !== equals) return -1;
      const quote = source.charCodeAt(nameEnd + 1);
      if (quote !== singleQuote && quote !== doubleQuote) return -1;
      const close = source.indexOf(quote === singleQuote ? "'" : '"', nameEnd + 2);
      const name = source.slice(start, nameEnd);
      if (close === -1 || close > limit || names.includes(name) || names.push(name) > MAX_ATTRIBUTES)
        return -1;
      end = close + 1;
    }
  }

  /** Behind the name that begins at `from`, or -1 where none does. */
  private nameEnd(from: number): number {
    const { source } = this;
    // Beyond the table, as beyond the text, is undefined.
    if (nameParts[source.charCodeAt(from)] !== 3) return -1;
    let at = from + 1;
    while ((nameParts[source.charCodeAt(at)] ?? 0) !== 0) at += 1;
    return at;
  }

  private skipBlank(from: number): number {
    let at = from;
    for (;;) {
      const code = this.source.charCodeAt(at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x09 && code !== 0x0d) return at;
      at += 1;
    }
  }
}
