/** Where a disk's data comes from: the `<source>` of a disk, of its backing chain and of its mirror. */
import {
  attr,
  child,
  childAttr,
  children,
  type Field,
  type Infer,
  object,
  required,
  text,
  wrapped,
} from '../../../base/xml/codec.ts';
import { matching, oneOf, path, str, uint, uuidText, yesNo } from '../../../base/xml/scalars.ts';
import { live, plainPciCodec, reconnect, seclabels } from './address.ts';
import { checked, fixed, kinds, need, onlyWith, within } from './combinators.ts';

/** Formats of images, as libvirt names them. */
export const storageFormatNames = [
  'raw',
  'dir',
  'bochs',
  'cloop',
  'dmg',
  'iso',
  'vpc',
  'vdi',
  'fat',
  'vhd',
  'ploop',
  'luks',
  'cow',
  'qcow',
  'qcow2',
  'qed',
  'vmdk',
] as const;

export const storageFormat = oneOf(...storageFormatNames);

const secretReference = { uuid: attr('uuid', uuidText), usage: attr('usage', str({ max: 1024 })) };

/** `<auth>`: the name and the secret for a network source. The secret's value is never in a definition. */
export const authCodec = object({
  username: need('username', str({ max: 256 })),
  secret: child('secret', object({ type: need('type', oneOf('ceph', 'iscsi')), ...secretReference })),
});
export type DiskAuth = Infer<typeof authCodec>;
export const auth = child('auth', authCodec);

const passphrase = object({ type: need('type', oneOf('passphrase')), ...secretReference });

/** `<encryption>`: how the data is encrypted; secrets by reference. */
export const encryptionCodec = object({
  format: need('format', oneOf('default', 'qcow', 'luks', 'luks2')),
  engine: attr('engine', oneOf('qemu', 'librbd')),
  secrets: children('secret', passphrase),
  cipher: child(
    'cipher',
    object({
      name: need('name', str({ max: 64 })),
      sizeBits: need('size', uint({ max: 65_536 })),
      mode: attr('mode', str({ max: 64 })),
      hash: attr('hash', str({ max: 64 })),
    }),
  ),
  ivgen: child(
    'ivgen',
    object({ name: need('name', str({ max: 64 })), hash: attr('hash', str({ max: 64 })) }),
  ),
});
export type Encryption = Infer<typeof encryptionCodec>;
export const encryption = child('encryption', encryptionCodec);

const slice = object({
  kind: fixed('type', 'storage'),
  offsetBytes: need('offset', uint()),
  sizeBytes: need('size', uint({ min: 1 })),
});

const startupPolicy = attr('startupPolicy', oneOf('mandatory', 'requisite', 'optional'));

/** Parts of every source. `index` names a node of the chain while the domain runs. */
const sourceCommon = {
  index: live(attr('index', uint({ min: 1, max: 1_000_000 }))),
  slices: wrapped('slices', children('slice', slice)),
};
const localCommon = { startupPolicy, ...sourceCommon, encryption, seclabels };

const reservationsCodec = object({
  managed: attr('managed', yesNo),
  source: child(
    'source',
    object({
      kind: fixed('type', 'unix'),
      path: need('path', path),
      mode: need('mode', oneOf('server', 'client')),
      reconnect,
    }),
  ),
});

/** A host of a network source. For transport unix it is `socket`, else `name` with `port`. */
const hostCodec = checked(
  object({
    transport: attr('transport', oneOf('tcp', 'rdma', 'unix')),
    name: attr('name', matching(/^[A-Za-z0-9.:_-]{1,253}$/, 'a host name or an address')),
    port: attr('port', uint({ max: 65_535 })),
    socket: attr('socket', path),
  }),
  (host, reader) => {
    if (host.transport === 'unix') {
      if (host.socket === undefined) reader.problem(reader.at('socket'), 'is missing for a unix transport');
      if (host.name !== undefined) reader.problem(reader.at('name'), 'does not go with a unix transport');
    } else {
      if (host.name === undefined) reader.problem(reader.at('name'), 'is missing');
      if (host.socket !== undefined) reader.problem(reader.at('socket'), 'needs a unix transport');
    }
  },
);
export type SourceHost = Infer<typeof hostCodec>;

