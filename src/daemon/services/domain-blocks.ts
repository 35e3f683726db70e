/** Disks of domains without plugging: their size, limits, counters, errors, and reading from their images. */
import { open } from 'node:fs/promises';
import { fileError, VirtError } from '../../base/errors.ts';
import type { DiskCounters } from '../../drivers/live-tuning.ts';
import { type Disk, type IoTune, isEmptySource } from '../../model/domain/devices/disk.ts';
import { layersOf, mirrorLayers } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { refuseBackup } from './block-job-guard.ts';
import { type DiskSizes, qcow2Capacity } from './disks-at-rest.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { diskPath, occupiedBytes } from './domain-statistics.ts';
import { applyTargeted, type Targets } from './targets.ts';
import { type DomainWorld, runJob } from './world.ts';

const SAMPLE_MS = 5000;
/** libvirt's own limit is 4 MiB of a message; ours keeps an answer small. */
const MAX_PEEK_BYTES = 1024 * 1024;

export class DomainBlocks {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;

  constructor(world: DomainWorld, definitions: DomainDefinitions) {
    this.world = world;
    this.definitions = definitions;
  }

  /** Makes a disk of a running guest so large; the guest is told at once. @throws VirtError domain.no-device, qmp.* */
  async resize(domain: Domain, name: string, bytes: number): Promise<void> {
    await runJob(this.world, domain, 'resize a disk', async () => {
      const { guest } = domain.requireLive('resize a disk of');
      refuseBackup(domain, 'resize a disk of');
      const disk = findDisk(domain, guest.definition, name);
      if (disk.readonly === true || disk.device === 'cdrom')
        throw new VirtError('request.invalid', {
          wanted: `resize disk '${name}' of domain '${domain.name}'`,
          reason: 'it is read-only',
        });
      await guest.tuning.resizeDisk(aliasOf(disk), bytes);
    });
  }

  /** The limits of a disk; empty where it has none. @throws VirtError domain.no-device */
  limits(domain: Domain, name: string, options: { readonly inactive?: boolean } = {}): IoTune {
    return findDisk(domain, this.definitions.definition(domain, options), name).iotune ?? {};
  }

  /** Limits a disk; what `change` has replaces what there was, 0 lifts a limit. @throws VirtError request.invalid */
  async setLimits(domain: Domain, name: string, change: IoTune, targets: Targets): Promise<void> {
    const verb = 'limit a disk of';
    await applyTargeted(this.world, this.definitions, domain, {
      verb,
      targets,
      check: (definition) => {
        const { source, throttleFilters } = findDisk(domain, definition, name);
        if (throttleFilters !== undefined)
          throw new VirtError('request.unsupported', {
            wanted: `limit disk '${name}' of domain '${domain.name}'`,
            reason: 'its limits are those of its throttle groups',
          });
        checkLimits(domain, merged(findDisk(domain, definition, name).iotune, change));
        if (source.type === 'vhostuser')
          throw new VirtError('request.unsupported', {
            wanted: `limit disk '${name}' of domain '${domain.name}'`,
            reason: 'its data does not pass QEMU',
          });
      },
      live: async () => {
        const { guest } = domain.requireLive(verb);
        const disk = findDisk(domain, guest.definition, name);
        await guest.tuning.setDiskLimits(aliasOf(disk), merged(disk.iotune, change));
      },
      definition: (definition) => withLimits(domain, definition, name, change),
    });
    if (domain.isActive && targets.live !== false) this.tellLimits(domain, name, change);
  }

  private tellLimits(domain: Domain, name: string, change: IoTune): void {
    const entries = Object.entries(change).map(([key, value]) => [
      `blkdeviotune.${key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`,
      value,
    ]);
    const parameters = { 'blkdeviotune.disk': name, ...Object.fromEntries(entries) };
    this.world.events.emit('domain.tunable', domain.identity, { parameters });
  }

  /** Counters of one disk, or of all (name undefined). @throws VirtError domain.inactive, domain.no-device, qmp.* */
  async counters(domain: Domain, name: string | undefined): Promise<DiskCounters[]> {
    const { guest } = domain.requireLive('count the operations of');
    const alias = name === undefined ? undefined : (findDisk(domain, guest.definition, name).alias ?? '');
    const { disks = [] } = await guest.tuning.sample(['disks'], SAMPLE_MS);
    const found = disks.filter((one) => alias === undefined || one.alias === alias);
    if (name !== undefined && found.length === 0)
      throw new VirtError('domain.no-device', {
        wanted: `count the operations of disk '${name}'`,
        reason: 'QEMU does not count them',
      });
    return found;
  }

