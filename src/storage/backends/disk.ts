/** Pools of type disk: a whole disk; its volumes are partitions. */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import type { CompletePoolDef, PoolSpace } from '../../model/storage/pool/pool.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import type {
  BuildOptions,
  NewVolume,
  PoolBackend,
  ScanContext,
  ScanResult,
  VolumeFacts,
  Work,
} from '../backend.ts';
import { blockDeviceBytes, ownership } from '../directory/look.ts';
import {
  nextPartition,
  type Partition,
  type PartitionTable,
  parsePartitions,
  partitionNumber,
} from '../partitions.ts';
import { poolFailure, type Tools } from '../tools.ts';
import type { BackendParts } from './directory-volumes.ts';
import { refuseTakenDevice, requireBlockDevice, signatureOn } from './fs.ts';

/** Words for partition types: DOS numbers and GPT identifiers (sfdisk --list-types) by libvirt's formats. */
const formatsByType: Readonly<Record<string, VolumeFormat>> = {
  '83': 'linux',
  '82': 'linux-swap',
  '8e': 'linux-lvm',
  fd: 'linux-raid',
  '6': 'fat16',
  b: 'fat32',
  c: 'fat32',
  '5': 'extended',
  f: 'extended',
  '0FC63DAF-8483-4772-8E79-3D69D8477DE4': 'linux',
  '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F': 'linux-swap',
  'E6D6D379-F507-44C2-A23C-238F2A3DF928': 'linux-lvm',
  'A19D880F-05FC-4D3B-A006-743F0F84911E': 'linux-raid',
};

/** sfdisk's shortcuts for the types that can be made. */
const typeShortcuts: Partial<Record<VolumeFormat, string>> = {
  raw: 'linux',
  none: 'linux',
  linux: 'linux',
  'linux-swap': 'swap',
  'linux-lvm': 'lvm',
  'linux-raid': 'raid',
};

/** Labels that are made here, by libvirt's words. */
const labels: Readonly<Record<string, string>> = { dos: 'dos', gpt: 'gpt', unknown: 'dos' };

export class DiskBackend implements PoolBackend {
  readonly type = 'disk';
  readonly volumeFormats = ['raw', 'none', 'linux', 'linux-swap', 'linux-lvm', 'linux-raid'] as const;
  readonly can = { build: true, delete: false, resize: false, findSources: false };
  private readonly tools: Tools;

  constructor({ tools }: BackendParts) {
    this.tools = tools;
  }

  async isActive(pool: CompletePoolDef): Promise<boolean> {
    try {
      return (await stat(deviceOf(pool))).isBlockDevice();
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw fileError(error, `look at pool '${pool.name}'`, deviceOf(pool));
    }
  }

  async start(pool: CompletePoolDef, work?: Work): Promise<void> {
    await requireBlockDevice(deviceOf(pool), pool.name);
    await this.table(pool, work);
  }

  /** A disk is there whether somebody uses it or not. */
  async stop(): Promise<void> {}

  async build(pool: CompletePoolDef, options: BuildOptions): Promise<void> {
    const device = deviceOf(pool);
    const wanted = `build pool '${pool.name}'`;
    const format = pool.source?.format ?? 'unknown';
    const label = labels[format];
    if (label === undefined)
      throw new VirtError('definition.unsupported', {
        wanted,
        reason: `a partition table of format '${format}' is not made here`,
        hint: 'name gpt or dos as the format of the source',
      });
    await requireBlockDevice(device, pool.name);
    if (options.overwrite !== true) await refuseTakenDevice(this.tools, pool.name, device, options);
    const wipe = ['--wipe', 'always', '--wipe-partitions', 'always'];
    await edit(this.tools, pool, wanted, wipe, { ...options, input: `label: ${label}\n` });
  }

  async delete(pool: CompletePoolDef): Promise<void> {
    throw new VirtError('definition.unsupported', {
      wanted: `delete pool '${pool.name}'`,
      reason: 'the partition table of a disk is not taken away',
      hint: `'wipefs --all ${deviceOf(pool)}' does, if you are sure`,
    });
  }

  async findSources(): Promise<never> {
    throw new VirtError('request.unsupported', {
      wanted: 'find storage pool sources',
      reason: 'disks of this host are not searched for',
      hint: "'lsblk' shows them",
    });
  }

  async scan(pool: CompletePoolDef, context: ScanContext): Promise<ScanResult> {
    const { partitions } = await this.table(pool, context);
    const volumes = await Promise.all(partitions.map((partition) => factsOf(partition, deviceOf(pool))));
    return { volumes, space: await spaceOf(pool, partitions), ignored: 0, unsettled: [] };
  }

  async look(pool: CompletePoolDef, name: string, context: ScanContext): Promise<VolumeFacts | undefined> {
    const { partitions } = await this.table(pool, context);
    const found = partitions.find(({ path }) => basename(path) === name);
    return found && factsOf(found, deviceOf(pool));
  }

