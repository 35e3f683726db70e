/** `<dnsmasq:options>`: lines for dnsmasq's configuration, for experts. Honoured only where the administrator says so. */
import { children, object, wrapped } from '../../base/xml/codec.ts';
import { str } from '../../base/xml/scalars.ts';
import { isElement, type XmlElement, xmlElement } from '../../base/xml/tree.ts';
import { need } from '../domain/devices/combinators.ts';
import { namespaceOf, splitName } from '../domain/qemu-namespace.ts';

/** The namespace's name (network.rng). */
const dnsmasqNamespace = 'http://libvirt.org/schemas/network/dnsmasq/1.0';

const option = object({ value: need('value', str({ min: 1, max: 1024 })) });

export const dnsmasqOptions = wrapped('dnsmasq:options', children('dnsmasq:option', option, 256));

/** Gives `options` in that namespace the prefix `dnsmasq`, whatever the document uses; another meaning of it is unknown. */
export function normalizeDnsmasqPrefix(root: XmlElement): XmlElement {
  const children = root.children.map((node) => {
    if (!isElement(node)) return node;
    const { prefix, local } = splitName(node.name);
    const isOurs = namespaceOf(prefix, [node, root]) === dnsmasqNamespace && local === 'options';
    if (isOurs) return renamed(node, prefix, 'dnsmasq');
    return prefix === 'dnsmasq' ? renamed(node, prefix, 'unbound-dnsmasq') : node;
  });
  return { ...root, children };
}

function renamed(element: XmlElement, from: string, to: string): XmlElement {
  const { prefix, local } = splitName(element.name);
  const children = element.children.map((node) => (isElement(node) ? renamed(node, from, to) : node));
  return { ...element, name: prefix === from ? `${to}:${local}` : element.name, children };
}

/** Declares the prefix on the root when it is used. */
export function declareDnsmasqPrefix(root: XmlElement): XmlElement {
  const isUsed = root.children.some((node) => isElement(node) && node.name === 'dnsmasq:options');
  if (!isUsed) return root;
  return xmlElement(root.name, [['xmlns:dnsmasq', dnsmasqNamespace], ...root.attrs], root.children);
}
