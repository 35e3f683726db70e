/** Pools of type logical: a volume group of LVM; its volumes are logical volumes. */
import { lstat } from 'node:fs/promises';
import { isVirtError, VirtError } from '../../base/errors.ts';
import { statIfPresent } from '../../base/files.ts';
import type { CompletePoolDef, PoolSpace } from '../../model/storage/pool/pool.ts';
import type { PoolSource } from '../../model/storage/pool/source.ts';
import type {
  BuildOptions,
  NewVolume,
  PoolBackend,
  ResizeRequest,
  ScanContext,
  ScanResult,
  VolumeFacts,
  Work,
} from '../backend.ts';
import { ownership } from '../directory/look.ts';
import { type LogicalVolume, parseGroups, parsePhysical, parseVolumes, volumeColumns } from '../lvm.ts';
import { poolFailure, type Tools } from '../tools.ts';
import type { BackendParts } from './directory-volumes.ts';
import { refuseTakenDevice, requireBlockDevice } from './fs.ts';

const reporting = ['--reportformat', 'json', '--units', 'b', '--nosuffix'] as const;

/** Names that LVM accepts and does not use itself (lvm(8), "Valid names"). */
const nameRule = /^(?!snapshot|pvmove)[A-Za-z0-9_+.][A-Za-z0-9_+.-]{0,126}$/;

export class LogicalBackend implements PoolBackend {
  readonly type = 'logical';
  readonly volumeFormats = ['raw'] as const;
  readonly can = { build: true, delete: true, resize: true, findSources: true };
  private readonly tools: Tools;

  constructor({ tools }: BackendParts) {
    this.tools = tools;
  }

  async isActive(pool: CompletePoolDef, work?: Work): Promise<boolean> {
    const volumes = await volumesOf(this.tools, pool, work);
    // A group without volumes has nothing to activate.
    return volumes.some(({ isActive }) => isActive);
  }

  async start(pool: CompletePoolDef, work?: Work): Promise<void> {
    await this.lvm(pool, 'start', ['vgchange', '--activate', 'ly', '--', groupOf(pool)], work);
  }

  async stop(pool: CompletePoolDef, work?: Work): Promise<void> {
    await this.lvm(pool, 'stop', ['vgchange', '--activate', 'ln', '--', groupOf(pool)], work);
  }

  async build(pool: CompletePoolDef, options: BuildOptions): Promise<void> {
    const devices = (pool.source?.devices ?? []).map(({ path }) => path);
    if (devices.length === 0)
      throw new VirtError('definition.unsupported', {
        wanted: `build pool '${pool.name}'`,
        reason: 'source.device: is missing: a new volume group needs a device',
      });
    for (const device of devices) {
      await requireBlockDevice(device, pool.name);
      if (options.overwrite !== true) await refuseTakenDevice(this.tools, pool.name, device, options);
    }
    const force = options.overwrite === true ? ['--force', '--force'] : [];
    for (const device of devices)
      await this.lvm(pool, 'build', ['pvcreate', '--yes', ...force, '--', device], options);
    await this.lvm(pool, 'build', ['vgcreate', '--', groupOf(pool), ...devices], options);
  }

  async delete(pool: CompletePoolDef, work?: Work): Promise<void> {
    const volumes = await volumesOf(this.tools, pool, work);
    if (volumes.length > 0)
      throw new VirtError('file.exists', {
        wanted: `delete pool '${pool.name}'`,
        reason: `its volume group has ${volumes.length} volumes`,
        hint: 'delete them first',
      });
    await this.lvm(pool, 'delete', ['vgremove', '--force', '--', groupOf(pool)], work);
    for (const { path } of pool.source?.devices ?? [])
      await this.lvm(pool, 'delete', ['pvremove', '--yes', '--', path], work);
  }

  findSources(_source: PoolSource | undefined, work?: Work): Promise<PoolSource[]> {
    return groupSources(this.tools, work);
  }

  async scan(pool: CompletePoolDef, context: ScanContext): Promise<ScanResult> {
    const found = await volumesOf(this.tools, pool, context);
    const volumes = await Promise.all(found.map((volume) => factsOf(volume, context)));
    volumes.sort((a, b) => (a.name < b.name ? -1 : 1));
    return { volumes, space: await this.space(pool), ignored: 0, unsettled: [] };
  }

  async look(pool: CompletePoolDef, name: string, context: ScanContext): Promise<VolumeFacts | undefined> {
    const found = (await volumesOf(this.tools, pool, context)).find((volume) => volume.name === name);
    return found && factsOf(found, context);
  }

  space(pool: CompletePoolDef): Promise<PoolSpace> {
    return spaceOf(this.tools, pool);
  }

  async createVolume(pool: CompletePoolDef, volume: NewVolume, work?: Work): Promise<void> {
    refuseName(volume.name);
    const bytes = Math.max(1, volume.capacityBytes);
    const below = volume.backing?.path;
    const [kind, size, of] =
      below === undefined
        ? [[], bytes, groupOf(pool)]
        : [['--snapshot'], Math.max(volume.allocationBytes, bytes), below];
    const args = [...kind, '--size', `${size}b`, '--name', volume.name, '--', of];
    const wanted = `create volume '${volume.name}'`;
    await runLvm(this.tools, wanted, ['lvcreate', '--yes', '--wipesignatures', 'y', ...args], work);
  }

  async fillVolume(
    pool: CompletePoolDef,
    volume: Pick<NewVolume, 'name' | 'permissions' | 'capacityBytes'>,
    fill: (path: string) => Promise<void>,
    work?: Work,
  ): Promise<void> {
    const made: NewVolume = { ...volume, format: 'raw', allocationBytes: volume.capacityBytes };
    await this.createVolume(pool, made, work);
    try {
      await fill(`/dev/${groupOf(pool)}/${volume.name}`);
    } catch (error) {
      await this.remove(pool, volume.name);
      throw error;
    }
  }

  deleteVolume(pool: CompletePoolDef, volume: VolumeFacts, work?: Work): Promise<void> {
    return this.remove(pool, volume.name, work);
  }

  async resizeVolume(
    pool: CompletePoolDef,
    volume: VolumeFacts,
    request: ResizeRequest,
    work?: Work,
  ): Promise<void> {
    refuseName(volume.name);
    const size = ['--size', `${request.capacityBytes}b`, ...(request.shrink ? ['--force'] : [])];
    const args = ['lvresize', ...size, '--', `${groupOf(pool)}/${volume.name}`];
    await runLvm(this.tools, `resize volume '${volume.name}'`, args, work);
  }

  private async remove(pool: CompletePoolDef, name: string, work?: Work): Promise<void> {
    refuseName(name);
    const args = ['lvremove', '--force', '--', `${groupOf(pool)}/${name}`];
    await runLvm(this.tools, `delete volume '${name}'`, args, work);
  }

  /** One step of what is done to the whole pool. */
  private async lvm(
    { name }: CompletePoolDef,
    verb: string,
    args: readonly string[],
    work?: Work,
  ): Promise<void> {
    await runLvm(this.tools, `${verb} pool '${name}'`, args, work);
  }
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