  async space(pool: CompletePoolDef): Promise<PoolSpace> {
    return spaceOf(pool, (await this.table(pool)).partitions);
  }

  async createVolume(pool: CompletePoolDef, volume: NewVolume, work?: Work): Promise<void> {
    await this.partition(pool, volume, volume.format, work);
  }

  async fillVolume(
    pool: CompletePoolDef,
    volume: Pick<NewVolume, 'name' | 'capacityBytes'>,
    fill: (path: string) => Promise<void>,
    work?: Work,
  ): Promise<void> {
    const path = await this.partition(pool, volume, 'raw', work);
    try {
      await fill(path);
    } catch (error) {
      await this.remove(pool, volume.name);
      throw error;
    }
  }

  deleteVolume(pool: CompletePoolDef, volume: VolumeFacts, work?: Work): Promise<void> {
    return this.remove(pool, volume.name, work);
  }

  async resizeVolume(_pool: CompletePoolDef, volume: VolumeFacts): Promise<void> {
    throw new VirtError('definition.unsupported', {
      wanted: `resize volume '${volume.name}'`,
      reason: 'partitions are not resized',
    });
  }

  /** Makes a partition and gives its path. @throws VirtError request.invalid when the kernel will name it otherwise */
  private async partition(
    pool: CompletePoolDef,
    { name, capacityBytes }: Pick<NewVolume, 'name' | 'capacityBytes'>,
    format: VolumeFormat,
    work: Work = {},
  ): Promise<string> {
    const wanted = `create volume '${name}'`;
    const path = nextPartition(deviceOf(pool), await this.table(pool, work));
    // A partition's name is not ours to choose: the kernel gives it.
    if (basename(path) !== name)
      throw new VirtError('request.invalid', {
        wanted,
        reason: `the next partition of ${deviceOf(pool)} is '${basename(path)}'`,
        hint: `create it under that name`,
      });
    const sectors = Math.ceil(capacityBytes / 512);
    const input = `size=${sectors}, type=${typeShortcuts[format] ?? 'linux'}\n`;
    await edit(this.tools, pool, wanted, ['--append'], { ...work, input });
    return path;
  }

  private remove(pool: CompletePoolDef, name: string, work: Work = {}): Promise<void> {
    const number = String(partitionNumber(name));
    return edit(this.tools, pool, `delete volume '${name}'`, ['--delete'], work, number);
  }

  private table(pool: CompletePoolDef, work: Work = {}): Promise<PartitionTable> {
    return readTable(this.tools, pool, work);
  }
}

function deviceOf(pool: CompletePoolDef): string {
  const path = pool.source?.devices[0]?.path;
  if (path === undefined) throw new Error(`pool '${pool.name}' has no device`);
  return path;
}

async function readTable(tools: Tools, pool: CompletePoolDef, work: Work): Promise<PartitionTable> {
  const device = deviceOf(pool);
  const wanted = `read pool '${pool.name}'`;
  try {
    const { stdout } = await tools('sfdisk', ['--json', '--', device], { ...work });
    return parsePartitions(stdout);
  } catch (error) {
    const isEmpty = (await signatureOn(tools, device, work)) === undefined;
    const hint = isEmpty ? `make a partition table with 'vireo pool build ${pool.name}'` : undefined;
    throw poolFailure(error, wanted, hint);
  }
}

async function edit(
  tools: Tools,
  pool: CompletePoolDef,
  wanted: string,
  flags: readonly string[],
  options: Work & { readonly input?: string },
  ...rest: readonly string[]
): Promise<void> {
  try {
    await tools('sfdisk', ['--quiet', '--lock=yes', ...flags, '--', deviceOf(pool), ...rest], options);
  } catch (error) {
    throw poolFailure(error, wanted);
  }
}

async function factsOf(
  { path, startBytes, sizeBytes, type = '' }: Partition,
  device: string,
): Promise<VolumeFacts> {
  const stats = await stat(path, { bigint: true }).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined; // The kernel has not made its node (yet).
    throw fileError(error, 'look at a partition', path);
  });
  return {
    name: basename(path),
    key: path,
    path,
    type: 'block',
    format: formatsByType[type] ?? 'none',
    capacityBytes: sizeBytes,
    allocationBytes: sizeBytes,
    physicalBytes: sizeBytes,
    ...(stats && ownership(stats)),
    extents: [{ device, start: startBytes, end: startBytes + sizeBytes }],
  };
}

async function spaceOf(pool: CompletePoolDef, partitions: readonly Partition[]): Promise<PoolSpace> {
  const stats = await stat(deviceOf(pool), { bigint: true });
  const capacityBytes = await blockDeviceBytes(stats);
  const allocationBytes = partitions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return { capacityBytes, allocationBytes, availableBytes: Math.max(0, capacityBytes - allocationBytes) };
}
