/** What a client gives to set or remove the metadata element of one namespace, of a domain or a network. */
import { VirtError } from '../../base/errors.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { isElement, type XmlElement } from '../../base/xml/tree.ts';
import type { withMetadata } from '../../model/domain/metadata.ts';

/**
 * What takes the place of the element: undefined (for null) removes it. `prefix` is what it is written with.
 * @throws VirtError request.invalid, xml.malformed
 */
export function metadataReplacement(
  xml: string | null,
  prefix: string | undefined,
): Parameters<typeof withMetadata>[2] {
  if (xml === null) return undefined;
  if (prefix === undefined)
    throw new VirtError('request.invalid', {
      wanted: 'set metadata',
      reason: 'a prefix (key) is needed with the element',
    });
  const element = parseXml(xml);
  const children = element.children.map((node) =>
    isElement(node) ? qualified(node, prefix, hasDefault(element, false)) : node,
  );
  return { element: { ...element, children }, prefix };
}

const hasDefault = (element: XmlElement, inherited: boolean): boolean =>
  element.attrs.has('xmlns') ? element.attrs.get('xmlns') !== '' : inherited;

/** What is in no namespace belongs to the element it is in (libvirt: virXMLInjectNamespace). */
function qualified(element: XmlElement, prefix: string, isInDefault: boolean): XmlElement {
  // From here on the prefix means something else.
  if (element.attrs.has(`xmlns:${prefix}`)) return element;
  const isNamed = hasDefault(element, isInDefault);
  return {
    ...element,
    name: isNamed || element.name.includes(':') ? element.name : `${prefix}:${element.name}`,
    children: element.children.map((node) => (isElement(node) ? qualified(node, prefix, isNamed) : node)),
  };
}
