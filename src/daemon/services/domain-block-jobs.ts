/**
 * Jobs on the images of running guests: pulling data up, merging it down, copying a disk elsewhere.
 *
 * For other services: `commit(domain, wish, { isHeld: true })` is for a caller that is inside a job of the domain already
 * (`runJob`); its `ended` settles when the merge is over and stored.
 */
import { dirname, isAbsolute, join } from 'node:path';
import { VirtError } from '../../base/errors.ts';
import type { BlockJobInfo, BlockJobRecord, BlockJobRequest } from '../../drivers/driver.ts';
import type { Disk } from '../../model/domain/devices/disk.ts';
import type { DiskSource } from '../../model/domain/devices/source.ts';
import { type Layer, layersOf, pathOfSource } from '../../model/domain/disk-chain.ts';
import { refuseBlockJobs } from './block-job-guard.ts';
import type { BlockJobEnd, BlockJobWatch, UnfinishedJob } from './block-job-watch.ts';
import { makeCopyTarget } from './copy-target.ts';
import type { Domain } from './domain.ts';
import { findDisk } from './domain-blocks.ts';
import { saveStatus } from './domain-status.ts';
import { type DomainWorld, runJob } from './world.ts';

/** What all jobs are asked with. `disk`: target, alias or path. */
export interface BlockJobWish {
  readonly disk: string;
  /** 0 or left out: no limit. */
  readonly bytesPerSecond?: number | undefined;
}

/** Images are named by path, by `vda[3]` or by their number; what is left out is the whole chain. */
export interface PullWish extends BlockJobWish {
  /** The image that stays below; left out, none does. */
  readonly base?: string | undefined;
  readonly isRelative?: boolean | undefined;
}

export interface CommitWish extends BlockJobWish {
  /** The uppermost image to merge; left out, the one that the guest writes to. */
  readonly top?: string | undefined;
  /** The image to merge into; left out, the lowest. */
  readonly base?: string | undefined;
  /** Merge into the image right below the top. */
  readonly isShallow?: boolean | undefined;
  readonly isRelative?: boolean | undefined;
  /** Remove the files that were merged away. */
  readonly isDeleting?: boolean | undefined;
}

export interface CopyWish extends BlockJobWish {
  /** Where to: a file, a block device, an NBD server. */
  readonly destination: DiskSource;
  /** The format of the copy; left out, that of the disk. */
  readonly format?: Layer['format'] | undefined;
  /** Copy the topmost image alone, which then lies on the same images. */
  readonly isShallow?: boolean | undefined;
  /** The destination is there and is used as it is. */
  readonly isReusing?: boolean | undefined;
  readonly granularityBytes?: number | undefined;
  readonly bufferBytes?: number | undefined;
  readonly isSynchronous?: boolean | undefined;
}

interface BeginOptions {
  /** The caller is inside a job of the domain, and waits for `ended` there. */
  readonly isHeld?: boolean;
}

/** A job that has begun. `ended` settles when what it changed is stored; it never rejects. */
export interface BegunBlockJob {
  readonly job: BlockJobRecord;
  readonly ended: Promise<BlockJobEnd>;
}

export class DomainBlockJobs {
  private readonly world: DomainWorld;
  private readonly watch: BlockJobWatch;

  constructor(world: DomainWorld, watch: BlockJobWatch) {
    this.world = world;
    this.watch = watch;
  }

  /** Pulls data up into the topmost image. @throws VirtError domain.inactive, domain.state, request.invalid, qmp.* */
  pull(domain: Domain, wish: PullWish, options: BeginOptions = {}): Promise<BegunBlockJob> {
    return this.begin(domain, 'pull', wish, options, (disk) => {
      const { base, isRelative = false } = wish;
      const [top] = layersOf(disk);
      const found = base === undefined ? undefined : layerNamed(domain, disk, base, 'base', top);
      return { kind: 'pull', base: found === undefined ? null : numberOf(found), isRelative };
    });
  }