  /**
   * How large a disk is, and what it takes up on the host: of a running guest by QEMU, else by its image's file, of
   * which raw ones have no size but that of the file.
   * @throws VirtError domain.no-device, request.unsupported for what is no file here
   */
  async sizes(domain: Domain, name: string): Promise<DiskSizes> {
    const definition = this.definitions.definition(domain);
    const disk = findDisk(domain, definition, name);
    const path = diskPath(disk);
    const onHost = path === undefined ? undefined : occupiedBytes(path);
    if (domain.isActive) {
      const [found] = await this.counters(domain, name);
      if (found?.capacityBytes !== undefined) return liveSizes(found, disk, onHost);
    }
    if (onHost === undefined)
      throw new VirtError('request.unsupported', {
        wanted: `measure disk '${name}' of domain '${domain.name}'`,
        reason: path === undefined ? 'it is no file of this host' : `${path} cannot be looked at`,
      });
    const capacityBytes = await this.capacityOfFile(disk, path ?? '', onHost.physical);
    return { capacityBytes, allocationBytes: onHost.allocation, physicalBytes: onHost.physical };
  }

  /** Any but qcow2 is as long as its file. @throws VirtError file.* */
  private async capacityOfFile(disk: Disk, path: string, fileBytes: number): Promise<number> {
    if (disk.driver?.type !== 'qcow2') return fileBytes;
    try {
      return (await qcow2Capacity(path)) ?? fileBytes;
    } catch (error) {
      throw fileError(error, 'read a disk', path);
    }
  }

  /** Bytes of a disk as its file has them, formats not undone. @throws VirtError request.invalid, file.* */
  async peek(domain: Domain, name: string, offset: number, length: number): Promise<Buffer> {
    const disk = findDisk(domain, this.definitions.definition(domain), name);
    const path = diskPath(disk);
    const wanted = `read disk '${name}' of domain '${domain.name}'`;
    if (path === undefined)
      throw new VirtError('request.unsupported', { wanted, reason: 'it is no file of this host' });
    if (length > MAX_PEEK_BYTES)
      throw new VirtError('request.invalid', { wanted, reason: `at most ${MAX_PEEK_BYTES} bytes at once` });
    const bytes = await readAt(path, offset, length);
    if (bytes.length === length) return bytes;
    throw new VirtError('request.invalid', { wanted, reason: `${path} ends before that` });
  }

  /** Disks whose last operation failed. @throws VirtError domain.inactive, qmp.* */
  async errors(
    domain: Domain,
  ): Promise<{ readonly target: string; readonly error: 'no space' | 'failed' }[]> {
    const { guest } = domain.requireLive('ask about disks of');
    const found = await guest.tuning.diskErrors();
    return found.flatMap(({ alias, error }) => {
      const disk = guest.definition.devices.disks.find((one) => one.alias === alias);
      return disk === undefined ? [] : [{ target: disk.target.dev, error }];
    });
  }

  /**
   * Has an event told once when an image is written beyond this byte; 0 ends that. `name`: a disk, which stands for the
   * image that the guest writes to, or an image of its chain or of the copy that is being made of it, as `vda[2]`.
   * @throws VirtError domain.inactive, domain.no-device, qmp.*
   */
  async setThreshold(domain: Domain, name: string, bytes: number): Promise<void> {
    const { guest } = domain.requireLive('watch a disk of');
    const [, target = name, number] = /^(.*)\[(\d{1,7})\]$/.exec(name) ?? [];
    const disk = findDisk(domain, guest.definition, target);
    const images = [...layersOf(disk), ...mirrorLayers(disk)].flatMap(({ index }) => index ?? []);
    const image = number === undefined ? images[0] : images.find((one) => one === Number(number));
    if (image === undefined || isEmptySource(disk.source))
      throw new VirtError('domain.no-device', {
        wanted: `watch disk '${name}' of domain '${domain.name}'`,
        reason: isEmptySource(disk.source) ? 'there is no medium in it' : `failed to find disk '${name}'`,
        hint: `the numbers of its images: ${images.join(', ') || 'none'}`,
      });
    await guest.tuning.setWriteThreshold(image, bytes);
  }
}

