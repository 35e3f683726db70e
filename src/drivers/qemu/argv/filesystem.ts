/** Host directories in the guest: 9p by QEMU itself, virtiofs by virtiofsd. */
import type { Filesystem } from '../../../model/domain/devices/filesystem.ts';
import { aliasOf, placement } from './address.ts';
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';
import { virtioDevice, virtioOptions } from './virtio.ts';

/** All of <filesystem>. */
export function buildFilesystems(b: Build): void {
  for (const [index, fs] of b.definition.devices.filesystems.entries()) {
    const path = `devices.filesystem[${index}]`;
    const { spaceHardLimitBytes, spaceSoftLimitBytes } = fs;
    b.refuse(path, { space_hard_limit: spaceHardLimitBytes, space_soft_limit: spaceSoftLimitBytes });
    if (fs.driver?.type === 'virtiofs') buildVirtiofs(b, fs, path);
    else buildNineP(b, fs, path);
  }
}

const securityModels = { passthrough: 'passthrough', mapped: 'mapped', squash: 'none' } as const;

/** 9p: QEMU opens the directory by its path, and serves what its own user may see. */
function buildNineP(b: Build, fs: Filesystem, path: string): void {
  const alias = aliasOf(fs, path);
  const directory = fs.source.type === 'mount' ? fs.source.dir : undefined;
  if (directory === undefined) b.problem(`${path}.source`, 'must be a directory of type mount');
  if (fs.driver?.type !== undefined && fs.driver.type !== 'path')
    b.problem(`${path}.driver.type`, `'${fs.driver.type}' is not supported; use path or virtiofs`);
  b.refuse(
    path,
    { binary: fs.binary, 'driver.format': fs.driver?.format, boot: fs.boot },
    'is not known for 9p',
  );
  b.pairs('-fsdev', [
    ['', 'local'],
    ['id', `fsdev-${alias}`],
    ['path', directory],
    ['security_model', securityModels[fs.accessmode ?? 'passthrough']],
    ['writeout', fs.driver?.wrpolicy],
    ['multidevs', fs.multidevs === 'default' ? undefined : fs.multidevs],
    ['fmode', fs.fmode],
    ['dmode', fs.dmode],
    ['readonly', fs.readonly],
  ]);
  b.device(path, {
    driver: virtioDevice('virtio-9p-pci', fs.model),
    fsdev: `fsdev-${alias}`,
    mount_tag: fs.target,
    ...virtioOptions(fs.driver),
    ...placement(b, fs, path),
  });
}

/** virtiofs: the guest's RAM is shared with virtiofsd, which serves the directory over a connected socket. */
function buildVirtiofs(b: Build, fs: Filesystem, path: string): void {
  const alias = aliasOf(fs, path);
  const { accessmode, multidevs, fmode, dmode } = fs;
  const tuning = {
    accessmode: accessmode === 'passthrough' ? undefined : accessmode,
    multidevs,
    fmode,
    dmode,
  };
  b.refuse(path, tuning, 'is not known for virtiofs');
  b.refuse(
    `${path}.driver`,
    { wrpolicy: fs.driver?.wrpolicy, format: fs.driver?.format },
    'is not known for virtiofs',
  );
  const chardev = `char${alias}`;
  b.pairs('-chardev', [
    ['', 'socket'],
    ['id', chardev],
    ['fd', b.need({ kind: 'connect', path: virtiofsdSocket(b, fs, path) })],
  ]);
  b.device(path, {
    driver: virtioDevice('vhost-user-fs-pci', fs.model),
    chardev,
    'queue-size': fs.driver?.queue,
    tag: fs.target,
    ...virtioOptions(fs.driver),
    ...placement(b, fs, path),
    bootindex: fs.boot?.order,
  });
}

/** The socket of somebody else's virtiofsd, or of the one that is started for this device. */
function virtiofsdSocket(b: Build, fs: Filesystem, path: string): string {
  const source = fs.source.type === 'mount' ? fs.source : undefined;
  if (source?.socket !== undefined) {
    b.refuse(
      path,
      { binary: fs.binary, readonly: fs.readonly },
      'is up to the virtiofsd that is running already',
    );
    return source.socket;
  }
  if (source?.dir === undefined)
    b.problem(`${path}.source`, 'must be a directory or a socket, of type mount');
  const socket = `${b.context.directory}/${aliasOf(fs, path)}-fs.sock`;
  const binary = fs.binary?.path;
  b.helpers.push({
    kind: 'virtiofsd',
    socket,
    sourceDirectory: source?.dir ?? '',
    ...(binary !== undefined && { binary }),
    options: virtiofsdOptions(fs),
  });
  return socket;
}

function virtiofsdOptions(fs: Filesystem): Readonly<Record<string, string | number | boolean>> {
  const { binary } = fs;
  const options: JsonObject = {
    cache: binary?.cache,
    sandbox: binary?.sandbox,
    xattr: binary?.xattr,
    flock: binary?.lock?.flock,
    posixLock: binary?.lock?.posix,
    threadPoolSize: binary?.threadPoolSize,
    readonly: fs.readonly,
  };
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as Record<string, string | number | boolean>;
}
