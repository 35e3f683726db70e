/** Pools of type logical: a volume group of LVM; its volumes are logical volumes. */
import { lstat } from 'node:fs/promises';
import { isVirtError, VirtError } from '../../base/errors.ts';
import { statIfPresent } from '../../base/files.ts';
import type { CompletePoolDef, PoolSpace } from '../../model/storage/pool/pool.ts';
import type { PoolSource } from '../../model/storage/pool/source.ts';
import type { NewVolume, PoolBackend, ScanContext, VolumeFacts, Work } from '../backend.ts';
import { ownership } from '../directory/look.ts';
import { type LogicalVolume, parseGroups, parsePhysical, parseVolumes, volumeColumns } from '../lvm.ts';
import { poolFailure, type Tools } from '../tools.ts';
import type { BackendParts } from './directory-volumes.ts';
import { refuseTakenDevice, requireBlockDevice } from './fs.ts';

const reporting = ['--reportformat', 'json', '--units', 'b', '--nosuffix'] as const;

/** Names that LVM accepts and does not use itself (lvm(8), "Valid names"). */
const nameRule = /^(?!snapshot|pvmove)[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,126}$/;

export function logicalBackend({ tools }: BackendParts): PoolBackend {
  const lvm = (pool: { readonly name: string }, verb: string, args: readonly string[], work: Work = {}) =>
    runLvm(tools, `${verb} pool '${pool.name}'`, args, work);
  const space = async (pool: CompletePoolDef) => spaceOf(tools, pool);
  const create = async (pool: CompletePoolDef, volume: NewVolume, work?: Work) => {
    refuseName(volume.name);
    const group = groupOf(pool);
    const bytes = Math.max(1, volume.capacityBytes);
    const size = `${bytes}b`;
    const below = volume.backing?.path;
    const args =
      below === undefined
        ? ['--size', size, '--name', volume.name, '--', group]
        : [
            '--snapshot',
            '--size',
            `${Math.max(volume.allocationBytes, bytes)}b`,
            '--name',
            volume.name,
            '--',
            below,
          ];
    await runLvm(
      tools,
      `create volume '${volume.name}'`,
      ['lvcreate', '--yes', '--wipesignatures', 'y', ...args],
      work,
    );
  };
  const remove = async (pool: CompletePoolDef, name: string, work?: Work) => {
    refuseName(name);
    await runLvm(
      tools,
      `delete volume '${name}'`,
      ['lvremove', '--force', '--', `${groupOf(pool)}/${name}`],
      work,
    );
  };
  return {
    type: 'logical',
    volumeFormats: ['raw'],
    can: { build: true, delete: true, resize: true, findSources: true },
    async isActive(pool, work) {
      const volumes = await volumesOf(tools, pool, work);
      // A group without volumes has nothing to activate.
      return volumes.some(({ isActive }) => isActive);
    },
    start: async (pool, work) =>
      void (await lvm(pool, 'start', ['vgchange', '--activate', 'ly', '--', groupOf(pool)], work)),
    stop: async (pool, work) =>
      void (await lvm(pool, 'stop', ['vgchange', '--activate', 'ln', '--', groupOf(pool)], work)),
    async build(pool, options) {
      const devices = (pool.source?.devices ?? []).map(({ path }) => path);
      if (devices.length === 0)
        throw new VirtError('definition.unsupported', {
          wanted: `build pool '${pool.name}'`,
          reason: 'source.device: is missing: a new volume group needs a device',
        });
      for (const device of devices) {
        await requireBlockDevice(device, pool.name);
        if (options.overwrite !== true) await refuseTakenDevice(tools, pool.name, device, options);
      }
      const force = options.overwrite === true ? ['--force', '--force'] : [];
      for (const device of devices)
        await lvm(pool, 'build', ['pvcreate', '--yes', ...force, '--', device], options);
      await lvm(pool, 'build', ['vgcreate', '--', groupOf(pool), ...devices], options);
    },
    async delete(pool, work) {
      const volumes = await volumesOf(tools, pool, work);
      if (volumes.length > 0)
        throw new VirtError('file.exists', {
          wanted: `delete pool '${pool.name}'`,
          reason: `its volume group has ${volumes.length} volumes`,
          hint: 'delete them first',
        });
      await lvm(pool, 'delete', ['vgremove', '--force', '--', groupOf(pool)], work);
      for (const { path } of pool.source?.devices ?? [])
        await lvm(pool, 'delete', ['pvremove', '--yes', '--', path], work);
    },
    findSources: (_source, work) => groupSources(tools, work),
    async scan(pool, context) {
      const found = await volumesOf(tools, pool, context);
      const volumes = await Promise.all(found.map((volume) => factsOf(volume, context)));
      volumes.sort((a, b) => (a.name < b.name ? -1 : 1));
      return { volumes, space: await space(pool), ignored: 0, unsettled: [] };
    },
    async look(pool, name, context) {
      const found = (await volumesOf(tools, pool, context)).find((volume) => volume.name === name);
      return found && factsOf(found, context);
    },
    space,
    createVolume: create,
    async fillVolume(pool, volume, fill, work) {
      await create(pool, { ...volume, format: 'raw', allocationBytes: volume.capacityBytes }, work);
      try {
        await fill(`/dev/${groupOf(pool)}/${volume.name}`);
      } catch (error) {
        await remove(pool, volume.name);
        throw error;
      }
    },
    deleteVolume: (pool, volume, work) => remove(pool, volume.name, work),
    async resizeVolume(pool, volume, request, work) {
      refuseName(volume.name);
      const args = [
        'lvresize',
        '--size',
        `${request.capacityBytes}b`,
        ...(request.shrink ? ['--force'] : []),
      ];
      const of = `${groupOf(pool)}/${volume.name}`;
      await runLvm(tools, `resize volume '${volume.name}'`, [...args, '--', of], work);
    },
  };
}