  /**
   * Merges images down into one below. Of the topmost it becomes ready and waits for `end({ pivot: true })`.
   * @throws VirtError domain.inactive, domain.state, request.invalid, file.*, qmp.*
   */
  commit(domain: Domain, wish: CommitWish, options: BeginOptions = {}): Promise<BegunBlockJob> {
    return this.begin(domain, 'commit', wish, options, (disk) => {
      const { top, base } = commitEnds(domain, disk, wish);
      const { isRelative = false, isDeleting = false } = wish;
      return { kind: 'commit', top: numberOf(top), base: numberOf(base), isRelative, isDeleting };
    });
  }

  /**
   * Copies a disk elsewhere; when the copy is ready it follows all writes until `end`.
   * @throws VirtError domain.inactive, domain.state, file.*, definition.unsupported, qmp.*
   */
  async copy(domain: Domain, wish: CopyWish, options: BeginOptions = {}): Promise<BegunBlockJob> {
    return this.begin(domain, 'copy', wish, options, async (disk, live) => {
      const hasBacking = layersOf(disk).length > 1;
      const isShallow = wish.isShallow === true && hasBacking;
      const target = await makeCopyTarget(domain, live, disk, { ...wish, isShallow });
      const { granularityBytes, bufferBytes, isSynchronous } = wish;
      return {
        kind: 'copy',
        target: { source: target.source, format: target.format },
        below: isShallow ? (wish.isReusing === true ? 'own' : 'shared') : 'none',
        ...(granularityBytes !== undefined && { granularityBytes }),
        ...(bufferBytes !== undefined && { bufferBytes }),
        ...(isSynchronous !== undefined && { isSynchronous }),
        ...(target.undo && { undo: target.undo }),
      };
    });
  }

  private async begin(
    domain: Domain,
    verb: string,
    wish: BlockJobWish,
    { isHeld = false }: BeginOptions,
    plan: (disk: Disk, live: ReturnType<Domain['requireLive']>) => Planned | Promise<Planned>,
  ): Promise<BegunBlockJob> {
    const work = async (): Promise<BegunBlockJob> => {
      const live = domain.requireLive(`${verb} a disk of`);
      const { guest } = live;
      const disk = findDisk(domain, guest.definition, wish.disk);
      refuseBlockJobs(domain, `${verb} a disk of`, disk.target.dev);
      const { undo, ...planned } = await plan(disk, live);
      const { bytesPerSecond = 0 } = wish;
      const request: BlockJobRequest = { ...planned, disk: disk.target.dev, bytesPerSecond };
      const save = () => saveStatus(this.world, domain);
      // Before it begins: it may end at once.
      const release = isHeld ? this.watch.hold(domain) : undefined;
      try {
        const job = await this.world.driver.startBlockJob(guest, request, { save });
        const { end } = this.watch.watch(domain, guest, job);
        return { job, ended: end.promise.finally(release) };
      } catch (error) {
        release?.();
        await save();
        await undo?.();
        throw error;
      }
    };
    return isHeld ? work() : runJob(this.world, domain, `begin block ${verb}`, work);
  }

  /** For a caller inside a job of the domain: outcomes of block jobs are stored at once, until the function is called. */
  hold(domain: Domain): () => void {
    return this.watch.hold(domain);
  }

  /** Jobs that go on, or whose outcome is being stored, with the disk as it was before their end. */
  unfinished(domain: Domain): UnfinishedJob[] {
    return this.watch.unfinished(domain);
  }

  /** The jobs of a domain, with how far they are; none of one that does not run. */
  async list(domain: Domain): Promise<BlockJobInfo[]> {
    return domain.live === undefined ? [] : domain.live.guest.blockJobs.list();
  }

  /** The job of a disk; undefined when it has none. @throws VirtError domain.inactive, domain.no-device, qmp.* */
  async info(domain: Domain, name: string): Promise<BlockJobInfo | undefined> {
    const { guest } = domain.requireLive('ask about block jobs of');
    const { target } = findDisk(domain, guest.definition, name);
    if (!guest.blockJobs.records.some(({ disk }) => disk === target.dev)) return undefined;
    return (await guest.blockJobs.list()).find(({ disk }) => disk === target.dev);
  }

