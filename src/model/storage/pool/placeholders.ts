/**
 * `virsh pool-define-as NAME dir - - - - /path`: a dash holds the place of an argument that is not wanted, and arrives as
 * the name of a host, a device, a directory or a source (virsh(1), pool-define-as). None of these can have that name.
 */
import { isElement, textOf, type XmlElement } from '../../../base/xml/tree.ts';

const DASH = '-';

/** The attribute that would have the value, by the name of the child of `<source>`; `name` has it as its text. */
const attributes: Readonly<Record<string, string>> = { host: 'name', device: 'path', dir: 'path' };

/** The document of a pool without such elements. */
export function withoutPlaceholders(pool: XmlElement): XmlElement {
  return {
    ...pool,
    children: pool.children.map((node) =>
      isElement(node) && node.name === 'source'
        ? { ...node, children: node.children.filter((child) => !isElement(child) || !isPlaceholder(child)) }
        : node,
    ),
  };
}

function isPlaceholder(element: XmlElement): boolean {
  if (element.name === 'name') return textOf(element).trim() === DASH;
  const attribute = attributes[element.name];
  return attribute !== undefined && element.attrs.get(attribute) === DASH;
}
