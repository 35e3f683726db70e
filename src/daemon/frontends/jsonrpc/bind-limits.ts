/** Methods of a domain's shares and limits on its host, onto the service that knows them by libvirt's names. */
import type { Params, Result } from '../../../api/index.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import { UNLIMITED_KIB } from '../../services/domain-parameter-table.ts';
import type { ParameterChange } from '../../services/domain-parameters.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { domainFinder } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type Changes = Params<'domain.set-limits'>['limits'];
type Device = NonNullable<Changes['hostDevices']>[number];

export function bindLimits(domains: DomainService): Pick<Handlers, 'domain.limits' | 'domain.set-limits'> {
  const find = domainFinder(domains);
  return {
    'domain.limits': async ({ domain, inactive }) =>
      limitsOf(domains.definitions.definition(find(domain), { inactive })),
    'domain.set-limits': async ({ domain, limits, live, stored }) => {
      const found = find(domain);
      await domains.parameters.set(found, changesOf(limits), { live, stored });
      const inactive = live !== true && stored === true;
      return limitsOf(domains.definitions.definition(found, { inactive }));
    },
  };
}

/** A quota below zero is none, as 0 is. */
const positive = (value: number | undefined) => (value !== undefined && value > 0 ? value : null);
const bytesOf = (kib: number | undefined) => (kib === undefined ? null : kib * 1024);

function limitsOf({ cputune, memtune, blkiotune, numatune }: DomainDef): Result<'domain.limits'> {
  return {
    cpuShares: positive(cputune?.shares),
    vcpuPeriodUs: positive(cputune?.periodUs),
    vcpuQuotaUs: positive(cputune?.quotaUs),
    emulatorPeriodUs: positive(cputune?.emulatorPeriodUs),
    emulatorQuotaUs: positive(cputune?.emulatorQuotaUs),
    iothreadPeriodUs: positive(cputune?.iothreadPeriodUs),
    iothreadQuotaUs: positive(cputune?.iothreadQuotaUs),
    globalPeriodUs: positive(cputune?.globalPeriodUs),
    globalQuotaUs: positive(cputune?.globalQuotaUs),
    memoryHardBytes: bytesOf(memtune?.hardLimitKiB),
    memorySoftBytes: bytesOf(memtune?.softLimitKiB),
    memorySwapHardBytes: bytesOf(memtune?.swapHardLimitKiB),
    diskWeight: positive(blkiotune?.weight),
    hostDevices: (blkiotune?.devices ?? []).map((one) => ({ ...one })),
    numaMode: numatune?.memory?.mode ?? null,
    numaNodes: numatune?.memory?.nodeset ?? null,
  };
}

type NumberName = Exclude<keyof Changes, 'hostDevices' | 'numaMode' | 'numaNodes'>;

/** Our names by libvirt's, and what lifts each. */
const numbers: Readonly<Record<NumberName, readonly [ParameterChange['kind'], string, lifted: number]>> = {
  cpuShares: ['scheduler', 'cpu_shares', 0],
  vcpuPeriodUs: ['scheduler', 'vcpu_period', 0],
  vcpuQuotaUs: ['scheduler', 'vcpu_quota', -1],
  emulatorPeriodUs: ['scheduler', 'emulator_period', 0],
  emulatorQuotaUs: ['scheduler', 'emulator_quota', -1],
  iothreadPeriodUs: ['scheduler', 'iothread_period', 0],
  iothreadQuotaUs: ['scheduler', 'iothread_quota', -1],
  globalPeriodUs: ['scheduler', 'global_period', 0],
  globalQuotaUs: ['scheduler', 'global_quota', -1],
  memoryHardBytes: ['memory', 'hard_limit', UNLIMITED_KIB],
  memorySoftBytes: ['memory', 'soft_limit', UNLIMITED_KIB],
  memorySwapHardBytes: ['memory', 'swap_hard_limit', UNLIMITED_KIB],
  diskWeight: ['blkio', 'weight', 0],
};

const deviceNames = {
  weight: 'device_weight',
  readIopsSec: 'device_read_iops_sec',
  writeIopsSec: 'device_write_iops_sec',
  readBytesSec: 'device_read_bytes_sec',
  writeBytesSec: 'device_write_bytes_sec',
} as const satisfies Record<Exclude<keyof Device, 'path'>, string>;

const numaModes = ['strict', 'preferred', 'interleave', 'restrictive'] as const;

function changesOf({ hostDevices = [], numaMode, numaNodes, ...rest }: Changes): ParameterChange[] {
  const changes: ParameterChange[] = [];
  for (const [ours, [kind, name, lifted]] of Object.entries(numbers)) {
    const value = rest[ours as NumberName];
    if (value === undefined) continue;
    const unit = ours.endsWith('Bytes') ? 1024 : 1;
    changes.push({ kind, name, value: value === null ? lifted : Math.floor(value / unit) });
  }
  for (const [field, name] of Object.entries(deviceNames)) {
    const pairs = hostDevices.flatMap((one) => {
      const value = one[field as keyof typeof deviceNames];
      return value === undefined ? [] : [`${one.path},${value}`];
    });
    if (pairs.length > 0) changes.push({ kind: 'blkio', name, value: pairs.join(',') });
  }
  if (numaMode !== undefined)
    changes.push({ kind: 'numa', name: 'numa_mode', value: numaModes.indexOf(numaMode) });
  if (numaNodes !== undefined) changes.push({ kind: 'numa', name: 'numa_nodeset', value: numaNodes });
  return changes;
}
