/** What one type of pool must have, may have and must not have; all findings at once. */
import type { Problem } from '../../../base/errors.ts';
import { fileSystems } from '../file-systems.ts';
import type { PoolDef, PoolType } from './pool.ts';

type Need = 'must' | 'may' | 'no';

/** The parts of a definition that depend on its type. */
interface Rule {
  readonly hosts: Need;
  readonly devices: Need;
  readonly dir: Need;
  readonly name: Need;
  readonly adapter?: Need;
  readonly initiator?: Need;
  /** The kind of authentication it may have. */
  readonly auth?: 'chap' | 'ceph';
  /** Words for the format; none: it has no format. */
  readonly formats?: readonly string[];
  readonly target: Need;
  readonly mountOptions?: true;
}

const none = { hosts: 'no', devices: 'no', dir: 'no', name: 'no' } as const;

const diskLabels = ['unknown', 'dos', 'dvh', 'gpt', 'mac', 'bsd', 'pc98', 'sun', 'lvm2'] as const;

const rules: Readonly<Record<PoolType, Rule>> = {
  dir: { ...none, target: 'must' },
  fs: { ...none, devices: 'must', formats: fileSystems, target: 'must', mountOptions: true },
  netfs: {
    ...none,
    hosts: 'must',
    dir: 'must',
    formats: ['auto', 'nfs', 'glusterfs', 'cifs'],
    target: 'must',
    mountOptions: true,
  },
  logical: { ...none, devices: 'may', name: 'may', formats: ['unknown', 'lvm2'], target: 'may' },
  disk: { ...none, devices: 'must', formats: diskLabels, target: 'must' },
  iscsi: { ...none, hosts: 'must', devices: 'must', initiator: 'may', auth: 'chap', target: 'must' },
  'iscsi-direct': { ...none, hosts: 'must', devices: 'must', initiator: 'must', auth: 'chap', target: 'no' },
  scsi: { ...none, adapter: 'must', target: 'must' },
  mpath: { ...none, target: 'may' },
  rbd: { ...none, hosts: 'must', name: 'must', auth: 'ceph', target: 'no' },
  sheepdog: { ...none, hosts: 'must', name: 'must', target: 'no' },
  gluster: { ...none, hosts: 'must', name: 'must', dir: 'may', target: 'no' },
  zfs: { ...none, name: 'must', devices: 'may', target: 'may' },
  vstorage: { ...none, name: 'must', target: 'must' },
};

/** Directories that are the system's or the kernel's own: no pool is put on them (docs/security.md, class I). */
const reserved = ['/', '/proc', '/sys', '/run', '/etc', '/boot', '/usr', '/bin', '/sbin', '/lib', '/lib64'];

/** Everything wrong with a definition; an empty list means that it is sound. */
export function validatePool(definition: PoolDef): Problem[] {
  const rule = rules[definition.type];
  return [
    ...partProblems(definition, rule),
    ...pathProblems(definition),
    ...formatProblems(definition, rule),
    ...optionProblems(definition, rule),
  ];
}

function partProblems({ type, source, target }: PoolDef, rule: Rule): Problem[] {
  const parts: readonly (readonly [string, Need, boolean])[] = [
    ['source.host', rule.hosts, (source?.hosts.length ?? 0) > 0],
    ['source.device', rule.devices, (source?.devices.length ?? 0) > 0],
    ['source.dir', rule.dir, source?.dir !== undefined],
    ['source.name', rule.name, source?.name !== undefined],
    ['source.adapter', rule.adapter ?? 'no', source?.adapter !== undefined],
    ['source.initiator', rule.initiator ?? 'no', source?.initiator?.iqn !== undefined],
    ['source.auth', rule.auth === undefined ? 'no' : 'may', source?.auth !== undefined],
    ['target.path', rule.target, target?.path !== undefined],
  ];
  return parts.flatMap(([path, need, isThere]) => {
    if (need === 'must' && !isThere)
      return [{ path, message: `is missing: a pool of type ${type} needs it` }];
    if (need === 'no' && isThere) return [{ path, message: `does not go with a pool of type ${type}` }];
    return [];
  });
}

