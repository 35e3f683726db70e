/** Jobs on images of running domains: pull, rebase, commit, copy, and what becomes of them. */
import { VirtError } from '../../../../base/errors.ts';
import { parseXml } from '../../../../base/xml/parse.ts';
import type { BlockJobInfo } from '../../../../drivers/driver.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { parseDevice } from '../../../../model/domain/device-list.ts';
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import type { DiskSource } from '../../../../model/domain/devices/source.ts';
import { layersOf } from '../../../../model/domain/disk-chain.ts';
import { type CommitWish, type CopyWish, commitEnds } from '../../../services/domain-block-jobs.ts';
import { findDisk } from '../../../services/domain-blocks.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { blockJobTypes } from '../events/translate.ts';
import { type ParamTable, readParams, toNumber } from './params.ts';
import { checkFlags, domainOf, invalid, notValid, telling } from './support.ts';

/** Flags by their names in libvirt-domain.h, without what all of one call begin with. */
const rebase = {
  shallow: 1,
  reuse: 2,
  copyRaw: 4,
  copy: 8,
  relative: 16,
  copyDevice: 32,
  bytes: 64,
} as const;
const commit = { shallow: 1, delete: 2, active: 4, relative: 8, bytes: 16 } as const;
const copy = { shallow: 1, reuse: 2, transientJob: 4, synchronous: 8 } as const;
const abort = { async: 1, pivot: 2 } as const;
/** VIR_DOMAIN_BLOCK_COPY_*; the last is written with a dash, as nothing else is. */
const copyParams: ParamTable = { bandwidth: 'ullong', granularity: 'uint', 'buf-size': 'ullong' };

/** In calls that have no other: the bandwidth is in bytes, not MiB, a second. */
const PULL_BYTES = 64;
const BYTES = 1;

const MIB = 1024 * 1024;

export function domainBlockJobHandlers(engine: Engine) {
  return {
    ...control(engine),
    ...pulls(engine),
    ...commits(engine),
    ...copies(engine),
  } satisfies RemoteHandlers;
}

/** What becomes of a job that is at work. */
function control(engine: Engine) {
  const { blockJobs } = engine.domains;
  return {
    domainGetBlockJobInfo: async ({ dom, path, flags }, call) => {
      checkFlags(flags, BYTES, call);
      const job = await ofDisk(path, () => blockJobs.info(domainOf(engine, dom), path));
      if (job === undefined) return { found: 0, type: 0, bandwidth: 0, cur: 0, end: 0 };
      const { bytesPerSecond } = job;
      const bandwidth = (flags & BYTES) === 0 ? Math.ceil(bytesPerSecond / MIB) : bytesPerSecond;
      return { found: 1, type: blockJobTypes[job.kind], bandwidth, ...progressOf(job) };
    },
    domainBlockJobAbort: async ({ dom, path, flags }, call) => {
      checkFlags(flags, abort.async | abort.pivot, call);
      const wait = (flags & abort.async) === 0;
      const pivot = (flags & abort.pivot) !== 0;
      await ofDisk(path, () => blockJobs.end(domainOf(engine, dom), path, { pivot, wait }));
    },
    domainBlockJobSetSpeed: async ({ dom, path, bandwidth, flags }, call) => {
      checkFlags(flags, BYTES, call);
      const speed = speedOf(bandwidth, (flags & BYTES) !== 0);
      await ofDisk(path, () => blockJobs.setSpeed(domainOf(engine, dom), path, speed));
    },
  } satisfies RemoteHandlers;
}

function pulls(engine: Engine) {
  const { blockJobs } = engine.domains;
  return {
    domainBlockPull: async ({ dom, path, bandwidth, flags }, call) => {
      checkFlags(flags, PULL_BYTES, call);
      const bytesPerSecond = speedOf(bandwidth, (flags & PULL_BYTES) !== 0);
      await ofDisk(path, () => blockJobs.pull(domainOf(engine, dom), { disk: path, bytesPerSecond }));
    },
    domainBlockRebase: async ({ dom, path, base, bandwidth, flags }, call) => {
      checkFlags(flags, 0x7f, call);
      const domain = domainOf(engine, dom);
      const bytesPerSecond = speedOf(bandwidth, (flags & rebase.bytes) !== 0);
      if ((flags & rebase.copy) !== 0) {
        const wish = rebasedCopy(base, flags);
        domain.requireLive('copy a disk of');
        refusePersistent(domain.isPersistent);
        await ofDisk(path, () => blockJobs.copy(domain, { ...wish, disk: path, bytesPerSecond }));
        return;
      }
      const only = rebase.shallow | rebase.reuse | rebase.copyRaw | rebase.copyDevice;
      if ((flags & only) !== 0)
        throw invalid('use of flags of a copy requires the flag VIR_DOMAIN_BLOCK_REBASE_COPY');
      const isRelative = (flags & rebase.relative) !== 0;
      if (isRelative && base === null)
        throw invalid('flag VIR_DOMAIN_BLOCK_REBASE_RELATIVE is valid only with non-null base');
      const wish = { disk: path, base: base ?? undefined, bytesPerSecond, isRelative };
      await ofDisk(path, () => blockJobs.pull(domain, wish));
    },
  } satisfies RemoteHandlers;
}

