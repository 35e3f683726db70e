/** `domain list` and `domain show`. */
import { Option } from 'commander';
import type { ParamsInput, Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { type DomainStateName, stateReasons } from '../../model/domain/state.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { stateTone } from '../format/colour.ts';
import type { Output } from '../format/output.ts';
import type { Column } from '../format/table.ts';
import { formatDuration } from '../options/duration.ts';
import { formatEndpoint } from '../options/forward.ts';
import type { AddCommand } from './command.ts';
import { allOption } from './list-options.ts';

type ListEntry = Result<'domain.list'>['domains'][number];
type Details = Result<'domain.get'>;

const stateNames = Object.keys(stateReasons);

interface ListOptions {
  readonly active?: boolean;
  readonly inactive?: boolean;
  readonly transient?: boolean;
  readonly autostart?: boolean;
  readonly saved?: boolean;
  readonly state?: DomainStateName;
  readonly names?: boolean;
}

const columns: readonly Column<ListEntry>[] = [
  { title: 'ID', value: (domain) => (domain.id === null ? '' : String(domain.id)), align: 'right' },
  { title: 'NAME', value: (domain) => domain.name, shrinks: true },
  { title: 'STATE', value: stateText, tone: (domain) => stateTone(domain.state) },
  { title: 'VCPUS', value: (domain) => String(domain.vcpus), align: 'right' },
  { title: 'MEMORY', value: (domain) => formatBytes(domain.memoryBytes), align: 'right' },
  { title: 'TYPE', value: (domain) => domain.virtType },
  { title: 'AUTOSTART', value: (domain) => (domain.autostart ? 'yes' : 'no') },
  { title: 'TITLE', value: (domain) => domain.title ?? '', shrinks: true },
];

function stateText(domain: ListEntry): string {
  const transient = domain.persistent ? '' : ', transient';
  const saved = domain.saved ? ', saved' : '';
  return `${domain.state}${saved}${domain.job ? ` (${domain.job.name})` : ''}${transient}`;
}

function listParams(options: ListOptions): ParamsInput<'domain.list'> {
  return {
    ...(options.active === true && { active: true }),
    ...(options.inactive === true && { active: false }),
    ...(options.transient === true && { persistent: false }),
    ...(options.autostart === true && { autostart: true }),
    ...(options.saved === true && { saved: true }),
    ...(options.state !== undefined && { state: options.state }),
  };
}

export const addList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the domains')
    .description(methodSummary('domain.list'))
    .addOption(allOption('domains'))
    .addOption(new Option('--active', 'Only domains that run.').conflicts('inactive'))
    .addOption(new Option('--inactive', 'Only domains that do not run.'))
    .addOption(new Option('--transient', 'Only domains without a stored definition.'))
    .addOption(new Option('--autostart', 'Only domains that start with the daemon.'))
    .addOption(new Option('--saved', 'Only domains whose next start goes on from a saved state.'))
    .addOption(new Option('--state <state>', paramHelp('domain.list', 'state')).choices(stateNames))
    .option('--names', 'Print only the names, one a line.')
    .action(async (options: ListOptions) => {
      const result = await cli.withClient((client) => client.call('domain.list', listParams(options)));
      cli.out.result(result, () => listForPeople(cli.out, result, options));
      for (const { file, reason, uuid } of result.quarantined)
        cli.out.warn(`the definition of ${uuid ?? 'a domain'} could not be read: ${reason} (now in ${file})`);
    });
};

function listForPeople(out: Output, result: Result<'domain.list'>, options: ListOptions): string {
  const { domains } = result;
  if (options.names === true) return domains.map((domain) => `${domain.name}\n`).join('');
  if (domains.length > 0) {
    const shown = columns.filter(
      (column) => column.title !== 'TITLE' || domains.some((entry) => entry.title),
    );
    return out.table(domains, shown);
  }
  return Object.keys(listParams(options)).length > 0
    ? 'No domain fits.\n'
    : "There are no domains yet. 'vireo domain create --help' tells how to make one.\n";
}

export const addShow: AddCommand = (parent, cli) => {
  parent
    .command('show')
    .alias('info')
    .summary('show a domain in detail')
    .description(methodSummary('domain.get'))
    .argument('<domain>', DOMAIN_HELP)
    .action((name: string) => show(cli, name));
};

async function show(cli: Cli, name: string): Promise<void> {
  const details = await withDomain(cli, name, (client, domain) => client.call('domain.get', { domain }));
  cli.out.result(details, () =>
    [domainFacts(cli.out, details), ...deviceTables(cli.out, details)]
      .filter((part) => part !== '')
      .join('\n'),
  );
}

