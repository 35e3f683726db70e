/** Samples of what guests use, in the words of the API: what was not told is null. */
import type { Result } from '../../../api/index.ts';
import type { DomainStatistics } from '../../services/domain-statistics.ts';

export type Sample = Result<'domain.stats'>['samples'][number];

/** A part of a sample when it was told. */
type Told<Part extends keyof DomainStatistics> = NonNullable<DomainStatistics[Part]>;

export function sampleOf(one: DomainStatistics): Sample {
  const { domain } = one;
  return {
    domain: domain.identity,
    time: new Date(one.atMs).toISOString(),
    state: domain.state.state,
    cpu: one.cpu ?? null,
    memory: one.balloon === undefined ? null : memoryOf(one.balloon),
    vcpus: one.vcpu === undefined ? null : vcpusOf(one.vcpu),
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
    dirtyRate: one.dirtyRate === undefined ? null : dirtyRateOf(one.dirtyRate),
    perf: one.perf === undefined ? null : Object.fromEntries(one.perf),
    accelerator:
      one.accelerator === undefined
        ? null
        : Object.fromEntries(one.accelerator.map(({ name, value }) => [name, value])),
    silence: one.silence ?? null,
  };
}

function memoryOf({ currentKiB, maximumKiB, residentKiB, guest }: Told<'balloon'>): Sample['memory'] {
  return {
    currentBytes: currentKiB * 1024,
    maximumBytes: maximumKiB * 1024,
    residentBytes: residentKiB === undefined ? null : residentKiB * 1024,
    guest: guest === undefined ? null : { ...guest },
  };
}

function vcpusOf(vcpu: Told<'vcpu'>): Sample['vcpus'] {
  return {
    ...vcpu,
    cpus: vcpu.cpus.map((cpu) => ({
      ...cpu,
      waitNs: cpu.waitNs ?? null,
      delayNs: cpu.delayNs ?? null,
    })),
  };
}

function dirtyRateOf(rate: Told<'dirtyRate'>): Sample['dirtyRate'] {
  const { status, startSeconds, periodSeconds, mode, mibPerSecond = null, vcpus } = rate;
  const startedAt = status === 'unstarted' ? null : new Date(startSeconds * 1000).toISOString();
  return { status, startedAt, periodSeconds, mode, mibPerSecond, vcpus: [...vcpus] };
}

type Counters = NonNullable<NonNullable<Sample['disks']>[number]['counters']>;

function countersOf(counters: NonNullable<Told<'disks'>[number]['counters']>): Counters {
  const { alias: _alias, allocationBytes, capacityBytes, physicalBytes, ...rest } = counters;
  return {
    ...rest,
    allocationBytes: allocationBytes ?? null,
    capacityBytes: capacityBytes ?? null,
    physicalBytes: physicalBytes ?? null,
  };
}