  /** @throws VirtError domain.no-block-job */
  private jobOf(domain: Domain, name: string, verb: string) {
    const { guest } = domain.requireLive(`${verb} a block job of`);
    const { target } = findDisk(domain, guest.definition, name);
    const job = guest.blockJobs.records.find(({ disk }) => disk === target.dev);
    if (job !== undefined) return { guest, job };
    throw new VirtError('domain.no-block-job', {
      wanted: `${verb} the block job of disk '${target.dev}' of domain '${domain.name}'`,
      reason: `disk ${target.dev} does not have an active block job`,
    });
  }

  /** Bytes a second; 0 is no limit. @throws VirtError domain.no-block-job, qmp.* */
  async setSpeed(domain: Domain, name: string, bytesPerSecond: number): Promise<void> {
    const { guest, job } = this.jobOf(domain, name, 'set the speed of');
    await guest.blockJobs.setSpeed(job.id, bytesPerSecond);
  }

  /**
   * Ends the job of a disk: calls it off, or with `pivot` has the disk switch to the other image. With `wait: false` it
   * returns when that was asked for; the event `domain.block-job` tells the end.
   * @throws VirtError domain.no-block-job, domain.state when it is not ready or ending already, operation.failed
   */
  async end(
    domain: Domain,
    name: string,
    { pivot, wait = true, isHeld = false }: { pivot: boolean; wait?: boolean; isHeld?: boolean },
  ): Promise<void> {
    const { guest, job } = this.jobOf(domain, name, pivot ? 'pivot' : 'cancel');
    if (!pivot) {
      await guest.blockJobs.cancel(job.id);
      await saveStatus(this.world, domain);
      if (wait) await this.watch.whenEnded(domain, job.id);
      return;
    }
    // The domain is held until the disk has switched: nothing else changes its definition meanwhile.
    const asked = Promise.withResolvers<void>();
    const work = async () => {
      const release = this.watch.hold(domain);
      try {
        await guest.blockJobs.pivot(job.id, { save: () => saveStatus(this.world, domain) });
        asked.resolve();
        const ended = await this.watch.whenEnded(domain, job.id);
        if (ended?.outcome === 'failed') throw pivotFailed(domain, job, ended.error);
      } finally {
        release();
      }
    };
    const done = isHeld ? work() : runJob(this.world, domain, 'switch a disk', work);
    done.catch(() => undefined); // Where nobody waits for it, its event tells.
    await (wait ? done : Promise.race([asked.promise, done]));
  }

  /**
   * Waits for the job of a disk: until it is ready (or, if it switches nothing, has ended), or until its end. Of one that
   * has ended already it tells how.
   * @throws VirtError domain.no-block-job, operation.failed, operation.aborted when it was called off
   */
  async wait(
    domain: Domain,
    name: string,
    until: 'ready' | 'end',
    { isHeld = false }: BeginOptions = {},
  ): Promise<void> {
    const release = isHeld ? this.watch.hold(domain) : undefined;
    try {
      await this.waitFor(domain, name, until);
    } finally {
      release?.();
    }
  }

  private async waitFor(domain: Domain, name: string, until: 'ready' | 'end'): Promise<void> {
    const { guest } = domain.requireLive('wait for a block job of');
    const target = findDisk(domain, guest.definition, name).target.dev;
    const id = this.watch.jobOn(domain, target);
    const last = this.watch.lastEnd(domain, target);
    if (id === undefined && last === undefined) this.jobOf(domain, name, 'wait for'); // Tells that there is none.
    const isSwitching = guest.blockJobs.records.some(
      (job) => job.id === id && job.kind !== 'pull' && job.kind !== 'commit',
    );
    if (id !== undefined && until === 'ready' && isSwitching) return this.watch.whenReady(domain, id);
    const ended = id === undefined ? last : await this.watch.whenEnded(domain, id);
    if (ended !== undefined && ended.outcome !== 'completed') throw notCompleted(domain, target, ended);
    return undefined;
  }
}