function domainFacts(out: Output, details: Details): string {
  const { startedAt } = details;
  const running = startedAt === null ? undefined : formatDuration(Date.now() - Date.parse(startedAt));
  const balloon =
    details.currentMemoryBytes === details.memoryBytes ? '' : ` of ${formatBytes(details.memoryBytes)}`;
  const hotplug = details.maxVcpus === details.vcpus ? '' : ` of ${details.maxVcpus}`;
  return out.facts([
    ['Name', details.name, 'strong'],
    ['Title', details.title ?? undefined],
    ['Description', details.description ?? undefined],
    ['UUID', details.uuid],
    ['ID', details.id === null ? undefined : String(details.id)],
    ['State', `${details.state} (${details.reason})`, stateTone(details.state)],
    ['Job', details.job ? `${details.job.name}, since ${details.job.startedAt}` : undefined, 'warning'],
    ['Running for', running],
    ['Last run', lastRun(details)],
    ['Type', details.virtType === 'kvm' ? 'kvm' : `${details.virtType} (emulation, no KVM)`],
    ['Machine', details.machine === null ? details.arch : `${details.machine} (${details.arch})`],
    ['VCPUs', `${details.vcpus}${hotplug}`],
    ['Memory', `${formatBytes(details.currentMemoryBytes)}${balloon}`],
    ['Persistent', details.persistent ? 'yes' : 'no, gone when it stops'],
    ['Autostart', details.autostart ? 'yes' : 'no'],
    ['Saved state', details.saved ? 'kept; the next start goes on from there' : undefined],
    ['Emulator', details.emulator ?? undefined],
    ['QEMU pid', details.pid === null ? undefined : String(details.pid)],
  ]);
}

/** How the last run ended; after a crash with the last line that QEMU said. */
function lastRun({ lastExit }: Details): string | undefined {
  if (lastExit === null) return undefined;
  const said = lastExit.log.trim().split('\n').at(-1);
  const how = lastExit.how === '' ? '' : ` (${lastExit.how})`;
  return `${lastExit.reason}${how}, ${lastExit.at}${said ? `: ${said}` : ''}`;
}

function deviceTables(out: Output, details: Details): string[] {
  const section = <Row>(rows: readonly Row[], of: readonly Column<Row>[]) =>
    rows.length === 0 ? '' : out.table(rows, of);
  return [
    section(details.disks, [
      { title: 'DISK', value: (disk) => disk.target },
      { title: 'DEVICE', value: (disk) => `${disk.device}${disk.readonly ? ', read-only' : ''}` },
      { title: 'BUS', value: (disk) => disk.bus ?? '' },
      { title: 'FORMAT', value: (disk) => disk.format ?? '' },
      { title: 'SOURCE', value: (disk) => disk.source ?? '(empty)' },
    ]),
    section(details.interfaces, [
      { title: 'INTERFACE', value: (nic) => nic.alias ?? '' },
      { title: 'TYPE', value: (nic) => nic.type },
      { title: 'SOURCE', value: (nic) => nic.source ?? '' },
      { title: 'MODEL', value: (nic) => nic.model ?? '' },
      { title: 'MAC', value: (nic) => nic.mac ?? '' },
      { title: 'ADDRESS', value: (nic) => nic.address ?? '' },
    ]),
    section(details.portForwards, [
      { title: 'FORWARD', value: (forward) => forward.protocol },
      { title: 'HOST', value: (forward) => formatEndpoint(forward.hostAddress, forward.hostPort) },
      { title: 'GUEST', value: (forward) => formatEndpoint(forward.guestAddress, forward.guestPort) },
    ]),
    section(distinctConsoles(details.consoles), [
      { title: 'CONSOLE', value: (entry) => entry.alias ?? '' },
      { title: 'KIND', value: (entry) => entry.kind },
      { title: 'TARGET', value: (entry) => entry.target ?? '' },
      { title: 'BACKEND', value: (entry) => entry.backend },
      { title: 'PATH', value: (entry) => entry.path ?? '' },
    ]),
    section(details.graphics, [
      { title: 'GRAPHICS', value: (entry) => entry.type },
      { title: 'ADDRESS', value: (entry) => graphicsAddress(entry) },
    ]),
  ];
}

/** libvirt shows the first serial port a second time, as a console. */
function distinctConsoles(consoles: Details['consoles']): Details['consoles'] {
  const hasSerial = consoles.some((entry) => entry.kind === 'serial');
  return consoles.filter((entry) => !(hasSerial && entry.kind === 'console' && entry.target === 'serial'));
}

function graphicsAddress(entry: Details['graphics'][number]): string {
  if (entry.socket !== null) return entry.socket;
  if (entry.port === null) return '(assigned at start)';
  return formatEndpoint(entry.listen ?? undefined, entry.port);
}
