/** Disks over the network: nbd, http(s), ftp(s), iscsi, rbd, gluster and nfs as protocol nodes. */
import type { DiskAuth, DiskSource, SourceHost } from '../../../model/domain/devices/source.ts';
import type { Build } from './context.ts';
import { addCredentials } from './secret.ts';
import type { JsonObject } from './types.ts';

type Node = JsonObject & { readonly driver: string };
type NetworkSource = Extract<DiskSource, { type: 'network' }>;

const ports: Readonly<Record<string, number>> = {
  nbd: 10_809,
  http: 80,
  https: 443,
  ftp: 21,
  ftps: 990,
  iscsi: 3260,
  rbd: 6789,
  gluster: 24_007,
};

/** Where a source stands: in the definition, and in QEMU; with who it is opened as. */
interface Where {
  readonly path: string;
  readonly node: string;
  readonly auth: DiskAuth | undefined;
}

/** The protocol node of a network source, without what all nodes have. */
export function networkSource(b: Build, source: NetworkSource, where: Where): Node {
  const { path, auth } = where;
  if (source.protocol !== 'rbd' && source.protocol !== 'iscsi')
    b.refuse(path, { auth }, `is not supported for protocol '${source.protocol}'`);
  b.refuse(path, { tls: source.tls || undefined, tlsHostname: source.tlsHostname });
  if (!isWeb(source)) b.refuse(path, { query: source.query }, 'only goes with http and ftp');
  refuseForeign(b, source, path);
  switch (source.protocol) {
    case 'nbd':
      return { driver: 'nbd', server: oneServer(b, source, path), export: source.name ?? '' };
    case 'http':
    case 'https':
    case 'ftp':
    case 'ftps':
      return web(b, source, path);
    case 'iscsi':
      return iscsiNode(b, source, where);
    case 'rbd':
      return { ...rbd(b, source, path), ...cephx(b, where) };
    case 'gluster':
      return gluster(b, source, path);
    case 'nfs':
      return nfs(b, source, path);
    case 'sheepdog':
    case 'tftp':
    case 'vxhs':
      b.problem(`${path}.protocol`, `'${source.protocol}' is not offered by QEMU any more`);
      return { driver: 'null-co' };
  }
}

const isWeb = (source: NetworkSource): boolean => ['http', 'https', 'ftp', 'ftps'].includes(source.protocol);

/** Parts that only some protocols have. */
function refuseForeign(b: Build, source: NetworkSource, path: string): void {
  const why = `does not go with protocol '${source.protocol}'`;
  const { snapshot, configFile, initiatorIqn, sslVerify, cookies, readaheadBytes, timeoutSeconds, identity } =
    source;
  if (source.protocol !== 'rbd') b.refuse(path, { snapshot, config: configFile }, why);
  if (source.protocol !== 'iscsi') b.refuse(path, { initiator: initiatorIqn }, why);
  if (!isWeb(source))
    b.refuse(path, { ssl: sslVerify, cookies, readahead: readaheadBytes, timeout: timeoutSeconds }, why);
  if (source.protocol !== 'nfs') b.refuse(path, { identity }, why);
}

function oneHost(b: Build, source: Pick<NetworkSource, 'hosts'>, path: string): SourceHost {
  if (source.hosts.length !== 1) b.problem(`${path}.host`, 'exactly one host is needed');
  return source.hosts[0] ?? {};
}

function oneServer(b: Build, source: NetworkSource, path: string): JsonObject {
  const host = oneHost(b, source, path);
  if (host.transport === 'unix') return { type: 'unix', path: host.socket };
  if (host.transport === 'rdma') b.problem(`${path}.host.transport`, `'rdma' is not supported`);
  return { type: 'inet', ...inet(host, source.protocol) };
}

function inet(host: SourceHost, protocol: string): { host: string; port: string } {
  return { host: host.name ?? '', port: String(host.port ?? ports[protocol] ?? 0) };
}

