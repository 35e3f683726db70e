/** Pools of type fs: a file system on a block device of this host, mounted while the pool is active. */
import { realpath, stat } from 'node:fs/promises';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import type { CompletePoolDef } from '../../model/storage/pool/pool.ts';
import type { BuildOptions, PoolBackend, Work } from '../backend.ts';
import { isMountedFrom, mountPool, unmountPool } from '../mounts.ts';
import { poolFailure, type Tools } from '../tools.ts';
import { type BackendParts, directoryOf, directoryVolumes } from './directory-volumes.ts';
import { ensureTarget, removeTarget, requireTarget } from './target.ts';

/** The kernel's word for a format, where it has another one. */
const kernelTypes: Readonly<Record<string, string>> = { 'hfs+': 'hfsplus' };

/** File systems that are mounted when the format is `auto` and the device tells one of them. */
const automatic = ['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'vfat', 'iso9660', 'udf', 'f2fs'];

/** How mkfs is told not to ask, by format; others are not made here. */
const mkfsForce: Readonly<Record<string, readonly string[]>> = {
  ext2: ['-q', '-F'],
  ext3: ['-q', '-F'],
  ext4: ['-q', '-F'],
  xfs: ['-q', '-f'],
  vfat: [],
};

export function fsBackend(parts: BackendParts): PoolBackend {
  const { tools } = parts;
  return {
    type: 'fs',
    can: { build: true, delete: true, resize: true, findSources: false },
    ...directoryVolumes(parts),
    isActive: async (pool) => isMountedFrom(pool.name, directoryOf(pool), await namesOf(deviceOf(pool))),
    async start(pool, work) {
      await requireTarget(pool);
      const device = deviceOf(pool);
      await requireBlockDevice(device, pool.name);
      const target = directoryOf(pool);
      if (await isMountedFrom(pool.name, target, await namesOf(device))) return;
      const type = await mountType(tools, pool, work);
      const options = pool.mountOptions.map(({ name }) => name);
      await mountPool(tools, { pool: pool.name, type, source: device, target, options }, work);
    },
    async stop(pool, work) {
      const target = directoryOf(pool);
      if (await isMountedFrom(pool.name, target, await namesOf(deviceOf(pool))))
        await unmountPool(tools, pool.name, target, work);
    },
    async build(pool, options) {
      await ensureTarget(pool);
      if (options.overwrite === true || options.noOverwrite === true)
        await makeFileSystem(tools, pool, options);
    },
    delete: (pool) => removeTarget(pool),
    async findSources() {
      throw new VirtError('request.unsupported', {
        wanted: 'find storage pool sources',
        reason: 'file systems on devices of this host are not searched for',
        hint: "'lsblk -f' shows them",
      });
    },
  };
}

function deviceOf(pool: CompletePoolDef): string {
  const path = pool.source?.devices[0]?.path;
  if (path === undefined) throw new Error(`pool '${pool.name}' has no device`);
  return path;
}

/** The names under which the kernel may show the device. */
async function namesOf(device: string): Promise<string[]> {
  try {
    return [device, await realpath(device)];
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [device];
    throw fileError(error, 'find a device', device);
  }
}

export async function requireBlockDevice(path: string, pool: string): Promise<void> {
  const wanted = `use pool '${pool}'`;
  try {
    if ((await stat(path)).isBlockDevice()) return;
  } catch (error) {
    throw fileError(error, wanted, path);
  }
  throw new VirtError('pool.failed', { wanted, reason: `${path} is not a block device` });
}

/** The type is always said to mount, also when the definition leaves it open: then it is what the device tells. */
async function mountType(tools: Tools, pool: CompletePoolDef, work: Work = {}): Promise<string> {
  const format = pool.source?.format ?? 'auto';
  if (format !== 'auto') return kernelTypes[format] ?? format;
  const found = (await signatureOn(tools, deviceOf(pool), work)) ?? '';
  if (automatic.includes(found)) return found;
  throw new VirtError('pool.failed', {
    wanted: `start pool '${pool.name}'`,
    reason: `${deviceOf(pool)} has ${found === '' ? 'no file system that is known' : `'${found}' on it`}`,
    hint: `make one with 'vireo pool build --overwrite ${pool.name}', or name its format`,
  });
}

/** What is on a device, by its own signature; undefined for nothing known (blkid(8): status 2). */
export async function signatureOn(
  tools: Tools,
  device: string,
  work: Work = {},
): Promise<string | undefined> {
  const args = [
    '--probe',
    '--match-tag',
    'TYPE',
    '--match-tag',
    'PTTYPE',
    '--output',
    'export',
    '--',
    device,
  ];
  const { stdout } = await tools('blkid', args, { ...work, okExitCodes: [0, 2] });
  return /^(?:TYPE|PTTYPE)=(.+)$/m.exec(stdout)?.[1];
}

/** @throws VirtError pool.built when something is on the device and may not be overwritten */
export async function refuseTakenDevice(
  tools: Tools,
  pool: string,
  device: string,
  work: Work = {},
): Promise<void> {
  const found = await signatureOn(tools, device, work);
  if (found === undefined) return;
  throw new VirtError('pool.built', {
    wanted: `build pool '${pool}'`,
    reason: `there is '${found}' on ${device}`,
    hint: 'with overwrite it is lost',
  });
}

async function makeFileSystem(tools: Tools, pool: CompletePoolDef, options: BuildOptions): Promise<void> {
  const device = deviceOf(pool);
  const format = pool.source?.format ?? 'auto';
  const wanted = `build pool '${pool.name}'`;
  await requireBlockDevice(device, pool.name);
  const force = mkfsForce[format];
  if (force === undefined)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `a file system of format '${format}' is not made here`,
      hint: `name one of ${Object.keys(mkfsForce).join(', ')} as the format of the source`,
    });
  if (options.overwrite !== true) await refuseTakenDevice(tools, pool.name, device, options);
  if (await isMountedFrom(pool.name, directoryOf(pool), await namesOf(device)))
    throw new VirtError('pool.failed', { wanted, reason: `${device} is mounted` });
  try {
    await tools(`mkfs.${format}`, [...force, '--', device], { ...options, timeoutMs: 3600_000 });
  } catch (error) {
    throw poolFailure(error, wanted);
  }
}
