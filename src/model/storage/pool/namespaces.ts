/** What pools have in namespaces of their own: mount options (`fs:`) and options of Ceph's client (`rbd:`). */
import { children, object, wrapped } from '../../../base/xml/codec.ts';
import { matching } from '../../../base/xml/scalars.ts';
import { isElement, type XmlElement, xmlElement } from '../../../base/xml/tree.ts';
import { need } from '../../domain/devices/combinators.ts';
import { namespaceOf, splitName } from '../../domain/qemu-namespace.ts';

interface PoolNamespace {
  readonly uri: string;
  readonly prefix: string;
  /** The only element of it that a pool may have. */
  readonly local: string;
}

/** The names of the namespaces (storagepool.rng). */
const namespaces: readonly PoolNamespace[] = [
  { uri: 'http://libvirt.org/schemas/storagepool/fs/1.0', prefix: 'fs', local: 'mount_opts' },
  { uri: 'http://libvirt.org/schemas/storagepool/rbd/1.0', prefix: 'rbd', local: 'config_opts' },
];

/** One option of mount(8); a comma would be a second one. */
const mountOption = matching(/^[A-Za-z0-9_.:=+@%/-]{1,255}$/, 'a mount option');

export const mountOptions = wrapped(
  'fs:mount_opts',
  children('fs:option', object({ name: need('name', mountOption) }), 64),
);

const rbdWord = matching(/^[A-Za-z0-9_.:,=+ /-]{1,255}$/, 'a word of a Ceph configuration');

export const rbdOptions = wrapped(
  'rbd:config_opts',
  children('rbd:option', object({ name: need('name', rbdWord), value: need('value', rbdWord) }), 64),
);

/** Gives our namespaces' elements their usual prefix, whatever the document uses; another meaning of one is unknown. */
export function normalizePoolPrefixes(root: XmlElement): XmlElement {
  const children = root.children.map((node) => {
    if (!isElement(node)) return node;
    const { prefix, local } = splitName(node.name);
    const uri = namespaceOf(prefix, [node, root]);
    const known = namespaces.find((namespace) => namespace.uri === uri && namespace.local === local);
    if (known !== undefined) return renamed(node, prefix, known.prefix);
    const isTaken = namespaces.some((namespace) => namespace.prefix === prefix);
    return isTaken ? renamed(node, prefix, `unbound-${prefix}`) : node;
  });
  return { ...root, children };
}

function renamed(element: XmlElement, from: string, to: string): XmlElement {
  const { prefix, local } = splitName(element.name);
  const children = element.children.map((node) => (isElement(node) ? renamed(node, from, to) : node));
  const name = prefix === from ? (to === '' ? local : `${to}:${local}`) : element.name;
  return { ...element, name, children };
}

/** Declares the prefixes that are used on the root. */
export function declarePoolPrefixes(root: XmlElement): XmlElement {
  const used = namespaces.filter(({ prefix, local }) =>
    root.children.some((node) => isElement(node) && node.name === `${prefix}:${local}`),
  );
  if (used.length === 0) return root;
  const declared = used.map(({ prefix, uri }): [string, string] => [`xmlns:${prefix}`, uri]);
  return xmlElement(root.name, [...root.attrs, ...declared], root.children);
}
