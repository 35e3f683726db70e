/** A mediated device as clients ask for one (libvirt, "Node devices XML format", capability `mdev`). */
import { VirtError } from '../../base/errors.ts';
import {
  attr,
  child,
  childAttr,
  children,
  childText,
  type Infer,
  object,
  type ParseMode,
  readDocument,
  required,
} from '../../base/xml/codec.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { matching, str, uuidText } from '../../base/xml/scalars.ts';

/** Becomes a name in sysfs. */
const sysfsName = matching(/^(?!\.)[\w.:-]{1,128}$/, 'a name in sysfs');

/** Below the device: no step leads up. */
export const attributeRule = /^[\w:-][\w.:-]*(\/[\w:-][\w.:-]*){0,3}$/;

const attribute = object({
  name: required(attr('name', matching(attributeRule, 'an attribute in sysfs')), 'name'),
  value: required(attr('value', str({ max: 4095 })), 'value'),
});

const deviceCodec = object({
  /** Given by us; what a client wrote is not looked at. */
  name: childText('name', str({ max: 512 })),
  parent: required(childText('parent', str({ min: 1, max: 512 })), 'parent'),
  capability: required(
    child(
      'capability',
      object({
        type: attr('type', str({ max: 64 })),
        typeId: required(childAttr('type', 'id', sysfsName), 'type.id'),
        uuid: childText('uuid', uuidText),
        /** Of the document of a device that is there: where its parent is. */
        parentAddress: childText('parent_addr', str({ max: 128 })),
        /** Written to the device one after the other, once it is there. */
        attributes: children('attr', attribute),
      }),
    ),
    'capability',
  ),
});

export type MdevAttribute = Infer<typeof attribute>;

export interface MdevDefinition {
  /** libvirt's name of the device that is divided: `pci_0000_00_02_0`. */
  readonly parent: string;
  readonly typeId: string;
  readonly uuid?: string;
  readonly attributes: readonly MdevAttribute[];
}

/**
 * Reads a `<device>` that is to be made or defined.
 * @throws VirtError xml.malformed, xml.invalid; definition.unsupported for a device of any other kind
 */
export function parseMdev(xml: string, options: { readonly mode: ParseMode }): MdevDefinition {
  const root = parseXml(xml);
  const capability = root.children.find((node) => typeof node !== 'string' && node.name === 'capability');
  const kind = typeof capability === 'object' ? capability.attrs.get('type') : undefined;
  if (root.name === 'device' && kind !== undefined && kind !== 'mdev')
    throw new VirtError('definition.unsupported', {
      wanted: 'make a node device',
      reason: `capability.type: a device of the kind '${kind}' cannot be made, only mediated ones (mdev)`,
    });
  const what = { mode: options.mode, what: 'node device' };
  const { parent, capability: found } = readDocument(deviceCodec, root, 'device', what).value;
  const { typeId, uuid, attributes } = found;
  return { parent, typeId, attributes, ...(uuid !== undefined && { uuid }) };
}
