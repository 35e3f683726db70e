/** Methods that tune and measure domains onto the services. */
import { Duplex, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Params } from '../../../api/index.ts';
import { pinOf } from '../../../drivers/host-tuning/threads.ts';
import { cpusetMembers } from '../../../model/domain/cpuset.ts';
import type { IoTune } from '../../../model/domain/devices/disk.ts';
import { type StatisticsGroup, statisticsGroups } from '../../../model/domain/statistics-groups.ts';
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder, type FindDomain } from './find-domain.ts';
import type { Handlers } from './handlers.ts';
import { type Sample, sampleOf } from './sample-shapes.ts';

type TuningHandlers = Pick<
  Handlers,
  | 'domain.set-memory'
  | 'domain.set-memory-stats-period'
  | 'domain.set-vcpus'
  | 'domain.set-vcpu'
  | 'domain.pin'
  | 'domain.threads'
  | 'domain.iothread.add'
  | 'domain.iothread.remove'
  | 'domain.disk.resize'
  | 'domain.disk.set-limits'
  | 'domain.disk.info'
  | 'domain.disk.set-threshold'
  | 'domain.stats'
  | 'domain.stats-stream'
>;

export function bindTuning(domains: DomainService): TuningHandlers {
  const find = domainFinder(domains);
  return {
    ...bindProcessors(domains, find),
    ...bindDisks(domains, find),
    'domain.set-memory': async ({ domain, memoryBytes, maximum, ...targets }) => {
      const kib = Math.floor(memoryBytes / 1024);
      if (maximum) await domains.memory.setMaximum(find(domain), kib, targets);
      else await domains.memory.set(find(domain), kib, targets);
      return {};
    },
    'domain.set-memory-stats-period': async ({ domain, seconds, ...targets }) => {
      await domains.memory.setPeriod(find(domain), seconds, targets);
      return {};
    },
    'domain.stats': async ({ domains: refs, groups }) => ({
      samples: await takeSamples(domains, refs?.map(find), groups),
    }),
    'domain.stats-stream': async ({ domains: refs, groups, intervalMs, count }) => {
      const chosen = refs?.map(find);
      const lines = sampleLines(() => takeSamples(domains, chosen, groups), intervalMs, count);
      // What the client sends means nothing; its end is the stream's.
      const stream = Duplex.from({ readable: Readable.from(lines, { objectMode: false, highWaterMark: 1 }) });
      return { result: { intervalMs }, stream };
    },
  };
}

/** Makes the next line only when the one before is on its way, so that a slow reader gets fresh ones. */
async function* sampleLines(
  take: () => Promise<Sample[]>,
  intervalMs: number,
  count = Number.POSITIVE_INFINITY,
): AsyncGenerator<Buffer> {
  for (let done = 0; done < count; done++) {
    if (done > 0) await sleep(intervalMs);
    yield Buffer.from(`${JSON.stringify({ samples: await take() })}\n`);
  }
}

async function takeSamples(
  domains: DomainService,
  chosen: readonly Domain[] | undefined,
  groups: readonly StatisticsGroup[] = statisticsGroups,
): Promise<Sample[]> {
  const all = chosen ?? domains.list({ active: true });
  return (await domains.statistics.sampleAll(all, new Set(groups))).map((one) => sampleOf(one));
}

function bindProcessors(domains: DomainService, find: FindDomain) {
  return {
    'domain.set-vcpus': async ({ domain, count, maximum, guest, hotpluggable, ...targets }) => {
      if (guest) await domains.agent.setCpuCount(find(domain), count);
      else if (maximum) await domains.vcpus.setMaximum(find(domain), count, targets);
      else await domains.vcpus.setCount(find(domain), count, targets, hotpluggable);
      return {};
    },
    'domain.set-vcpu': async ({ domain, vcpus, enabled, ...targets }) => {
      await domains.vcpus.setEach(find(domain), cpusetMembers(vcpus), enabled, targets);
      return {};
    },
    'domain.pin': async ({ domain, target, cpus, ...targets }) => {
      await domains.cpus.pin(find(domain), target, cpus, targets);
      return {};
    },
    'domain.threads': async ({ domain }) => {
      const found = find(domain);
      const { definition } = found.requireLive('ask about threads of').guest;
      const { vcpus, iothreads } = await domains.cpus.threads(found);
      const row = (target: Params<'domain.pin'>['target'], threadId: number | null) => ({
        target,
        threadId,
        cpus: pinOf(definition, target) ?? null,
      });
      return {
        threads: [
          ...vcpus.map(({ index, threadId }) => row({ vcpu: index }, threadId)),
          ...iothreads.map(({ id, threadId }) => row({ iothread: id }, threadId)),
          row('emulator', null),
        ],
      };
    },
    'domain.iothread.add': async ({ domain, id, ...targets }) => {
      await domains.cpus.addIothread(find(domain), id, targets);
      return {};
    },
    'domain.iothread.remove': async ({ domain, id, ...targets }) => {
      await domains.cpus.removeIothread(find(domain), id, targets);
      return {};
    },
  } satisfies Partial<TuningHandlers>;
}

function bindDisks(domains: DomainService, find: FindDomain) {
  return {
    'domain.disk.resize': async ({ domain, disk, sizeBytes }) => {
      await domains.blocks.resize(find(domain), disk, sizeBytes);
      return {};
    },
    'domain.disk.set-limits': async ({ domain, disk, limits, ...targets }) => {
      const found = find(domain);
      const given = Object.entries(limits).filter(([, value]) => value !== undefined);
      await domains.blocks.setLimits(found, disk, Object.fromEntries(given) as IoTune, targets);
      const inactive = targets.live !== true && targets.stored === true;
      return { limits: { ...domains.blocks.limits(found, disk, { inactive }) } };
    },
    'domain.disk.info': async ({ domain, disk }) => {
      const found = find(domain);
      return {
        ...(await domains.blocks.sizes(found, disk)),
        limits: { ...domains.blocks.limits(found, disk) },
      };
    },
    'domain.disk.set-threshold': async ({ domain, disk, thresholdBytes }) => {
      await domains.blocks.setThreshold(find(domain), disk, thresholdBytes);
      return {};
    },
  } satisfies Partial<TuningHandlers>;
}
