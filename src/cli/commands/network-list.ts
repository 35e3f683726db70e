/** `network list|show|leases`. */
import { Option } from 'commander';
import type { Result } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import type { Output } from '../format/output.ts';
import type { Column } from '../format/table.ts';
import { NETWORK_HELP } from '../networks.ts';
import type { AddCommand } from './command.ts';
import { allOption } from './list-options.ts';
import { forwardTable } from './network-forward.ts';

type Entry = Result<'network.list'>['networks'][number];
type Details = Result<'network.get'>;

interface ListOptions {
  readonly active?: boolean;
  readonly inactive?: boolean;
  readonly autostart?: boolean;
  readonly names?: boolean;
}

const columns: readonly Column<Entry>[] = [
  { title: 'NAME', value: (network) => network.name, shrinks: true },
  { title: 'STATE', value: stateText, tone: (network) => (network.active ? 'good' : 'quiet') },
  { title: 'AUTOSTART', value: (network) => (network.autostart ? 'yes' : 'no') },
  { title: 'MODE', value: (network) => modeText(network.mode) },
  { title: 'BRIDGE', value: (network) => network.bridge ?? '' },
  { title: 'SUBNETS', value: (network) => network.subnets.join(', '), shrinks: true },
  { title: 'GUESTS', value: (network) => String(network.ports), align: 'right' },
];

function stateText(network: Entry): string {
  const state = network.active ? 'active' : 'inactive';
  return `${state}${network.job ? ` (${network.job.name})` : ''}${network.persistent ? '' : ', transient'}`;
}

const modeText = (mode: string): string => (mode === 'none' ? 'isolated' : mode);

export const addNetworkList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the networks')
    .description(methodSummary('network.list'))
    .addOption(allOption('networks'))
    .addOption(new Option('--active', 'Only networks that are active.').conflicts('inactive'))
    .addOption(new Option('--inactive', 'Only networks that are not.'))
    .addOption(new Option('--autostart', 'Only networks that start with the daemon.'))
    .option('--names', 'Print only the names, one a line.')
    .action(async (options: ListOptions) => {
      const result = await cli.withClient((client) =>
        client.call('network.list', {
          ...(options.active === true && { active: true }),
          ...(options.inactive === true && { active: false }),
          ...(options.autostart === true && { autostart: true }),
        }),
      );
      cli.out.result(result, () => listForPeople(cli.out, result, options));
      for (const { file, reason, uuid } of result.quarantined)
        cli.out.warn(
          `the definition of ${uuid ?? 'a network'} could not be read: ${reason} (now in ${file})`,
        );
    });
};

function listForPeople(out: Output, { networks }: Result<'network.list'>, options: ListOptions): string {
  if (options.names === true) return networks.map((network) => `${network.name}\n`).join('');
  if (networks.length > 0) return out.table(networks, columns);
  return options.active === true || options.inactive === true || options.autostart === true
    ? 'No network fits.\n'
    : "There are no networks. 'vireo network create --help' tells how to make one.\n";
}

export const addNetworkShow: AddCommand = (parent, cli) => {
  parent
    .command('show')
    .alias('info')
    .summary('show a network in detail')
    .description(methodSummary('network.get'))
    .argument('<network>', NETWORK_HELP)
    .action((name: string) => show(cli, name));
};

async function show(cli: Cli, network: string): Promise<void> {
  const details = await cli.withClient((client) => client.call('network.get', { network }));
  cli.out.result(details, () =>
    [facts(cli.out, details), ...tables(cli.out, details)].filter((part) => part !== '').join('\n'),
  );
}

function facts(out: Output, details: Details): string {
  return out.facts([
    ['Name', details.name, 'strong'],
    ['Title', details.title ?? undefined],
    ['Description', details.description ?? undefined],
    ['UUID', details.uuid],
    ['State', details.active ? 'active' : 'inactive', details.active ? 'good' : 'quiet'],
    ['Job', details.job ? `${details.job.name}, since ${details.job.startedAt}` : undefined, 'warning'],
    ['Since', details.startedAt ?? undefined],
    ['Mode', modeText(details.mode)],
    ['Bridge', details.bridge ?? undefined],
    ['MAC', details.mac ?? undefined],
    ['MTU', details.mtu === null ? undefined : String(details.mtu)],
    ['Domain name', details.domainName ?? undefined],
    ['Persistent', details.persistent ? 'yes' : 'no, gone when it stops'],
    ['Autostart', details.autostart ? 'yes' : 'no'],
  ]);
}

function tables(out: Output, details: Details): string[] {
  const section = <Row>(rows: readonly Row[], of: readonly Column<Row>[]) =>
    rows.length === 0 ? '' : out.table(rows, of);
  return [
    section(details.addresses, [
      { title: 'ADDRESS', value: (ip) => `${ip.address}/${ip.prefix}` },
      {
        title: 'DHCP',
        value: (ip) => ip.dhcpRanges.map(({ start, end }) => `${start} to ${end}`).join(', '),
      },
      { title: 'RESERVED', value: (ip) => String(ip.reservations), align: 'right' },
    ]),
    section(details.ports, [
      { title: 'GUEST', value: (port) => port.domain.name },
      { title: 'MAC', value: (port) => port.mac },
      { title: 'DEVICE', value: (port) => port.device },
    ]),
    details.portForwards.length === 0 ? '' : forwardTable(out, details.portForwards),
  ];
}

export const addNetworkLeases: AddCommand = (parent, cli) => {
  parent
    .command('leases')
    .summary('list the addresses of guests')
    .description(methodSummary('network.leases'))
    .argument('<network>', NETWORK_HELP)
    .option('--mac <address>', paramHelp('network.leases', 'mac'))
    .action((name: string, { mac }: { readonly mac?: string }) => leases(cli, name, mac));
};

async function leases(cli: Cli, network: string, mac: string | undefined): Promise<void> {
  const result = await cli.withClient((client) =>
    client.call('network.leases', { network, ...(mac !== undefined && { mac }) }),
  );
  cli.out.result(result, () =>
    result.leases.length === 0
      ? 'There are no leases.\n'
      : cli.out.table(result.leases, [
          { title: 'ADDRESS', value: (lease) => `${lease.address}/${lease.prefix}` },
          { title: 'GUEST', value: (lease) => lease.domain ?? '' },
          { title: 'HOST NAME', value: (lease) => lease.hostName ?? '', shrinks: true },
          { title: 'MAC', value: (lease) => lease.mac ?? '' },
          { title: 'EXPIRES', value: (lease) => lease.expiresAt ?? 'never' },
        ]),
  );
}
