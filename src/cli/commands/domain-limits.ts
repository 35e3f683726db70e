/** `domain limits|set-limits`: shares and limits of a domain on its host. */
import type { ParamsInput, Result } from '../../api/index.ts';
import { formatBytes, parseSize } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { badOption, parseCount } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

type Limits = Result<'domain.limits'>;
type Changes = ParamsInput<'domain.set-limits'>['limits'];

export const addLimits: AddCommand = (parent, cli) => {
  parent
    .command('limits')
    .summary("show a domain's shares and limits on its host")
    .description(methodSummary('domain.limits'))
    .argument('<domain>', DOMAIN_HELP)
    .option('--inactive', paramHelp('domain.limits', 'inactive'))
    .action(async (name: string, options: { readonly inactive?: boolean }) => {
      const limits = await withDomain(cli, name, (client, domain) =>
        client.call('domain.limits', { domain, ...options }),
      );
      cli.out.result(limits, () => cli.out.facts(factsOf(limits)));
    });
};

function factsOf(limits: Limits): [string, string][] {
  const quota = (quotaUs: number | null, periodUs: number | null) =>
    quotaUs === null ? 'none' : `${quotaUs} µs of ${periodUs ?? 100_000} µs`;
  const size = (bytes: number | null) => (bytes === null ? 'none' : formatBytes(bytes));
  const devices = limits.hostDevices.map(({ path, ...rest }): [string, string] => [
    path,
    Object.entries(rest)
      .map(([key, value]) => `${key}=${value}`)
      .join(' '),
  ]);
  return [
    ['CPU shares', String(limits.cpuShares ?? 'as others')],
    ['Quota of each CPU', quota(limits.vcpuQuotaUs, limits.vcpuPeriodUs)],
    ['Quota of the emulator', quota(limits.emulatorQuotaUs, limits.emulatorPeriodUs)],
    ['Quota of each IO thread', quota(limits.iothreadQuotaUs, limits.iothreadPeriodUs)],
    ['Quota of the guest', quota(limits.globalQuotaUs, limits.globalPeriodUs)],
    ['Memory at most', size(limits.memoryHardBytes)],
    ['Memory when it runs short', size(limits.memorySoftBytes)],
    ['Memory and swap at most', size(limits.memorySwapHardBytes)],
    ['Disk weight', String(limits.diskWeight ?? 'as others')],
    [
      'NUMA nodes',
      limits.numaNodes === null ? 'any' : `${limits.numaNodes} (${limits.numaMode ?? 'strict'})`,
    ],
    ...devices,
  ];
}

/** Options with a number of microseconds, by their fields. */
const times = {
  vcpuPeriodUs: ['--vcpu-period <us>', "The time in which a CPU's quota is used up."],
  vcpuQuotaUs: ['--vcpu-quota <us>', 'Processor time of each virtual CPU in a period.'],
  emulatorPeriodUs: ['--emulator-period <us>', "The same of QEMU's other threads."],
  emulatorQuotaUs: ['--emulator-quota <us>', "Processor time of QEMU's other threads together."],
  iothreadPeriodUs: ['--iothread-period <us>', 'The same of IO threads.'],
  iothreadQuotaUs: ['--iothread-quota <us>', 'Processor time of each IO thread.'],
  globalPeriodUs: ['--global-period <us>', 'The same of the whole guest.'],
  globalQuotaUs: ['--global-quota <us>', 'Processor time of the whole guest.'],
} as const satisfies Partial<Record<keyof Changes, readonly [string, string]>>;

interface SetOptions {
  readonly [option: string]: string | readonly string[] | boolean | undefined;
}