const cookie = object({
  name: need('name', matching(/^[!#$%&'*+\-.0-9A-Z^_`a-z|~]{1,256}$/, 'a cookie name (RFC 6265)')),
  value: required(
    text(matching(/^"?[!#$%&'()*+\-./0-9:>=<?@A-Z^_`[\]a-z|~]{1,4096}"?$/, 'a cookie value (RFC 6265)')),
    'value',
  ),
});

const networkParts = {
  protocol: need(
    'protocol',
    oneOf(
      'nbd',
      'rbd',
      'sheepdog',
      'gluster',
      'iscsi',
      'http',
      'https',
      'ftp',
      'ftps',
      'tftp',
      'vxhs',
      'nfs',
    ),
  ),
  name: attr('name', str()),
  query: attr('query', str()),
  tls: attr('tls', yesNo),
  tlsHostname: attr('tlsHostname', str({ max: 253 })),
  ...sourceCommon,
  hosts: children('host', hostCodec),
  /** RBD: the snapshot and the ceph configuration file. */
  snapshot: childAttr('snapshot', 'name', str({ max: 256 })),
  configFile: childAttr('config', 'file', path),
  /** iSCSI: our own name. */
  initiatorIqn: childInitiator(),
  auth,
  encryption,
  sslVerify: childAttr('ssl', 'verify', yesNo),
  cookies: wrapped('cookies', children('cookie', cookie)),
  readaheadBytes: childAttr('readahead', 'size', uint({ min: 1 })),
  timeoutSeconds: childAttr('timeout', 'seconds', uint({ min: 1 })),
  /** NFS: on whose behalf. */
  identity: child(
    'identity',
    object({ user: attr('user', str({ max: 64 })), group: attr('group', str({ max: 64 })) }),
  ),
};

/** `<initiator><iqn name='…'/></initiator>`. */
export function childInitiator(): Field<string | undefined> {
  const inner = child(
    'initiator',
    object({ iqn: required(childAttr('iqn', 'name', str({ max: 256 })), 'iqn') }),
  );
  return {
    read: (reader) => inner.read(reader)?.iqn,
    write: (element, value, options) =>
      inner.write(element, value === undefined ? undefined : { iqn: value }, options),
  };
}

/** Parts that only some protocols have (domaincommon.rng, diskSourceNetwork). */
const protocolParts = {
  query: ['http', 'https'],
  tls: ['nbd', 'vxhs'],
  tlsHostname: ['nbd'],
  snapshot: ['rbd'],
  configFile: ['rbd'],
  initiatorIqn: ['iscsi'],
  auth: ['rbd', 'iscsi', 'http', 'https', 'ftps'],
  sslVerify: ['https', 'ftps'],
  cookies: ['http', 'https'],
  readaheadBytes: ['http', 'https', 'ftp', 'ftps', 'sheepdog', 'tftp'],
  timeoutSeconds: ['http', 'https', 'ftp', 'ftps', 'sheepdog', 'tftp'],
  identity: ['nfs'],
} as const;

/** Protocols that take any number of hosts, or none; all others take exactly one. */
const manyHosts: readonly string[] = ['rbd', 'gluster'];

const networkSource = checked(within('source', networkParts), (source, reader) => {
  onlyWith(source, source.protocol, protocolParts, reader, 'source.');
  if (source.name === undefined && source.protocol !== 'nbd' && source.protocol !== 'rbd')
    reader.problem(reader.at('source.name'), `is missing for protocol ${source.protocol}`);
  if (!manyHosts.includes(source.protocol) && source.hosts.length !== 1)
    reader.problem(reader.at('source.host'), `is needed exactly once for protocol ${source.protocol}`);
  if (source.protocol === 'gluster' && source.hosts.length === 0)
    reader.problem(reader.at('source.host'), 'is missing for protocol gluster');
});

/** Everything by the `type` of the disk. A removable drive without medium has a source with nothing but its type. */
export const diskSourceKinds = {
  file: within('source', {
    /** Absolute path. */
    file: attr('file', path),
    fdgroup: attr('fdgroup', str({ max: 256 })),
    ...localCommon,
  }),
  block: within('source', {
    dev: attr('dev', path),
    ...localCommon,
    reservations: child('reservations', reservationsCodec),
  }),
  dir: within('source', { dir: attr('dir', path), startupPolicy, ...sourceCommon, encryption }),
  network: networkSource,
  volume: within('source', {
    pool: attr('pool', str({ max: 255 })),
    volume: attr('volume', str({ max: 255 })),
    mode: attr('mode', oneOf('host', 'direct')),
    ...localCommon,
  }),
  nvme: within('source', {
    bus: fixed('type', 'pci'),
    namespace: need('namespace', uint({ min: 1, max: 0xffff_ffff })),
    managed: attr('managed', yesNo),
    startupPolicy,
    ...sourceCommon,
    address: required(child('address', plainPciCodec), 'address'),
    encryption,
  }),
  vhostuser: within('source', { transport: fixed('type', 'unix'), path: need('path', path), reconnect }),
};

/** The source of a disk, by the disk's `type`. */
export const diskSource = kinds('type', diskSourceKinds, 'file');
export type DiskSource = typeof diskSource extends Field<infer T> ? T : never;
