/** Foreign metadata as libvirt hands it to clients: without the prefix that it is stored with. */
import { parseXml } from '../../../../base/xml/parse.ts';
import { formatXml, isElement, type XmlElement } from '../../../../base/xml/tree.ts';
import { splitName } from '../../../../model/domain/qemu-namespace.ts';

/** The element without the prefix of its namespace, and without the declaration where nothing else needs it. */
export function withoutPrefix(xml: string): string {
  const root = parseXml(xml);
  const { prefix } = splitName(root.name);
  const bare = stripped(root, prefix);
  if (!usesPrefix(bare, prefix)) bare.attrs.delete(prefix === '' ? 'xmlns' : `xmlns:${prefix}`);
  return formatXml(bare);
}

function stripped(element: XmlElement, prefix: string): XmlElement {
  const { prefix: own, local } = splitName(element.name);
  return {
    name: own === prefix ? local : element.name,
    attrs: new Map(element.attrs),
    children: element.children.map((node) => (isElement(node) ? stripped(node, prefix) : node)),
  };
}

/** True when an attribute somewhere in it still bears the prefix. */
function usesPrefix(element: XmlElement, prefix: string): boolean {
  if (prefix === '') return false;
  return (
    [...element.attrs.keys()].some((name) => splitName(name).prefix === prefix) ||
    element.children.some((node) => isElement(node) && usesPrefix(node, prefix))
  );
}