function liveSizes(found: DiskCounters, disk: Disk, onHost: ReturnType<typeof occupiedBytes>): DiskSizes {
  const capacityBytes = found.capacityBytes ?? 0;
  const physicalBytes = onHost?.physical ?? found.physicalBytes ?? capacityBytes;
  const isGrowing = disk.driver?.type !== undefined && disk.driver.type !== 'raw';
  const allocationBytes = isGrowing
    ? (onHost?.allocation ?? found.allocationBytes ?? physicalBytes)
    : (onHost?.allocation ?? physicalBytes);
  return { capacityBytes, allocationBytes, physicalBytes };
}

/** A disk by its target (`vda`), the path of its image, or its alias. @throws VirtError domain.no-device */
export function findDisk(domain: Domain, { devices }: DomainDef, name: string): Disk {
  const found =
    devices.disks.find(({ target }) => target.dev === name) ??
    devices.disks.find((disk) => diskPath(disk) === name || disk.alias === name);
  if (found !== undefined) return found;
  throw new VirtError('domain.no-device', {
    wanted: `find disk '${name}' of domain '${domain.name}'`,
    reason: `invalid path: ${name}`,
    hint: `it has ${devices.disks.map(({ target }) => target.dev).join(', ') || 'no disks'}`,
    details: { disk: name },
  });
}

/** A running guest's disks have aliases. */
function aliasOf({ alias, target }: Disk): string {
  if (alias === undefined) throw new Error(`disk ${target.dev} of a running guest has no alias`);
  return alias;
}

/** A total limit takes the place of those for reads and writes, and they of it; 0 is none. */
export function merged(before: IoTune | undefined, change: IoTune): IoTune {
  const after: Record<string, unknown> = { ...before, ...change };
  for (const [key, value] of Object.entries(change)) {
    if (value === undefined || value === 0 || key === 'groupName') continue;
    const rest = /^(?:total|read|write)(.*)$/.exec(key)?.[1];
    const rivals = key.startsWith('total') ? [`read${rest}`, `write${rest}`] : [`total${rest}`];
    for (const rival of rivals) if (rest !== undefined && !(rival in change)) delete after[rival];
  }
  for (const [key, value] of Object.entries(after)) if (value === 0) delete after[key];
  return after;
}

/** QEMU's rules (util/throttle.c, throttle_is_valid), told before the guest is touched. */
export function checkLimits(domain: Domain, limits: IoTune): void {
  const refuse = (reason: string): never => {
    throw new VirtError('request.invalid', { wanted: `limit a disk of domain '${domain.name}'`, reason });
  };
  for (const what of ['BytesSec', 'IopsSec'] as const) {
    for (const kind of ['', 'Max', 'MaxLength'] as const)
      if (
        limits[`total${what}${kind}`] !== undefined &&
        (limits[`read${what}${kind}`] !== undefined || limits[`write${what}${kind}`] !== undefined)
      )
        refuse('total and read/write of the same limit cannot be set at the same time');
    for (const who of ['total', 'read', 'write'] as const) {
      const average = limits[`${who}${what}`];
      const burst = limits[`${who}${what}Max`];
      if (burst !== undefined && average === undefined) refuse('a burst needs the limit that it goes beyond');
      if (burst !== undefined && average !== undefined && burst < average)
        refuse('a burst is not lower than its limit');
      if (limits[`${who}${what}MaxLength`] !== undefined && burst === undefined)
        refuse('a length needs the burst that it is of');
    }
  }
}

function withLimits(domain: Domain, definition: DomainDef, name: string, change: IoTune): DomainDef {
  const found = findDisk(domain, definition, name);
  const disks = definition.devices.disks.map((disk) => {
    if (disk !== found) return disk;
    const { iotune: before, ...rest } = disk;
    const after = merged(before, change);
    return Object.keys(after).length === 0 ? rest : { ...rest, iotune: after };
  });
  return { ...definition, devices: { ...definition.devices, disks } };
}

async function readAt(path: string, offset: number, length: number): Promise<Buffer> {
  try {
    const handle = await open(path, 'r');
    try {
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await handle.read(bytes, 0, length, offset);
      return bytes.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw fileError(error, 'read a disk', path);
  }
}