function notCompleted(domain: Domain, disk: string, { outcome, error }: BlockJobEnd): VirtError {
  const wanted = `finish the block job of disk '${disk}' of domain '${domain.name}'`;
  return outcome === 'cancelled'
    ? new VirtError('operation.aborted', { wanted, reason: 'it was cancelled' })
    : new VirtError('operation.failed', { wanted, reason: error ?? 'it failed' });
}

type DistributedOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
type Planned = DistributedOmit<BlockJobRequest, 'disk' | 'bytesPerSecond'> & {
  readonly undo?: () => Promise<void>;
};

function pivotFailed(domain: Domain, { disk, id }: BlockJobRecord, error: string | undefined): VirtError {
  return new VirtError('operation.failed', {
    wanted: `finish the block job of disk '${disk}' of domain '${domain.name}'`,
    reason: `block job '${id}' failed${error === undefined ? '' : `: ${error}`}`,
  });
}

/** By its path, or by one that is relative to the directory of the image above it, as image files write it. */
function isNamed({ source, index }: Layer, name: string, all: readonly Layer[]): boolean {
  const path = pathOfSource(source);
  if (path === undefined) return false;
  const above = all[all.findIndex((one) => one.index === index) - 1];
  const from = above === undefined ? undefined : pathOfSource(above.source);
  return path === name || (from !== undefined && !isAbsolute(name) && join(dirname(from), name) === path);
}

/**
 * An image by its path (also relative to the image above it), by `vda[3]`, or by its number; with `beneath`, only one that lies below that image will do.
 * @throws VirtError request.invalid
 */
export function layerNamed(domain: Domain, disk: Disk, name: string, what: string, beneath?: Layer): Layer {
  const all = layersOf(disk);
  const layers =
    beneath === undefined ? all : all.slice(all.findIndex(({ index }) => index === beneath.index) + 1);
  const byNumber = new RegExp(`^(?:${disk.target.dev}\\[(\\d{1,7})\\]|(\\d{1,7}))$`).exec(name);
  const number = byNumber === null ? undefined : Number(byNumber[1] ?? byNumber[2]);
  const found =
    name === disk.target.dev && beneath === undefined
      ? layers[0]
      : layers.find((layer) => layer.index === number || isNamed(layer, name, all));
  if (found !== undefined) return found;
  const below = beneath === undefined ? '' : ` beneath '${pathOfSource(beneath.source) ?? beneath.index}'`;
  throw new VirtError('request.invalid', {
    wanted: `find the ${what} image of disk '${disk.target.dev}' of domain '${domain.name}'`,
    reason: `could not find image '${name}'${below} in chain for '${disk.target.dev}'`,
    hint: `its images are ${all.map(({ source, index }) => `${index}: ${pathOfSource(source) ?? source.type}`).join(', ')}`,
  });
}

function numberOf({ index }: Layer): number {
  if (index === undefined) throw new Error('an image of a running guest has no number');
  return index;
}

/** The images that a merge begins and ends with. @throws VirtError request.invalid when there is nothing to merge */
export function commitEnds(domain: Domain, disk: Disk, wish: CommitWish): { top: Layer; base: Layer } {
  const layers = layersOf(disk);
  const top = wish.top === undefined ? layers[0] : layerNamed(domain, disk, wish.top, 'top');
  const at = layers.findIndex(({ index }) => index === top?.index);
  const refuse = (reason: string) =>
    new VirtError('request.invalid', {
      wanted: `commit disk '${disk.target.dev}' of domain '${domain.name}'`,
      reason,
    });
  const below = layers[at + 1];
  if (top === undefined || below === undefined)
    throw refuse(`could not find base image in chain for '${disk.target.dev}'`);
  const lowest = wish.isShallow === true ? below : (layers.at(-1) ?? below);
  const base = wish.base === undefined ? lowest : layerNamed(domain, disk, wish.base, 'base', top);
  if (wish.isShallow === true && base.index !== below.index)
    throw refuse(
      `base '${wish.base ?? ''}' is not immediately below '${wish.top ?? disk.target.dev}' in chain for '${disk.target.dev}'`,
    );
  return { top, base };
}
