/** Methods that tune and measure domains onto the services. */

import { Duplex, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DomainRef } from '../../../api/domain-objects.ts';
import type { Params, Result } from '../../../api/index.ts';
import { pinOf } from '../../../drivers/host-tuning/threads.ts';
import type { IoTune } from '../../../model/domain/devices/disk.ts';
import { type StatisticsGroup, statisticsGroups } from '../../../model/domain/statistics-groups.ts';
import type { Domain } from '../../services/domain.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { type DomainStatistics } from '../../services/domain-statistics.ts';
import type { Handlers } from './handlers.ts';

type TuningHandlers = Pick<
  Handlers,
  | 'domain.set-memory'
  | 'domain.set-memory-stats-period'
  | 'domain.set-vcpus'
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
  const find = (ref: DomainRef): Domain =>
    typeof ref === 'string' ? domains.findByText(ref) : domains.find({ id: ref.id });
  return {
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
    'domain.set-vcpus': async ({ domain, count, maximum, guest, ...targets }) => {
      if (guest) await domains.agent.setCpuCount(find(domain), count);
      else if (maximum) await domains.cpus.setMaximum(find(domain), count, targets);
      else await domains.cpus.setCount(find(domain), count, targets);
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

type Sample = Result<'domain.stats'>['samples'][number];

async function takeSamples(
  domains: DomainService,
  chosen: readonly Domain[] | undefined,
  groups: readonly StatisticsGroup[] = statisticsGroups,
): Promise<Sample[]> {
  const all = chosen ?? domains.list({ active: true });
  return (await domains.statistics.sampleAll(all, new Set(groups))).map((one) => sampleOf(one));
}

function sampleOf(one: DomainStatistics): Sample {
  const { domain, balloon } = one;
  return {
    domain: domain.identity,
    time: new Date(one.atMs).toISOString(),
    state: domain.state.state,
    cpu: one.cpu ?? null,
    memory:
      balloon === undefined
        ? null
        : {
            currentBytes: balloon.currentKiB * 1024,
            maximumBytes: balloon.maximumKiB * 1024,
            residentBytes: balloon.residentKiB === undefined ? null : balloon.residentKiB * 1024,
            guest: balloon.guest === undefined ? null : { ...balloon.guest },
          },
    vcpus:
      one.vcpu === undefined
        ? null
        : { ...one.vcpu, cpus: one.vcpu.cpus.map((cpu) => ({ ...cpu, delayNs: cpu.delayNs ?? null })) },
    interfaces:
      one.interfaces?.map(({ device, alias, mac, counters }) => ({
        device: device ?? null,
        alias: alias ?? null,
        mac: mac ?? null,
        counters: counters ?? null,
      })) ?? null,
    disks:
      one.disks?.map(({ target, path, counters }) => ({
        target,
        path: path ?? null,
        counters: counters === undefined ? null : countersOf(counters),
      })) ?? null,
    iothreads:
      one.iothreads?.map(({ id, pollMaxNs = null, pollGrow = null, pollShrink = null }) => ({
        id,
        pollMaxNs,
        pollGrow,
        pollShrink,
      })) ?? null,
    dirtyRate:
      one.dirtyRate === undefined
        ? null
        : {
            status: one.dirtyRate.status,
            startedAt:
              one.dirtyRate.status === 'unstarted'
                ? null
                : new Date(one.dirtyRate.startSeconds * 1000).toISOString(),
            periodSeconds: one.dirtyRate.periodSeconds,
            mode: one.dirtyRate.mode,
            mibPerSecond: one.dirtyRate.mibPerSecond ?? null,
            vcpus: [...one.dirtyRate.vcpus],
          },
    perf: one.perf === undefined ? null : Object.fromEntries(one.perf),
    accelerator:
      one.accelerator === undefined
        ? null
        : Object.fromEntries(one.accelerator.map(({ name, value }) => [name, value])),
    silence: one.silence ?? null,
  };
}

type Counters = NonNullable<NonNullable<Sample['disks']>[number]['counters']>;

function countersOf(
  counters: NonNullable<NonNullable<DomainStatistics['disks']>[number]['counters']>,
): Counters {
  const { alias: _alias, allocationBytes, capacityBytes, physicalBytes, ...rest } = counters;
  return {
    ...rest,
    allocationBytes: allocationBytes ?? null,
    capacityBytes: capacityBytes ?? null,
    physicalBytes: physicalBytes ?? null,
  };
}

function bindDisks(domains: DomainService, find: (ref: DomainRef) => Domain) {
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
