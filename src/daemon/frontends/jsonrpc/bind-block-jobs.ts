/** Methods about jobs on images onto the services. */
import type { Params, Result } from '../../../api/index.ts';
import type { BlockJobInfo } from '../../../drivers/driver.ts';
import type { DiskSource } from '../../../model/domain/devices/source.ts';
import { layersOf, pathOfSource } from '../../../model/domain/disk-chain.ts';
import type { Domain } from '../../services/domain.ts';
import type { BegunBlockJob } from '../../services/domain-block-jobs.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type BlockJobHandlers = Pick<
  Handlers,
  | 'domain.disk.jobs'
  | 'domain.disk.pull'
  | 'domain.disk.commit'
  | 'domain.disk.copy'
  | 'domain.disk.set-job-speed'
  | 'domain.disk.end-job'
  | 'domain.disk.wait-job'
>;

export function bindBlockJobs(domains: DomainService): BlockJobHandlers {
  const find = domainFinder(domains);
  const begun = ({ job }: BegunBlockJob) => ({ disk: job.disk, kind: job.kind });
  return {
    'domain.disk.jobs': async ({ domain }) => {
      const found = find(domain);
      return { jobs: (await domains.blockJobs.list(found)).map((job) => jobOf(found, job)) };
    },
    'domain.disk.pull': async ({ domain, relative: isRelative, ...wish }) =>
      begun(await domains.blockJobs.pull(find(domain), { ...wish, isRelative })),
    'domain.disk.commit': async ({ domain, relative, shallow, delete: isDeleting, ...wish }) =>
      begun(
        await domains.blockJobs.commit(find(domain), {
          ...wish,
          ...{ isRelative: relative, isShallow: shallow, isDeleting },
        }),
      ),
    'domain.disk.copy': async ({ domain, destination, shallow, reuse, synchronous, ...wish }) =>
      begun(
        await domains.blockJobs.copy(find(domain), {
          ...wish,
          destination: sourceOf(destination),
          ...{ isShallow: shallow, isReusing: reuse, isSynchronous: synchronous },
        }),
      ),
    'domain.disk.set-job-speed': async ({ domain, disk, bytesPerSecond }) => {
      await domains.blockJobs.setSpeed(find(domain), disk, bytesPerSecond);
      return {};
    },
    'domain.disk.end-job': async ({ domain, disk, pivot, wait }) => {
      await domains.blockJobs.end(find(domain), disk, { pivot, wait });
      return {};
    },
    'domain.disk.wait-job': async ({ domain, disk, until }) => {
      await domains.blockJobs.wait(find(domain), disk, until);
      return {};
    },
  };
}

type Destination = Params<'domain.disk.copy'>['destination'];

function sourceOf(destination: Destination): DiskSource {
  const bare = { slices: [], seclabels: [] };
  if ('file' in destination) return { type: 'file', file: destination.file, ...bare };
  if ('device' in destination) return { type: 'block', dev: destination.device, ...bare };
  const { host, port, socket, export: name } = destination.nbd;
  const place =
    socket === undefined ? { name: host ?? 'localhost', port } : ({ transport: 'unix', socket } as const);
  const named = name === '' ? {} : { name };
  return { type: 'network', protocol: 'nbd', ...named, hosts: [place], cookies: [], ...bare };
}

function jobOf(domain: Domain, job: BlockJobInfo): Result<'domain.disk.jobs'>['jobs'][number] {
  const disk = domain.live?.guest.definition.devices.disks.find(({ target }) => target.dev === job.disk);
  const base = disk && layersOf(disk).find(({ index }) => index === job.base)?.source;
  const source = disk?.mirror?.source ?? base;
  const { kind, doneBytes, totalBytes, bytesPerSecond, isPaused: paused, isReady: ready = false } = job;
  return {
    ...{ disk: job.disk, kind, doneBytes, totalBytes, bytesPerSecond, paused, ready },
    ending: job.ending ?? null,
    destination: (source && kind !== 'pull' ? pathOfSource(source) : undefined) ?? null,
  };
}
