/** Reading one document: what was asked for, what is wrong with it, and what nobody knows. */
import { type Problem, VirtError } from '../errors.ts';
import { childElements, isElement, textOf, type XmlElement } from './tree.ts';

/**
 * How a document is read. `strict` (our own API): what the mapping doesn't know is a problem. `lenient` (libvirt's
 * protocol): it is dropped, as libvirt does, and listed in `dropped`.
 */
export type ParseMode = 'strict' | 'lenient';

/** How a definition is written. Fields made with `onlyFor` look at these. */
export interface FormatOptions {
  /** Write secrets (passwords). */
  readonly secure?: boolean;
  /** Leave out what lives only while the domain runs (ids, aliases, resolved paths). */
  readonly inactive?: boolean;
}

/** Collects everything wrong with one document, each finding with its path. */
export class ParseState {
  readonly mode: ParseMode;
  readonly problems: Problem[] = [];
  readonly dropped: string[] = [];

  constructor(mode: ParseMode) {
    this.mode = mode;
  }

  problem(path: string, message: string): void {
    // A hostile document must not make a list as long as itself.
    if (this.problems.length < 100) this.problems.push({ path, message });
  }
}

/** One element while it is read: remembers which attributes and children the mapping asked for. */
export class Reader {
  readonly element: XmlElement;
  readonly path: string;
  readonly state: ParseState;
  // Of what is there only: an element has few parts, and its mapping asks for many that are not.
  private usedAttrs: string[] | undefined;
  private usedChildren: string[] | undefined;
  private usedText = false;

  constructor(element: XmlElement, path: string, state: ParseState) {
    this.element = element;
    this.path = path;
    this.state = state;
  }

  attr(name: string): string | undefined {
    const value = this.element.attrs.get(name);
    if (value !== undefined) this.usedAttrs = added(this.usedAttrs, name);
    return value;
  }

  text(): string {
    this.usedText = true;
    return textOf(this.element);
  }

  children(name: string): XmlElement[] {
    const found = childElements(this.element, name);
    if (found.length > 0) this.usedChildren = added(this.usedChildren, name);
    return found;
  }

  /** The only child of that name; a second one is a problem. Most are asked for in vain, so no list is made. */
  child(name: string): XmlElement | undefined {
    let found: XmlElement | undefined;
    for (const node of this.element.children) {
      if (!isElement(node) || node.name !== name) continue;
      if (found !== undefined) {
        this.problem(this.at(name), 'is given more than once');
        break;
      }
      found = node;
    }
    if (found !== undefined) this.usedChildren = added(this.usedChildren, name);
    return found;
  }

  at(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`;
  }

  problem(path: string, message: string): void {
    this.state.problem(path, message);
  }

  /** Reports what the mapping never asked for. Elements and attributes of foreign namespaces count as unknown. */
  finish(): void {
    const { attrs, children } = this.element;
    if (attrs.size > (this.usedAttrs?.length ?? 0)) this.finishAttributes(attrs);
    for (const node of children) {
      if (isElement(node)) {
        if (this.usedChildren?.includes(node.name) !== true)
          this.unknown(this.at(node.name), `element <${node.name}> is not known here`);
      } else if (!this.usedText && node.trim() !== '')
        this.unknown(this.path, 'has text, which is not known here');
    }
  }

  private finishAttributes(attrs: XmlElement['attrs']): void {
    for (const name of attrs.keys()) {
      if (name === 'xmlns' || name.startsWith('xmlns:') || this.usedAttrs?.includes(name)) continue;
      this.unknown(this.at(`@${name}`), `attribute '${name}' is not known here`);
    }
  }

  private unknown(path: string, message: string): void {
    if (this.state.mode === 'strict') this.problem(path, message);
    else if (this.state.dropped.length < 1000) this.state.dropped.push(path);
  }
}

/** A list of a few names, each once. */
function added(names: string[] | undefined, name: string): string[] {
  if (names === undefined) return [name];
  if (!names.includes(name)) names.push(name);
  return names;
}

/** A value in an attribute or a text: text to value (throwing `BadValue` with the reason), and back. */
export interface Scalar<T> {
  readonly parse: (text: string) => T;
  readonly format: (value: T) => string;
}

/** Thrown inside a scalar's parse; the reader turns it into a problem with its path. */
export class BadValue extends Error {}

/** Throws `code` when there are problems; the reason quotes the first, the details hold all. */
export function throwProblems(
  problems: readonly Problem[],
  wanted: string,
  code: 'xml.invalid' | 'definition.unsupported' = 'xml.invalid',
): void {
  const first = problems[0];
  if (first === undefined) return;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : '';
  throw new VirtError(code, {
    wanted,
    reason: `${first.path === '' ? '' : `${first.path}: `}${first.message}${more}`,
    details: { problems },
  });
}
