/** `host info|check|interfaces|devices|capabilities|domain-capabilities`; node devices stand in a file of their own. */
import { Option } from 'commander';
import type { Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import { exitCodes } from '../exit-codes.ts';
import type { Tone } from '../format/colour.ts';
import { findingsText } from '../format/findings.ts';
import type { Output } from '../format/output.ts';
import { safeLines } from '../format/table.ts';
import { counted } from '../format/wrap.ts';
import type { AddCommand } from './command.ts';
import { addNodeDevices } from './host-node-devices.ts';
import { addSaslUsers } from './host-sasl-users.ts';
import { addStatistics } from './host-statistics.ts';
import { addSev } from './launch-security.ts';
import { addShutdownGuests } from './power-order.ts';

type HostInfo = Result<'host.info'>;
type HostInterface = Result<'host.interfaces'>['interfaces'][number];
type HostDevice = Result<'host.devices'>['devices'][number];
type Check = Result<'host.check'>['checks'][number];

export const addHost: AddCommand = (parent, cli) => {
  const host = parent
    .command('host')
    .summary('this host and what it can do')
    .description('Looks at the host.');
  addInfo(host, cli);
  addCheck(host, cli);
  addInterfaces(host, cli);
  addInterface(host, cli);
  addDevices(host, cli);
  addNodeDevices(host, cli);
  addStatistics(host, cli);
  addSev(host, cli);
  addShutdownGuests(host, cli);
  addSaslUsers(host, cli);
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

function checkReport(out: Output, checks: readonly Check[]): string {
  const count = (status: Check['status']) => checks.filter((check) => check.status === status).length;
  const verdict = `${count('ok')} ok, ${counted(count('warning'), 'warning')}, ${counted(count('problem'), 'problem')}`;
  return `${findingsText(out, checks, checkTones)}\n${out.paint('strong', verdict)}\n`;
}

const addInterfaces: AddCommand = (host, cli) => {
  host
    .command('interfaces')
    .summary('list the network interfaces')
    .description(methodSummary('host.interfaces'))
    .option('--type <type>', paramHelp('host.interfaces', 'type'))
    .action(async ({ type }: { readonly type?: string }) => {
      const params = type === undefined ? {} : { type };
      const result = await cli.withClient((client) => client.call('host.interfaces', params));
      cli.out.result(result, () => interfaceTable(cli.out, result.interfaces));
    });
};

const addInterface: AddCommand = (host, cli) => {
  host
    .command('interface')
    .summary("print a network interface as libvirt's XML")
    .description(methodSummary('host.interface-xml'))
    .argument('<interface>', paramHelp('host.interface-xml', 'interface'))
    .action(async (name: string) => {
      const result = await cli.withClient((client) => client.call('host.interface-xml', { interface: name }));
      cli.out.result(result, () => safeLines(result.xml));
    });
};

function interfaceTable(out: Output, interfaces: readonly HostInterface[]): string {
  if (interfaces.length === 0) return 'There are none.\n';
  return out.table(interfaces, [
    { title: 'NAME', value: ({ name }) => name },
    { title: 'TYPE', value: ({ type, vlan }) => (vlan === null ? type : `${type} ${vlan}`) },
    { title: 'STATE', value: stateOfInterface },
    { title: 'MAC', value: ({ mac }) => mac ?? '' },
    { title: 'MTU', value: ({ mtu }) => String(mtu) },
    { title: 'ON', value: ({ master, parent }) => master ?? parent ?? '' },
    {
      title: 'ADDRESSES',
      value: ({ addresses }) => addresses.map(({ address, prefix }) => `${address}/${prefix}`).join(' '),
      shrinks: true,
    },
    { title: 'USED BY', value: ({ owner }) => (owner === null ? '' : `${owner.type} ${owner.name}`) },
  ]);
}

/** `up 1000 Mbit/s`; an interface whose driver tells no state is what it was set to. */
function stateOfInterface({ up, state, speedMbps }: HostInterface): string {
  if (!up) return 'down';
  const word = state === 'unknown' ? 'up' : state === 'up' ? 'up' : `no link (${state})`;
  return speedMbps === null || word !== 'up' ? word : `${word} ${speedMbps} Mbit/s`;
}

const addDevices: AddCommand = (host, cli) => {
  host
    .command('devices')
    .summary('list the PCI, USB and SCSI devices')
    .description(methodSummary('host.devices'))
    .addOption(new Option('--type <type>', paramHelp('host.devices', 'type')).choices(['pci', 'usb', 'scsi']))
    .action(async ({ type }: { readonly type?: HostDevice['type'] }) => {
      const params = type === undefined ? {} : { type };
      const result = await cli.withClient((client) => client.call('host.devices', params));
      cli.out.result(result, () => deviceTable(cli.out, result.devices));
    });
};

function deviceTable(out: Output, devices: readonly HostDevice[]): string {
  if (devices.length === 0) return 'There are none.\n';
  return out.table(devices, [
    { title: 'TYPE', value: ({ type }) => type },
    { title: 'ADDRESS', value: addressOf },
    { title: 'IDS', value: (one) => (one.type === 'scsi' ? '' : one.ids) },
    { title: 'DRIVER', value: driverOf },
    { title: 'GROUP', value: (one) => (one.type === 'pci' ? String(one.iommuGroup ?? '') : '') },
    { title: 'USED BY', value: ({ usedBy }) => usedBy?.name ?? '' },
    {
      title: 'NAME',
      value: ({ vendor, product }) => [vendor, product].filter((word) => word !== null).join(' '),
      shrinks: true,
    },
  ]);
}

/** The host's driver; of a SCSI device the nodes by which the host knows it. */
function driverOf(one: HostDevice): string {
  if (one.type === 'usb') return '';
  if (one.type === 'pci') return one.driver ?? '';
  return [one.node?.slice('/dev/'.length), one.block].filter((word) => typeof word === 'string').join(' ');
}

/** As <address> has it: bus and device for USB; adapter, bus, target and unit for SCSI. */
function addressOf(one: HostDevice): string {
  if (one.type === 'scsi') return `${one.adapter} ${one.bus}:${one.target}:${one.unit}`;
  return one.type === 'pci' ? one.address : `bus ${one.bus} device ${one.device}`;
}

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