function web(b: Build, source: NetworkSource, path: string): Node {
  const { host, port } = inet(oneHost(b, source, path), source.protocol);
  const name = encodeURI((source.name ?? '').replace(/^\/+/, ''));
  const query = source.query === undefined ? '' : `?${source.query}`;
  const authority = host.includes(':') ? `[${host}]` : host;
  if (source.cookies.length > 0 && source.protocol !== 'http')
    b.problem(`${path}.cookies`, 'are supported for http only, since they are secrets and would be seen');
  return {
    driver: source.protocol,
    url: `${source.protocol}://${authority}:${port}/${name}${query}`,
    sslverify: source.protocol === 'https' || source.protocol === 'ftps' ? source.sslVerify : undefined,
    cookie:
      source.cookies.length === 0 ? undefined : source.cookies.map((c) => `${c.name}=${c.value}`).join('; '),
    readahead: source.readaheadBytes,
    timeout: source.timeoutSeconds,
  };
}

/** A LUN of an iSCSI target; of a disk, or of a SCSI device that is passed through. */
export function iscsiNode(b: Build, source: IscsiSource, where: Where): Node {
  return { ...iscsi(b, source, where.path), ...chap(b, where) };
}

type IscsiSource = Pick<NetworkSource, 'hosts'> & Partial<Pick<NetworkSource, 'name' | 'initiatorIqn'>>;

/** `iqn.2013-07.com.example:iscsi/1`: the target, and the LUN behind the last slash. */
function iscsi(b: Build, source: IscsiSource, path: string): Node {
  const { host, port } = inet(oneHost(b, source, path), 'iscsi');
  const found = /^(.+?)(?:\/(\d{1,5}))?$/.exec(source.name ?? '');
  if (found === null) b.problem(`${path}.name`, 'is missing');
  return {
    driver: 'iscsi',
    portal: `${host.includes(':') ? `[${host}]` : host}:${port}`,
    target: found?.[1],
    lun: Number(found?.[2] ?? 0),
    transport: 'tcp',
    'initiator-name': source.initiatorIqn,
  };
}

function chap(b: Build, { path, node, auth }: Where): JsonObject {
  if (auth === undefined) return {};
  return {
    user: auth.username,
    'password-secret': addCredentials(b, auth, { node, type: 'iscsi', path }),
  };
}

/** With a key, cephx is what the client offers first (qapi/block-core.json, BlockdevOptionsRbd). */
function cephx(b: Build, { path, node, auth }: Where): JsonObject {
  if (auth === undefined) return {};
  return {
    user: auth.username,
    'key-secret': addCredentials(b, auth, { node, type: 'ceph', path }),
    'auth-client-required': ['cephx', 'none'],
  };
}

/** `pool/image`, or `pool/namespace/image`. */
function rbd(b: Build, source: NetworkSource, path: string): Node {
  const parts = (source.name ?? '').split('/');
  if (parts.length < 2 || parts.length > 3 || parts.includes(''))
    b.problem(`${path}.name`, 'is not POOL/IMAGE');
  const [pool, ...rest] = parts;
  return {
    driver: 'rbd',
    pool,
    namespace: rest.length > 1 ? rest[0] : undefined,
    image: rest[rest.length - 1],
    server: source.hosts.length === 0 ? undefined : source.hosts.map((host) => inet(host, 'rbd')),
    snapshot: source.snapshot,
    conf: source.configFile,
  };
}

function gluster(b: Build, source: NetworkSource, path: string): Node {
  const found = /^([^/]+)\/(.+)$/.exec(source.name ?? '');
  if (found === null) b.problem(`${path}.name`, 'is not VOLUME/IMAGE');
  const server = source.hosts.map((host) =>
    host.transport === 'unix'
      ? { type: 'unix', path: host.socket }
      : { type: 'inet', ...inet(host, 'gluster') },
  );
  return { driver: 'gluster', volume: found?.[1], path: found?.[2], server };
}

function nfs(b: Build, source: NetworkSource, path: string): Node {
  const host = oneHost(b, source, path);
  const asId = (name: 'user' | 'group'): number | undefined => {
    const text = source.identity?.[name];
    if (text === undefined) return undefined;
    if (!/^\+?\d+$/.test(text)) b.problem(`${path}.identity.${name}`, 'is not a number');
    return Number(text);
  };
  return {
    driver: 'nfs',
    server: { host: host.name ?? '', type: 'inet' },
    path: source.name ?? '',
    user: asId('user'),
    group: asId('group'),
  };
}
