/** Foreign metadata as libvirt hands it to clients: its namespace is the one that was asked for, so nothing names it. */
import { parseXml } from '../../../../base/xml/parse.ts';
import { formatXml, isElement, type XmlElement } from '../../../../base/xml/tree.ts';
import { namespaceOf, splitName } from '../../../../model/domain/qemu-namespace.ts';

/**
 * The element with all that is in its namespace, whatever prefix or default put it there, in none (libvirt:
 * virXMLExtractNamespaceXML). Clients look for plain names in it.
 */
export function withoutNamespace(xml: string): string {
  const root = parseXml(xml);
  const uri = namespaceOf(splitName(root.name).prefix, [root]);
  return (uri === undefined ? xml : formatXml(stripped(root, uri, []))).trimEnd();
}

/** `outer`: what it is in, the innermost first. */
function stripped(element: XmlElement, uri: string, outer: readonly XmlElement[]): XmlElement {
  const scope = [element, ...outer];
  const isStripped = (prefix: string) => namespaceOf(prefix, scope) === uri;
  const { prefix, local } = splitName(element.name);
  return {
    name: isStripped(prefix) ? local : element.name,
    attrs: new Map(
      [...element.attrs].flatMap(([name, value]): [string, string][] => {
        if (name === 'xmlns' || name.startsWith('xmlns:')) return value === uri ? [] : [[name, value]];
        const own = splitName(name);
        return [[own.prefix !== '' && isStripped(own.prefix) ? own.local : name, value]];
      }),
    ),
    children: element.children.map((node) => (isElement(node) ? stripped(node, uri, scope) : node)),
  };
}