export const addSetLimits: AddCommand = (parent, cli) => {
  const command = parent
    .command('set-limits')
    .summary("set a domain's shares and limits on its host")
    .description(`${methodSummary('domain.set-limits')} The word 'none' lifts a limit.`)
    .argument('<domain>', DOMAIN_HELP)
    .option('--cpu-shares <number>', 'Its share of busy processors.');
  for (const [flags, help] of Object.values(times)) command.option(flags, help);
  command
    .option('--memory-hard <size>', 'More memory than this it cannot have: QEMU is killed.')
    .option('--memory-soft <size>', 'Where the kernel begins to take memory back when it runs short.')
    .option('--memory-swap-hard <size>', 'Memory and swap together.')
    .option('--disk-weight <number>', 'Its share of busy disks.')
    .option(
      '--device <limits...>',
      'Of a disk of the host: /dev/sda,write-bytes=10MiB,read-iops=100,weight=200.',
    )
    .option('--numa-mode <mode>', 'strict, preferred, interleave or restrictive.')
    .option(
      '--numa-nodes <nodes>',
      'Where its memory is; of a running guest with strict or restrictive mode too.',
    )
    .option('--live', paramHelp('domain.set-limits', 'live'))
    .option('--stored', paramHelp('domain.set-limits', 'stored'))
    .action(async (name: string, options: SetOptions) => {
      const limits = changesOf(options);
      if (Object.keys(limits).length === 0) throw badOption('domain set-limits', name, 'no limit is given');
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.set-limits', {
          domain,
          limits,
          ...(options['live'] === true && { live: true }),
          ...(options['stored'] === true && { stored: true }),
        }),
      );
      cli.out.result(result, () => cli.out.facts(factsOf(result)));
    });
};

function changesOf(options: SetOptions): Changes {
  const text = (name: string) => (typeof options[name] === 'string' ? options[name] : undefined);
  const number = (name: string) => {
    const given = text(name);
    if (given === undefined || given === 'none') return given === undefined ? undefined : null;
    return parseCount(`--${dashed(name)}`, given, { min: 1, max: Number.MAX_SAFE_INTEGER });
  };
  const size = (name: string) => {
    const given = text(name);
    return given === undefined || given === 'none'
      ? given === undefined
        ? undefined
        : null
      : parseSize(given);
  };
  const devices = Array.isArray(options['device']) ? options['device'].map(readDevice) : undefined;
  const all = {
    cpuShares: number('cpuShares'),
    ...Object.fromEntries(Object.keys(times).map((field) => [field, number(field.replace(/Us$/, ''))])),
    memoryHardBytes: size('memoryHard'),
    memorySoftBytes: size('memorySoft'),
    memorySwapHardBytes: size('memorySwapHard'),
    diskWeight: number('diskWeight'),
    hostDevices: devices,
    numaMode: text('numaMode'),
    numaNodes: text('numaNodes'),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Changes;
}

const dashed = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

type Device = NonNullable<Changes['hostDevices']>[number];

const deviceWords = {
  weight: 'weight',
  'read-bytes': 'readBytesSec',
  'write-bytes': 'writeBytesSec',
  'read-iops': 'readIopsSec',
  'write-iops': 'writeIopsSec',
} as const satisfies Record<string, keyof Device>;

/** `/dev/sda,write-bytes=10MiB`. */
function readDevice(given: string): Device {
  const [path = '', ...words] = given.split(',');
  const bad = (why: string) =>
    badOption('--device', given, why, 'write /dev/sda,write-bytes=10MiB,read-iops=100');
  if (!path.startsWith('/') || words.length === 0) throw bad('it is a path and limits, with commas');
  const limits = words.map((word) => {
    const [key = '', value = ''] = word.split('=');
    if (!Object.hasOwn(deviceWords, key)) throw bad(`'${key}' is no limit`);
    const isSize = key.endsWith('-bytes');
    const number = isSize ? parseSize(value) : parseCount('--device', value, { min: 0, max: 2 ** 32 - 1 });
    return [deviceWords[key as keyof typeof deviceWords], number];
  });
  return { path, ...Object.fromEntries(limits) } as Device;
}
