/** `host info|check|capabilities|domain-capabilities`. */
import { Option } from 'commander';
import type { Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Tone } from '../format/colour.ts';
import type { Output } from '../format/output.ts';
import { safeLines } from '../format/table.ts';
import { counted, wrapText } from '../format/wrap.ts';
import type { AddCommand } from './command.ts';

type HostInfo = Result<'host.info'>;
type Check = Result<'host.check'>['checks'][number];

export const addHost: AddCommand = (parent, cli) => {
  const host = parent
    .command('host')
    .summary('this host and what it can do')
    .description('Looks at the host.');
  addInfo(host, cli);
  addCheck(host, cli);
  addCapabilities(host, cli);
  addDomainCapabilities(host, cli);
};

const addInfo: AddCommand = (host, cli) => {
  host
    .command('info')
    .summary('describe the host')
    .description(methodSummary('host.info'))
    .action(async () => {
      const info = await cli.withClient((client) => client.call('host.info', {}));
      cli.out.result(info, () => infoFacts(cli.out, info));
    });
};

function infoFacts(out: Output, info: HostInfo): string {
  const topology = [
    counted(info.sockets, 'socket'),
    counted(info.coresPerSocket, 'core'),
    counted(info.threadsPerCore, 'thread'),
  ].join(' × ');
  const mhz = info.cpuMhz === null ? '' : `, ${Math.round(info.cpuMhz)} MHz`;
  return out.facts([
    ['Host', info.hostName, 'strong'],
    ['UUID', info.uuid],
    ['Kernel', info.kernel],
    ['Architecture', info.arch],
    ['CPU', info.cpuModel === null ? undefined : `${info.cpuModel}${mhz}`],
    ['CPUs', `${info.cpus} (${topology}, ${counted(info.numaNodes, 'NUMA node')})`],
    ['Memory', `${formatBytes(info.memoryBytes)}, ${formatBytes(info.freeMemoryBytes)} of it free`],
    [
      'KVM',
      info.kvm.usable ? 'usable' : `not usable: ${info.kvm.reason ?? 'unknown'}`,
      info.kvm.usable ? 'good' : 'warning',
    ],
    ['Repair', info.kvm.hint ?? undefined],
  ]);
}

const checkTones: Readonly<Record<Check['status'], Tone>> = {
  ok: 'good',
  warning: 'warning',
  problem: 'bad',
  absent: 'quiet',
};

const addCheck: AddCommand = (host, cli) => {
  host
    .command('check')
    .summary('check what virtualisation needs, with repairs')
    .description(`${methodSummary('host.check')} Exits with 1 when there is a problem.`)
    .action(async () => {
      const result = await cli.withClient((client) => client.call('host.check', {}));
      cli.out.result(result, () => checkReport(cli.out, result.checks));
      if (result.checks.some((check) => check.status === 'problem')) cli.exitCode = exitCodes.failed;
    });
};

/** One check a paragraph: its status in a column of its own, then title and finding, then the repair. */
function checkReport(out: Output, checks: readonly Check[]): string {
  const indent = ' '.repeat(STATUS_COLUMNS);
  const width = out.width === undefined ? undefined : Math.max(out.width - STATUS_COLUMNS, NARROWEST);
  const paragraph = (check: Check) => {
    const tone = checkTones[check.status];
    const lines = wrapText(`${check.title}: ${check.detail}`, width);
    if (check.repair !== null && check.status !== 'ok')
      lines.push(...wrapText(`repair: ${check.repair}`, width));
    const status = out.paint(tone, check.status) + ' '.repeat(STATUS_COLUMNS - check.status.length);
    return `${status}${lines.join(`\n${indent}`)}\n`;
  };
  const count = (status: Check['status']) => checks.filter((check) => check.status === status).length;
  const verdict = `${count('ok')} ok, ${counted(count('warning'), 'warning')}, ${counted(count('problem'), 'problem')}`;
  return `${checks.map(paragraph).join('')}\n${out.paint('strong', verdict)}\n`;
}

/** The longest status and two blanks. */
const STATUS_COLUMNS = 'warning'.length + 2;
/** Text is never broken into less than this. */
const NARROWEST = 30;

const addCapabilities: AddCommand = (host, cli) => {
  host
    .command('capabilities')
    .summary("print libvirt's capabilities document")
    .description(methodSummary('host.capabilities'))
    .action(async () => {
      const result = await cli.withClient((client) => client.call('host.capabilities', {}));
      cli.out.result(result, () => safeLines(result.xml));
    });
};

interface DomainCapabilitiesOptions {
  readonly emulator?: string;
  readonly arch?: string;
  readonly machine?: string;
  readonly type?: 'kvm' | 'qemu';
}

const addDomainCapabilities: AddCommand = (host, cli) => {
  const help = (param: string) => paramHelp('host.domain-capabilities', param);
  host
    .command('domain-capabilities')
    .summary('print what a domain may contain')
    .description(methodSummary('host.domain-capabilities'))
    .option('--emulator <file>', help('emulator'))
    .option('--arch <arch>', help('arch'))
    .option('--machine <machine>', help('machine'))
    .addOption(new Option('--type <type>', 'How its CPUs run.').choices(['kvm', 'qemu']))
    .action(async ({ emulator, arch, machine, type }: DomainCapabilitiesOptions) => {
      const result = await cli.withClient((client) =>
        client.call('host.domain-capabilities', {
          ...(emulator !== undefined && { emulator: cli.absolute(emulator) }),
          ...(arch !== undefined && { arch }),
          ...(machine !== undefined && { machine }),
          ...(type !== undefined && { virtType: type }),
        }),
      );
      cli.out.result(result, () => safeLines(result.xml));
    });
};