function groupOf(pool: CompletePoolDef): string {
  return pool.source?.name ?? pool.name;
}

function refuseName(name: string): void {
  if (nameRule.test(name)) return;
  throw new VirtError('request.invalid', {
    wanted: `use volume '${name}'`,
    reason: 'LVM does not accept the name',
    hint: 'use letters, digits and _ + . -, not - first',
  });
}

async function runLvm(
  tools: Tools,
  wanted: string,
  args: readonly string[],
  work: Work = {},
): Promise<string> {
  try {
    return (await tools('lvm', args, { ...(work.signal && { signal: work.signal }), timeoutMs: 120_000 }))
      .stdout;
  } catch (error) {
    if (isVirtError(error, 'program.failed') && /insufficient free space/i.test(error.reason))
      throw new VirtError('file.no-space', { wanted, reason: 'the volume group is full', cause: error });
    throw poolFailure(error, wanted);
  }
}

async function volumesOf(tools: Tools, pool: CompletePoolDef, work: Work = {}): Promise<LogicalVolume[]> {
  const args = ['lvs', ...reporting, '--options', volumeColumns, '--', groupOf(pool)];
  return parseVolumes(await runLvm(tools, `read pool '${pool.name}'`, args, work));
}

async function spaceOf(tools: Tools, pool: CompletePoolDef): Promise<PoolSpace> {
  const args = ['vgs', ...reporting, '--options', 'vg_name,vg_size,vg_free', '--', groupOf(pool)];
  const [group] = parseGroups(await runLvm(tools, `read pool '${pool.name}'`, args));
  const { sizeBytes = 0, freeBytes = 0 } = group ?? {};
  return { capacityBytes: sizeBytes, availableBytes: freeBytes, allocationBytes: sizeBytes - freeBytes };
}

async function factsOf(volume: LogicalVolume, { formats }: ScanContext): Promise<VolumeFacts> {
  const present = await statIfPresent(volume.path);
  const stats = present && (await lstat(volume.path, { bigint: true }));
  const group = volume.path.slice(0, volume.path.lastIndexOf('/'));
  return {
    name: volume.name,
    key: volume.uuid,
    path: volume.path,
    type: 'block',
    // What is on it is a guest's own; a format other than raw is one that a domain's definition says.
    format: (await formats.declared(volume.path)) ?? 'raw',
    capacityBytes: volume.sizeBytes,
    allocationBytes: volume.usedBytes,
    physicalBytes: volume.sizeBytes,
    ...(stats && ownership(stats)),
    ...(volume.origin !== undefined && { backing: { path: `${group}/${volume.origin}`, format: 'raw' } }),
    ...(volume.extents.length > 0 && { extents: volume.extents }),
  };
}

async function groupSources(tools: Tools, work: Work = {}): Promise<PoolSource[]> {
  const args = ['pvs', ...reporting, '--options', 'pv_name,vg_name'];
  const groups = new Map<string, string[]>();
  for (const { device, group } of parsePhysical(await runLvm(tools, 'find storage pool sources', args, work)))
    if (group !== '') groups.set(group, [...(groups.get(group) ?? []), device]);
  return [...groups].map(([name, devices]) => ({
    hosts: [],
    devices: devices.map((path) => ({ path, freeExtents: [] })),
    name,
    format: 'lvm2',
  }));
}
