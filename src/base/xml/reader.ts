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
  private readonly usedAttrs = new Set<string>();
  private readonly usedChildren = new Set<string>();
  private usedText = false;

  constructor(element: XmlElement, path: string, state: ParseState) {
    this.element = element;
    this.path = path;
    this.state = state;
  }

  attr(name: string): string | undefined {
    this.usedAttrs.add(name);
    return this.element.attrs.get(name);
  }

  text(): string {
    this.usedText = true;
    return textOf(this.element);
  }

  children(name: string): XmlElement[] {
    this.usedChildren.add(name);
    return childElements(this.element, name);
  }

  /** The only child of that name; a second one is a problem. Most are asked for in vain, so no list is made. */
  child(name: string): XmlElement | undefined {
    this.usedChildren.add(name);
    let found: XmlElement | undefined;
    for (const node of this.element.children) {
      if (!isElement(node) || node.name !== name) continue;
      if (found !== undefined) {
        this.problem(this.at(name), 'is given more than once');
        break;
      }
      found = node;
    }
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
    for (const name of this.element.attrs.keys()) {
      if (name === 'xmlns' || name.startsWith('xmlns:') || this.usedAttrs.has(name)) continue;
      this.unknown(this.at(`@${name}`), `attribute '${name}' is not known here`);
    }
    for (const node of this.element.children) {
      if (isElement(node)) {
        if (!this.usedChildren.has(node.name))
          this.unknown(this.at(node.name), `element <${node.name}> is not known here`);
      } else if (!this.usedText && node.trim() !== '')
        this.unknown(this.path, 'has text, which is not known here');
    }
  }

  private unknown(path: string, message: string): void {
    if (this.state.mode === 'strict') this.problem(path, message);
    else if (this.state.dropped.length < 1000) this.state.dropped.push(path);
  }
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