function commits(engine: Engine) {
  const { blockJobs } = engine.domains;
  return {
    domainBlockCommit: async ({ dom, disk, base, top, bandwidth, flags }, call) => {
      checkFlags(flags, 0x1f, call);
      const domain = domainOf(engine, dom);
      const wish: CommitWish = {
        ...{ disk, base: base ?? undefined, top: top ?? undefined },
        bytesPerSecond: speedOf(bandwidth, (flags & commit.bytes) !== 0),
        isShallow: (flags & commit.shallow) !== 0,
        isDeleting: (flags & commit.delete) !== 0,
        isRelative: (flags & commit.relative) !== 0,
      };
      await ofDisk(disk, async () => {
        requireActiveFlag(domain, wish, (flags & commit.active) !== 0);
        await blockJobs.commit(domain, wish);
      });
    },
  } satisfies RemoteHandlers;
}

function copies(engine: Engine) {
  const { blockJobs } = engine.domains;
  return {
    domainBlockCopy: async ({ dom, path, destxml, params, flags }, call) => {
      checkFlags(flags, 0xf, call);
      const domain = domainOf(engine, dom);
      const given = readParams(params, copyParams);
      const number = (name: string) => (given.has(name) ? Number(given.get(name)) : undefined);
      const granularityBytes = number('granularity') || undefined;
      if (granularityBytes !== undefined && (granularityBytes & (granularityBytes - 1)) !== 0)
        throw invalid('granularity must be power of 2');
      const { source, format } = parseDestination(destxml);
      domain.requireLive('copy a disk of');
      if ((flags & copy.transientJob) === 0) refusePersistent(domain.isPersistent);
      const wish: CopyWish = {
        ...{ disk: path, destination: source, format, granularityBytes },
        bytesPerSecond: number('bandwidth'),
        bufferBytes: number('buf-size') || undefined,
        isShallow: (flags & copy.shallow) !== 0,
        isReusing: (flags & copy.reuse) !== 0,
        isSynchronous: (flags & copy.synchronous) !== 0,
      };
      await ofDisk(path, () => blockJobs.copy(domain, wish));
    },
  } satisfies RemoteHandlers;
}

/** Clients take "all done" for the end of a job: until it is ready, a little is always left. */
function progressOf({ doneBytes, totalBytes, isReady = false }: BlockJobInfo): { cur: number; end: number } {
  if (doneBytes === 0 && totalBytes === 0) return { cur: isReady ? 1 : 0, end: 1 };
  const isEarly = !isReady && doneBytes === totalBytes;
  return { cur: isEarly ? doneBytes - 1 : doneBytes, end: totalBytes };
}

/** Bytes a second. @throws LibvirtError beyond what a number holds */
function speedOf(bandwidth: number | bigint, isBytes: boolean): number {
  const value = toNumber('bandwidth', bandwidth);
  const bytes = isBytes ? value : value * MIB;
  if (Number.isSafeInteger(bytes)) return bytes;
  throw invalid(`bandwidth must be less than ${Math.floor(2 ** 63 / MIB)}`);
}

/**
 * libvirt demands that clients who copy a disk of a domain that is stored know that the job ends with the guest: they
 * say so by a flag.
 */
function refusePersistent(isPersistent: boolean): void {
  if (isPersistent) throw notValid('domain is not transient');
}

function rebasedCopy(
  base: string | null,
  flags: number,
): Pick<CopyWish, 'destination' | 'format' | 'isShallow' | 'isReusing'> {
  if ((flags & rebase.relative) !== 0)
    throw new LibvirtError(errorNumber.argumentUnsupported, 'Relative backing during copy not supported yet');
  if (base === null) throw invalid('base in virDomainBlockRebase must not be NULL');
  const bare = { slices: [], seclabels: [] };
  const isDevice = (flags & rebase.copyDevice) !== 0;
  return {
    destination: isDevice ? { type: 'block', dev: base, ...bare } : { type: 'file', file: base, ...bare },
    format: (flags & rebase.copyRaw) === 0 ? undefined : 'raw',
    isShallow: (flags & rebase.shallow) !== 0,
    isReusing: (flags & rebase.reuse) !== 0,
  };
}

/** `<disk type='file'><source file='…'/><driver type='qcow2'/></disk>`: a disk without a target. */
function parseDestination(xml: string): { source: DiskSource; format: CopyWish['format'] } {
  const root = parseXml(xml);
  if (root.name !== 'disk')
    throw new VirtError('xml.invalid', {
      wanted: 'read the destination of a copy',
      reason: `the root element is <${root.name}>, not <disk>`,
    });
  const hasTarget = root.children.some((node) => typeof node !== 'string' && node.name === 'target');
  const whole = hasTarget ? xml : xml.replace(/<\/disk>\s*$/, "<target dev='vda'/></disk>");
  const { source, driver } = parseDevice(whole, { mode: 'lenient' }).device as Disk;
  const type = driver?.type;
  return { source, format: type === undefined || type === 'aio' ? undefined : type };
}

/** The calls about jobs say of a disk that is not there, and of a file that is in the way, what no other call does. */
function ofDisk<T>(disk: string, work: () => Promise<T>): Promise<T> {
  const notFound = () => invalid(`disk '${disk}' not found in domain`);
  return telling('domain.no-device', notFound, () =>
    telling('file.exists', ({ reason }) => new LibvirtError(errorNumber.configUnsupported, reason), work),
  );
}

/** Merging the image that the guest writes to must be asked for by a flag of its own. @throws LibvirtError without it, or in vain */
function requireActiveFlag(domain: ReturnType<typeof domainOf>, wish: CommitWish, isActive: boolean): void {
  const { guest } = domain.requireLive('commit a disk of');
  const disk = findDisk(domain, guest.definition, wish.disk);
  const isTop = commitEnds(domain, disk, wish).top.index === layersOf(disk)[0]?.index;
  if (isTop && !isActive) throw invalid(`commit of '${wish.disk}' active layer requires active flag`);
  if (!isTop && isActive) throw invalid(`active commit requested but '${wish.top ?? ''}' is not active`);
}