function pathProblems({ type, source, target }: PoolDef): Problem[] {
  const problems: Problem[] = [];
  const path = target?.path;
  const isWithin = (directory: string) => path === directory || (path ?? '').startsWith(`${directory}/`);
  // Block devices are found below /dev, and nothing is written there by us.
  const isKernels =
    ['/proc', '/sys', '/dev'].some(isWithin) && (type === 'dir' || type === 'fs' || type === 'netfs');
  if (path !== undefined && (reserved.includes(path) || isKernels))
    problems.push({ path: 'target.path', message: `'${path}' is a directory of the system` });
  const oneDevice = type === 'fs' || type === 'disk' || type === 'iscsi' || type === 'iscsi-direct';
  if (oneDevice && (source?.devices.length ?? 0) > 1)
    problems.push({ path: 'source.device', message: `a pool of type ${type} has one device` });
  for (const [i, device] of (source?.devices ?? []).entries()) {
    const where = `source.device[${i}].path`;
    if (type.startsWith('iscsi')) {
      if (!/^iqn\.[A-Za-z0-9.:_-]{1,220}$/.test(device.path))
        problems.push({ path: where, message: 'is not an iSCSI qualified name' });
    } else if (type !== 'zfs' && !isPlainPath(device.path))
      problems.push({ path: where, message: 'is not an absolute path without .. steps' });
  }
  const isNfs = type === 'netfs' && source?.format !== 'cifs' && source?.format !== 'glusterfs';
  if (isNfs && source?.dir !== undefined && !isPlainPath(source.dir))
    problems.push({ path: 'source.dir', message: 'is not an absolute path without .. steps' });
  if (type === 'logical' && !/^[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,127}$/.test(source?.name ?? 'x'))
    problems.push({ path: 'source.name', message: 'is not the name of a volume group (lvm(8))' });
  return problems;
}

function isPlainPath(path: string): boolean {
  return path.startsWith('/') && !path.split('/').includes('..');
}

function formatProblems({ type, source }: PoolDef, rule: Rule): Problem[] {
  const problems: Problem[] = [];
  const format = source?.format;
  if (format !== undefined && rule.formats !== undefined && !rule.formats.includes(format))
    problems.push({ path: 'source.format', message: `'${format}' is none of ${rule.formats.join(', ')}` });
  if (format !== undefined && rule.formats === undefined)
    problems.push({ path: 'source.format', message: `does not go with a pool of type ${type}` });
  if (source?.auth !== undefined && rule.auth !== undefined && source.auth.type !== rule.auth)
    problems.push({ path: 'source.auth.type', message: `is ${rule.auth} for a pool of type ${type}` });
  if (source?.protocolVersion !== undefined && (type !== 'netfs' || (format !== 'nfs' && format !== 'auto')))
    problems.push({ path: 'source.protocol', message: 'goes with NFS only' });
  return problems;
}

/** Options that would take back what every mount of a pool has, or make it another kind of mount. */
const forbiddenOptions = [
  'suid',
  'dev',
  'exec',
  'bind',
  'rbind',
  'move',
  'remount',
  'loop',
  'user',
  'users',
  'owner',
  'group',
];

function optionProblems(definition: PoolDef, rule: Rule): Problem[] {
  const { type, mountOptions, rbdOptions } = definition;
  const problems: Problem[] = [];
  if (mountOptions.length > 0 && rule.mountOptions === undefined)
    problems.push({ path: 'fs:mount_opts', message: `does not go with a pool of type ${type}` });
  if (rbdOptions.length > 0 && type !== 'rbd')
    problems.push({ path: 'rbd:config_opts', message: `does not go with a pool of type ${type}` });
  for (const [i, { name }] of mountOptions.entries()) {
    const word = name.split('=')[0] ?? '';
    if (forbiddenOptions.includes(word) || word.startsWith('x-') || word === 'helper')
      problems.push({ path: `fs:mount_opts.option[${i}]`, message: `'${word}' is not accepted for a pool` });
  }
  return problems;
}

/** Words for the format of the source of a type, the one that is meant by default first. */
export function sourceFormatsOf(type: PoolType): readonly string[] {
  return rules[type].formats ?? [];
}
