/** `domain set-memory|set-vcpus|set-vcpu|pin|threads|disk`: what a domain has of its host. */
import { Option } from 'commander';
import type { ParamsInput } from '../../api/index.ts';
import { formatBytes, parseSize } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { badOption, parseCount } from '../options/fields.ts';
import type { AddCommand } from './command.ts';
import { addLimitOptions, type LimitOptions, limitsText, readLimits } from './disk-limits.ts';
import { addDiskJobs } from './domain-disk-jobs.ts';

interface TargetOptions {
  readonly live?: boolean;
  readonly stored?: boolean;
}

interface CountOptions extends TargetOptions {
  readonly maximum?: boolean;
  readonly guest?: boolean;
}

export const addSetMemory: AddCommand = (parent, cli) => {
  parent
    .command('set-memory')
    .summary('set how much memory a guest may use')
    .description(methodSummary('domain.set-memory'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<size>', 'Like 512MiB or 2GiB.')
    .option('--maximum', paramHelp('domain.set-memory', 'maximum'))
    .option('--live', paramHelp('domain.set-memory', 'live'))
    .option('--stored', paramHelp('domain.set-memory', 'stored'))
    .action(async (name: string, size: string, options: CountOptions) => {
      const memoryBytes = parseSize(size);
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.set-memory', { domain, memoryBytes, ...options }),
      );
      const what = options.maximum ? 'has at most' : 'may use';
      cli.out.result(
        { domain: name, memoryBytes },
        () => `Domain '${name}' ${what} ${formatBytes(memoryBytes)}.\n`,
      );
    });
};

export const addSetVcpus: AddCommand = (parent, cli) => {
  parent
    .command('set-vcpus')
    .summary('set how many virtual CPUs a guest has')
    .description(methodSummary('domain.set-vcpus'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<count>', 'How many.')
    .option('--maximum', paramHelp('domain.set-vcpus', 'maximum'))
    .option('--guest', paramHelp('domain.set-vcpus', 'guest'))
    .option('--hotpluggable', paramHelp('domain.set-vcpus', 'hotpluggable'))
    .option('--live', paramHelp('domain.set-vcpus', 'live'))
    .option('--stored', paramHelp('domain.set-vcpus', 'stored'))
    .action(async (name: string, text: string, options: CountOptions) => {
      const count = parseCount('<count>', text, { min: 1, max: 65_535 });
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.set-vcpus', { domain, count, ...options }),
      );
      const what = options.maximum ? 'may have' : 'has';
      cli.out.result({ domain: name, count }, () => `Domain '${name}' ${what} ${count} CPUs.\n`);
    });
};

export const addSetVcpu: AddCommand = (parent, cli) => {
  parent
    .command('set-vcpu')
    .summary('plug single virtual CPUs in, or take them away')
    .description(methodSummary('domain.set-vcpu'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<vcpus>', paramHelp('domain.set-vcpu', 'vcpus'))
    .addOption(new Option('--enable', 'Plug them in.').conflicts('disable'))
    .option('--disable', 'Take them away.')
    .option('--live', paramHelp('domain.set-vcpu', 'live'))
    .option('--stored', paramHelp('domain.set-vcpu', 'stored'))
    .action(async (name: string, vcpus: string, { enable, disable, ...targets }: VcpuOptions) => {
      if (enable === undefined && disable === undefined)
        throw badOption('--enable', '', 'it or --disable must be given');
      const enabled = enable === true;
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.set-vcpu', { domain, vcpus, enabled, ...targets }),
      );
      cli.out.result(
        { domain: name, vcpus, enabled },
        () => `CPU ${vcpus} of '${name}' is ${enabled ? 'enabled' : 'disabled'}.\n`,
      );
    });
};

interface VcpuOptions extends TargetOptions {
  readonly enable?: boolean;
  readonly disable?: boolean;
}

type PinTarget = ParamsInput<'domain.pin'>['target'];

export const addPin: AddCommand = (parent, cli) => {
  parent
    .command('pin')
    .summary('say on which processors threads of a guest run')
    .description(methodSummary('domain.pin'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<thread>', 'vcpu0, iothread1, ... or emulator.')
    .argument('<cpus>', paramHelp('domain.pin', 'cpus'))
    .option('--live', paramHelp('domain.pin', 'live'))
    .option('--stored', paramHelp('domain.pin', 'stored'))
    .action(async (name: string, thread: string, cpus: string, options: TargetOptions) => {
      const target = targetOf(thread);
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.pin', { domain, target, cpus, ...options }),
      );
      cli.out.result({ domain: name, thread, cpus }, () => `${thread} of '${name}' runs on ${cpus}.\n`);
    });
};

function targetOf(thread: string): PinTarget {
  if (thread === 'emulator') return thread;
  const match = /^(vcpu|iothread)(\d{1,5})$/.exec(thread);
  const number = Number(match?.[2]);
  if (match?.[1] === 'vcpu') return { vcpu: number };
  if (match?.[1] === 'iothread') return { iothread: number };
  throw badOption('<thread>', thread, 'it is no thread', 'write vcpu0, iothread1 or emulator');
}

function threadName(target: PinTarget): string {
  if (target === 'emulator') return target;
  return 'vcpu' in target ? `vcpu${target.vcpu}` : `iothread${target.iothread}`;
}

export const addThreads: AddCommand = (parent, cli) => {
  parent
    .command('threads')
    .summary('show the threads of a guest, and where they may run')
    .description(methodSummary('domain.threads'))
    .argument('<domain>', DOMAIN_HELP)
    .action(async (name: string) => {
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.threads', { domain }),
      );
      cli.out.result(result, () =>
        cli.out.table(result.threads, [
          { title: 'THREAD', value: ({ target }) => threadName(target) },
          { title: 'ID', value: ({ threadId }) => String(threadId ?? '-') },
          { title: 'PROCESSORS', value: ({ cpus }) => cpus ?? 'any' },
        ]),
      );
    });
};

/** `domain disk resize|limit|info`. */
export const addDisk: AddCommand = (parent, cli) => {
  const disk = parent
    .command('disk')
    .summary('size and limits of disks, jobs on their images')
    .description('Resizes, limits and measures disks; pulls, merges and copies their images.');
  addResize(disk, cli);
  addLimit(disk, cli);
  addThreshold(disk, cli);
  addInfo(disk, cli);
  addDiskJobs(disk, cli);
};

const DISK_HELP = 'Target (vda), alias, or path of the image.';

const addResize: AddCommand = (parent, cli) => {
  parent
    .command('resize')
    .summary('make a disk of a running guest larger or smaller')
    .description(methodSummary('domain.disk.resize'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<disk>', DISK_HELP)
    .argument('<size>', 'Like 20GiB.')
    .action(async (name: string, disk: string, size: string) => {
      const sizeBytes = parseSize(size);
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.disk.resize', { domain, disk, sizeBytes }),
      );
      cli.out.result(
        { domain: name, disk, sizeBytes },
        () => `Disk ${disk} of '${name}' has ${formatBytes(sizeBytes)}.\n`,
      );
    });
};

interface DiskLimitOptions extends TargetOptions, LimitOptions {
  readonly group?: string;
}

const addLimit: AddCommand = (parent, cli) => {
  const verb = parent
    .command('limit')
    .summary('limit the bytes and operations of a disk')
    .description(`${methodSummary('domain.disk.set-limits')} 0 lifts a limit.`)
    .argument('<domain>', DOMAIN_HELP)
    .argument('<disk>', DISK_HELP);
  addLimitOptions(verb)
    .option('--group <name>', 'Disks of one group share its limits.')
    .option('--live', paramHelp('domain.disk.set-limits', 'live'))
    .option('--stored', paramHelp('domain.disk.set-limits', 'stored'))
    .action((name: string, disk: string, options: DiskLimitOptions) => limitDisk(cli, name, disk, options));
};

async function limitDisk(cli: Cli, name: string, disk: string, options: DiskLimitOptions): Promise<void> {
  const { live, stored, group } = options;
  const limits = { ...readLimits(options), ...(group !== undefined && { groupName: group }) };
  if (Object.keys(limits).length === 0) throw badOption('domain disk limit', disk, 'no limit is given');
  const result = await withDomain(cli, name, (client, domain) =>
    client.call('domain.disk.set-limits', {
      domain,
      disk,
      limits,
      ...(live !== undefined && { live }),
      ...(stored !== undefined && { stored }),
    }),
  );
  cli.out.result(result, () => `The limits of ${disk} are set.\n`);
}

const addThreshold: AddCommand = (parent, cli) => {
  parent
    .command('threshold')
    .summary('have an event told when the image of a disk is written beyond a byte')
    .description(`${methodSummary('domain.disk.set-threshold')} 'vireo events' shows it.`)
    .argument('<domain>', DOMAIN_HELP)
    .argument('<disk>', `${DISK_HELP} 'vda[2]' is an image of its chain, by its number.`)
    .argument('<size>', 'Like 20GiB; 0 ends it.')
    .action(async (name: string, disk: string, size: string) => {
      const thresholdBytes = parseSize(size);
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.disk.set-threshold', { domain, disk, thresholdBytes }),
      );
      cli.out.result({ domain: name, disk, thresholdBytes }, () =>
        thresholdBytes === 0
          ? `Nothing is told of ${disk} any more.\n`
          : `It is told when ${disk} is written beyond ${formatBytes(thresholdBytes)}.\n`,
      );
    });
};

const addInfo: AddCommand = (parent, cli) => {
  parent
    .command('info')
    .summary('show the size and limits of a disk')
    .description(methodSummary('domain.disk.info'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<disk>', DISK_HELP)
    .action(async (name: string, disk: string) => {
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.disk.info', { domain, disk }),
      );
      cli.out.result(result, () =>
        cli.out.facts([
          ['Capacity', formatBytes(result.capacityBytes)],
          ['On the host', formatBytes(result.allocationBytes)],
          ['Length of the file', formatBytes(result.physicalBytes)],
          ['Limits', limitsText(result.limits)],
        ]),
      );
    });
};
