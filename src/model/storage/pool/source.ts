/** `<source>` of a pool: where its volumes come from. Which parts a type of pool has is decided in validate.ts. */
import { attr, child, childAttr, children, childText, type Infer, object } from '../../../base/xml/codec.ts';
import { matching, oneOf, str, uint, uuidText, yesNo } from '../../../base/xml/scalars.ts';
import { plainPciCodec } from '../../domain/devices/address.ts';
import { checked, need } from '../../domain/devices/combinators.ts';

const hostName = matching(/^[A-Za-z0-9]([A-Za-z0-9.:_%-]{0,252})$/, 'a host name or an address');

const hostCodec = object({
  name: need('name', hostName),
  port: attr('port', uint({ min: 1, max: 65_535 })),
});
export type PoolHost = Infer<typeof hostCodec>;

/** A free stretch of a disk in bytes, as a report tells it. */
const freeExtent = object({ start: need('start', uint()), end: need('end', uint()) });

const deviceCodec = object({
  /** A block device, an iSCSI name (IQN), or a vdev of ZFS. */
  path: need('path', str({ min: 1, max: 4096 })),
  partSeparator: attr('part_separator', yesNo),
  freeExtents: children('freeExtent', freeExtent, 4096),
});

const wwn = matching(/^(0x)?[0-9a-fA-F]{16}$/, 'a world wide name (16 hexadecimal digits)');

const adapterCodec = checked(
  object({
    type: attr('type', oneOf('scsi_host', 'fc_host')),
    name: attr('name', matching(/^[A-Za-z0-9_-]{1,64}$/, 'the name of a SCSI host')),
    parent: attr('parent', matching(/^[A-Za-z0-9_-]{1,64}$/, 'the name of a SCSI host')),
    managed: attr('managed', yesNo),
    parentWwnn: attr('parent_wwnn', wwn),
    parentWwpn: attr('parent_wwpn', wwn),
    parentFabricWwn: attr('parent_fabric_wwn', wwn),
    wwnn: attr('wwnn', wwn),
    wwpn: attr('wwpn', wwn),
    parentAddress: child(
      'parentaddr',
      object({ uniqueId: attr('unique_id', uint({ min: 1 })), address: child('address', plainPciCodec) }),
    ),
  }),
  (adapter, reader) => {
    const isFibre = adapter.type === 'fc_host';
    if (isFibre && (adapter.wwnn === undefined || adapter.wwpn === undefined))
      reader.problem(reader.at('wwnn'), 'an fc_host needs wwnn and wwpn');
    if (!isFibre && adapter.name === undefined && adapter.parentAddress === undefined)
      reader.problem(reader.at('name'), 'is missing');
  },
);

const authCodec = checked(
  object({
    type: need('type', oneOf('chap', 'ceph')),
    username: need('username', str({ min: 1, max: 256 })),
    secret: child(
      'secret',
      object({ uuid: attr('uuid', uuidText), usage: attr('usage', str({ min: 1, max: 1024 })) }),
    ),
  }),
  ({ secret }, reader) => {
    if ((secret?.uuid === undefined) === (secret?.usage === undefined))
      reader.problem(reader.at('secret'), 'needs a uuid or a usage, not both');
  },
);

const iqn = matching(
  /^iqn\.\d{4}-(0[1-9]|1[0-2])\.[A-Za-z0-9.-]{1,200}(:[A-Za-z0-9.:_-]{1,200})?$/,
  'an iSCSI qualified name',
);

/** The order is the one in which libvirt prints. */
const sourceCodec = object({
  hosts: children('host', hostCodec, 64),
  devices: children('device', deviceCodec, 256),
  /** The exported directory. */
  dir: childAttr('dir', 'path', str({ min: 1, max: 4096 })),
  adapter: child('adapter', adapterCodec),
  /** A volume group, a Ceph pool, a Gluster volume. */
  name: childText(
    'name',
    matching(/^[A-Za-z0-9_+./-]{1,255}$/, 'the name of a volume group or a storage pool'),
  ),
  initiator: child('initiator', object({ iqn: childAttr('iqn', 'name', iqn) })),
  auth: child('auth', authCodec),
  format: childAttr('format', 'type', matching(/^[A-Za-z0-9+_-]{1,32}$/, 'the name of a format')),
  /** Version of NFS. */
  protocolVersion: childAttr('protocol', 'ver', matching(/^\d(\.\d)?$/, 'a version of a protocol')),
  vendor: childAttr('vendor', 'name', str({ max: 256 })),
  product: childAttr('product', 'name', str({ max: 256 })),
});
export type PoolSource = Infer<typeof sourceCodec>;
export const source = child('source', sourceCodec);
export const sourceDocument = sourceCodec;
