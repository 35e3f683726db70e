/** From a short description to a domain: images are made, KVM is chosen where it works, warnings are told. */
import { rm } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { VirtError } from '../../base/errors.ts';
import { statIfPresent } from '../../base/files.ts';
import { buildDomain, type DomainSpec, type SpecFacts } from '../../model/domain/profile.ts';
import { parseVolumeSecret } from '../../model/secret/secret.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import { createImage, type ImageFormat } from '../../storage/images/create.ts';
import type { DiskVolumes } from './disk-volumes.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import type { DomainLifecycle } from './domain-lifecycle.ts';
import type { DomainWorld } from './world.ts';

/** What the host must tell before a domain is made up. */
export interface HostForCreation {
  /** libvirt's name of the host's architecture. */
  readonly arch: string;
  /** Where logs of guests lie. */
  readonly logDirectory: string;
  /** Disks that are volumes of pools. */
  readonly volumes: DiskVolumes;
  /** Undefined when KVM works; else why not, with the repair. */
  kvmProblem(): Promise<{ readonly reason: string; readonly hint?: string } | undefined>;
}

export interface DiskRequest {
  /** This, or `pool`. */
  readonly path?: string | undefined;
  readonly pool?: string | undefined;
  readonly volume?: string | undefined;
  readonly format?: ImageFormat | undefined;
  readonly bus?: 'virtio' | 'scsi' | 'sata' | 'ide' | 'usb' | undefined;
  readonly readonly: boolean;
  readonly createBytes?: number | undefined;
  /** The image that `path` lies on; undefined leaves that to its header. */
  readonly below?: { readonly path: string; readonly format: ImageFormat } | undefined;
  /** What opens it, if it is encrypted with LUKS: a uuid, or `volume:PATH`. */
  readonly secret?: string | undefined;
}

export interface CreateRequest {
  /** The description without its disks and its hypervisor, which are decided here. */
  readonly spec: Omit<DomainSpec, 'disks' | 'virtType'>;
  readonly disks: readonly DiskRequest[];
  readonly virtType: 'auto' | 'kvm' | 'qemu';
  readonly start: boolean;
  readonly paused: boolean;
  readonly transient: boolean;
  readonly autostart: boolean;
  readonly autodestroyOwner?: object;
}

/** A domain that is being made. */
interface Making {
  readonly name: string;
  /** How to take away again what was made. */
  readonly made: (() => Promise<void>)[];
  readonly warnings: string[];
}

/** Pools have libvirt's word for it. */
function volumeFormat(format: ImageFormat | undefined): VolumeFormat | undefined {
  return format === 'vhdx' ? 'vhd' : format;
}

export class DomainCreation {
  private readonly world: DomainWorld;
  private readonly definitions: DomainDefinitions;
  private readonly lifecycle: DomainLifecycle;
  private readonly host: HostForCreation;

  constructor(
    world: DomainWorld,
    definitions: DomainDefinitions,
    lifecycle: DomainLifecycle,
    host: HostForCreation,
  ) {
    this.world = world;
    this.definitions = definitions;
    this.lifecycle = lifecycle;
    this.host = host;
  }

  /**
   * Makes the domain. When anything fails, images made here are removed again.
   * @throws VirtError domain.exists, file.*, definition.unsupported, kvm.unusable, program.*
   */
  async create(request: CreateRequest): Promise<{ domain: Domain; warnings: string[] }> {
    const warnings: string[] = [];
    const { name } = request.spec;
    if (this.world.registry.withName(name))
      throw new VirtError('domain.exists', {
        wanted: `create domain '${name}'`,
        reason: 'a domain of that name exists already',
      });
    await this.requireFiles(request);
    const virtType = await this.chooseVirtType(request, warnings);
    const made: (() => Promise<void>)[] = [];
    try {
      const disks: DomainSpec['disks'][number][] = [];
      // One after another: each new volume takes the next free name.
      for (const disk of request.disks) disks.push(await this.prepareDisk(disk, { name, made, warnings }));
      const facts: SpecFacts = { hostArch: this.host.arch, uid: process.getuid?.() ?? 0 };
      // What the guest prints is kept, so that it can be read when nobody was looking.
      const serialLogPath = join(this.host.logDirectory, `${name}-console.log`);
      const definition = buildDomain({ ...request.spec, virtType, disks, serialLogPath }, facts);
      if (request.transient)
        return {
          domain: await this.lifecycle.create(definition, this.startRequest(request), 'strict'),
          warnings,
        };
      const { domain } = await this.definitions.store(definition, { mode: 'strict' });
      if (request.autostart) await this.definitions.setAutostart(domain, true);
      if (request.start) await this.lifecycle.start(domain, this.startRequest(request));
      return { domain, warnings };
    } catch (error) {
      // A domain that was stored but didn't start keeps its images.
      if (!this.world.registry.withName(name)) await Promise.all(made.map((undo) => undo()));
      throw error;
    }
  }

