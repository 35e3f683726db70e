/** What the `qemu:` namespace adds: arguments and environment for experts, capability edits, property overrides. */
import { attr, child, children, type Infer, object, required } from '../../base/xml/codec.ts';
import { longText, matching, oneOf, str } from '../../base/xml/scalars.ts';
import { isElement, type XmlElement, xmlElement } from '../../base/xml/tree.ts';

/** The namespace's name (domaincommon.rng, qemucmdline). */
export const qemuNamespace = 'http://libvirt.org/schemas/domain/qemu/1.0';

const envName = matching(/^[A-Za-z_][A-Za-z0-9_]{0,254}$/, 'the name of an environment variable');

const commandline = object({
  args: children('qemu:arg', object({ value: required(attr('value', longText()), 'value') })),
  env: children(
    'qemu:env',
    object({ name: required(attr('name', envName), 'name'), value: attr('value', longText()) }),
  ),
});

export type QemuCommandline = Infer<typeof commandline>;

export const qemuCommandline = child('qemu:commandline', commandline);

const capability = object({
  capability: required(attr('capability', str({ min: 1, max: 128 })), 'capability'),
});

export const qemuCapabilities = child(
  'qemu:capabilities',
  object({ add: children('qemu:add', capability), del: children('qemu:del', capability) }),
);

export const qemuDeprecation = child(
  'qemu:deprecation',
  object({ behavior: required(attr('behavior', oneOf('none', 'omit', 'reject', 'crash')), 'behavior') }),
);

const property = object({
  name: required(attr('name', matching(/^[A-Za-z0-9_.-]{1,128}$/, 'the name of a property')), 'name'),
  type: required(attr('type', oneOf('string', 'signed', 'unsigned', 'bool', 'remove')), 'type'),
  value: attr('value', str()),
});

export const qemuOverride = child(
  'qemu:override',
  object({
    devices: children(
      'qemu:device',
      object({
        alias: required(attr('alias', str({ min: 1, max: 128 })), 'alias'),
        frontend: child('qemu:frontend', object({ properties: children('qemu:property', property) })),
      }),
    ),
  }),
);

/** Names of the children of <domain> in this namespace, with the prefix that this model gives it. */
const known = ['commandline', 'capabilities', 'deprecation', 'override'];

/**
 * Gives the children of the root that are in the QEMU namespace the prefix `qemu`, whatever prefix the document uses.
 * A `qemu:` prefix that means another namespace, or none, becomes a name that nobody knows.
 */
export function normalizeQemuPrefix(root: XmlElement): XmlElement {
  return {
    ...root,
    children: root.children.map((node) => (isElement(node) ? normalizeChild(root, node) : node)),
  };
}

function normalizeChild(root: XmlElement, node: XmlElement): XmlElement {
  const { prefix, local } = splitName(node.name);
  const uri = namespaceOf(prefix, [node, root]);
  if (uri === qemuNamespace && known.includes(local)) return renamed(node, prefix, 'qemu');
  return prefix === 'qemu' ? renamed(node, prefix, 'unbound-qemu') : node;
}

function renamed(element: XmlElement, from: string, to: string): XmlElement {
  const { prefix, local } = splitName(element.name);
  const children = element.children.map((node) => (isElement(node) ? renamed(node, from, to) : node));
  return { ...element, name: prefix === from ? `${to}:${local}` : element.name, children };
}

/** `a:b` in its parts; the prefix is empty when there is none. */
export function splitName(name: string): { prefix: string; local: string } {
  const colon = name.indexOf(':');
  return colon === -1
    ? { prefix: '', local: name }
    : { prefix: name.slice(0, colon), local: name.slice(colon + 1) };
}

/** What a prefix means, looked up from the innermost element outwards; undefined when it is not declared. */
export function namespaceOf(prefix: string, scope: readonly XmlElement[]): string | undefined {
  const name = prefix === '' ? 'xmlns' : `xmlns:${prefix}`;
  for (const element of scope) {
    const uri = element.attrs.get(name);
    if (uri !== undefined) return uri === '' ? undefined : uri;
  }
  return undefined;
}

/** Declares the prefix on the root when something in it uses the namespace. */
export function declareQemuPrefix(root: XmlElement): XmlElement {
  const used = root.children.some((node) => isElement(node) && node.name.startsWith('qemu:'));
  if (!used) return root;
  return xmlElement(root.name, [...root.attrs, ['xmlns:qemu', qemuNamespace]], root.children);
}