  /** Install media and kernels must be there before anything is made. */
  private async requireFiles({ spec }: CreateRequest): Promise<void> {
    for (const what of ['cdrom', 'kernel', 'initrd'] as const) {
      const path = spec[what];
      if (path === undefined || (await statIfPresent(path)) !== undefined) continue;
      throw new VirtError('file.not-found', {
        wanted: `create domain '${spec.name}'`,
        reason: `${what}: ${path}: no such file`,
        details: { path },
      });
    }
  }

  private startRequest(request: CreateRequest): { paused: boolean; autodestroyOwner?: object } {
    return {
      paused: request.paused,
      ...(request.autodestroyOwner && { autodestroyOwner: request.autodestroyOwner }),
    };
  }

  private async chooseVirtType(request: CreateRequest, warnings: string[]): Promise<'kvm' | 'qemu'> {
    if (request.virtType !== 'auto') return request.virtType;
    const arch = request.spec.arch ?? this.host.arch;
    if (arch !== this.host.arch && !(arch === 'i686' && this.host.arch === 'x86_64')) {
      warnings.push(`a guest of ${arch} is emulated on this ${this.host.arch} host, which is slow`);
      return 'qemu';
    }
    const problem = await this.host.kvmProblem();
    if (problem === undefined) return 'kvm';
    const repair = problem.hint === undefined ? '' : ` (repair: ${problem.hint})`;
    warnings.push(`the guest runs without KVM, by emulation, which is slow: ${problem.reason}${repair}`);
    return 'qemu';
  }

  /** Makes the image when a size is given; else the file must be there. */
  async prepareDisk(disk: DiskRequest, making: Making): Promise<DomainSpec['disks'][number]> {
    const { path } = disk;
    if (path === undefined) return this.prepareVolume(disk, making);
    const exists = (await statIfPresent(path)) !== undefined;
    if (!exists && disk.secret !== undefined)
      throw new VirtError('definition.unsupported', {
        wanted: `create the disk ${path}`,
        reason: 'only volumes of pools are made encrypted',
        hint: 'give a pool in place of the path',
      });
    const format = disk.format ?? formatByName(path, disk.createBytes !== undefined && !exists);
    if (!exists) {
      if (disk.createBytes === undefined)
        throw new VirtError('file.not-found', {
          wanted: `use the disk ${path}`,
          reason: 'there is no such file',
          hint: 'give a size to create it',
        });
      if ((await statIfPresent(dirname(path))) === undefined)
        throw new VirtError('file.not-found', {
          wanted: `create the disk ${path}`,
          reason: `the directory ${dirname(path)} does not exist`,
        });
      making.made.push(() => rm(path, { force: true }));
      await createImage({ path, format, sizeBytes: disk.createBytes });
    }
    const secret = disk.secret === undefined ? undefined : parseVolumeSecret(disk.secret);
    return { path, format, readonly: disk.readonly, bus: disk.bus, below: disk.below, secret };
  }

  /** A volume of a pool, made when a size is given and it is not there. */
  private async prepareVolume(disk: DiskRequest, making: Making): Promise<DomainSpec['disks'][number]> {
    const { pool = 'default', volume, format, createBytes } = disk;
    const made = await this.host.volumes.prepare({
      domain: making.name,
      pool,
      volume,
      format: volumeFormat(format),
      createBytes,
      secret: disk.secret === undefined ? undefined : parseVolumeSecret(disk.secret),
    });
    making.made.push(made.undo);
    making.warnings.push(...made.warnings);
    return {
      path: made.path,
      volume: { pool: made.pool, name: made.volume },
      format: made.format === 'iso' || made.format === 'luks' ? 'raw' : made.format,
      readonly: disk.readonly,
      bus: disk.bus,
      secret: made.secret,
    };
  }
}

/**
 * The format of an image is never read from the image, which a guest can write (docs/security.md, class J): a name that tells
 * it, or raw. A new image is qcow2.
 */
function formatByName(path: string, isNew: boolean): ImageFormat {
  const byName: Readonly<Record<string, ImageFormat>> = {
    '.qcow2': 'qcow2',
    '.vmdk': 'vmdk',
    '.vdi': 'vdi',
    '.vhdx': 'vhdx',
    '.img': 'raw',
    '.raw': 'raw',
    '.iso': 'raw',
  };
  return byName[extname(path).toLowerCase()] ?? (isNew ? 'qcow2' : 'raw');
}
