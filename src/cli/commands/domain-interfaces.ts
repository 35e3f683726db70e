/** `domain set-link|set-bandwidth|net-stats`: network cards of domains. */
import { Option } from 'commander';
import type { ParamsInput, Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

interface TargetOptions {
  readonly live?: boolean;
  readonly stored?: boolean;
}

const INTERFACE_HELP = 'MAC address, alias (net0) or device on the host (vnet0).';

export const addSetLink: AddCommand = (parent, cli) => {
  parent
    .command('set-link')
    .summary('pull the cable of a network card, or plug it in')
    .description(methodSummary('domain.set-link'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<interface>', INTERFACE_HELP)
    .argument('<state>', 'up or down.')
    .option('--live', paramHelp('domain.set-link', 'live'))
    .option('--stored', paramHelp('domain.set-link', 'stored'))
    .action((name: string, nic: string, state: string, options: TargetOptions) =>
      setLink(cli, { name, nic, state, options }),
    );
};

async function setLink(
  cli: Cli,
  wish: {
    readonly name: string;
    readonly nic: string;
    readonly state: string;
    readonly options: TargetOptions;
  },
): Promise<void> {
  const { name, nic, state, options } = wish;
  if (state !== 'up' && state !== 'down') throw badOption('<state>', state, 'it is up or down');
  await withDomain(cli, name, (client, domain) =>
    client.call('domain.set-link', { domain, interface: nic, state, ...options }),
  );
  cli.out.result({ domain: name, interface: nic, state }, () => `The link of ${nic} is ${state}.\n`);
}

type Limit = ParamsInput<'domain.set-bandwidth'>['inbound'];

export const addSetBandwidth: AddCommand = (parent, cli) => {
  const form = 'AVERAGE[,PEAK[,BURST]] in KiB/s and KiB, or none';
  parent
    .command('set-bandwidth')
    .summary('limit the bandwidth of a network card')
    .description(methodSummary('domain.set-bandwidth'))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<interface>', INTERFACE_HELP)
    .addOption(new Option('--inbound <limit>', `${paramHelp('domain.set-bandwidth', 'inbound')} ${form}.`))
    .addOption(new Option('--outbound <limit>', `${paramHelp('domain.set-bandwidth', 'outbound')} ${form}.`))
    .option('--live', paramHelp('domain.set-bandwidth', 'live'))
    .option('--stored', paramHelp('domain.set-bandwidth', 'stored'))
    .action((name: string, nic: string, options: BandwidthOptions) => setBandwidth(cli, name, nic, options));
};

interface BandwidthOptions extends TargetOptions {
  readonly inbound?: string;
  readonly outbound?: string;
}

async function setBandwidth(cli: Cli, name: string, nic: string, options: BandwidthOptions): Promise<void> {
  const { inbound, outbound, ...targets } = options;
  if (inbound === undefined && outbound === undefined)
    throw badOption('--inbound', '', 'neither direction is given', 'give --inbound, --outbound or both');
  const limits = {
    ...(inbound !== undefined && { inbound: limitOf('--inbound', inbound) }),
    ...(outbound !== undefined && { outbound: limitOf('--outbound', outbound) }),
  };
  await withDomain(cli, name, (client, domain) =>
    client.call('domain.set-bandwidth', { domain, interface: nic, ...limits, ...targets }),
  );
  cli.out.result({ domain: name, interface: nic, ...limits }, () => `The limits of ${nic} are set.\n`);
}

/** @throws VirtError request.invalid */
function limitOf(option: string, text: string): Limit {
  if (text === 'none') return null;
  if (!/^[1-9]\d{0,9}(,[1-9]\d{0,9}){0,2}$/.test(text))
    throw badOption(
      option,
      text,
      'it is no limit',
      'write AVERAGE[,PEAK[,BURST]], like 1000,2000,512, or none',
    );
  const [average = 0, peak, burst] = text.split(',').map(Number);
  return { average, ...(peak !== undefined && { peak }), ...(burst !== undefined && { burst }) };
}

type Statistics = Result<'domain.interface-stats'>['interfaces'][number];

export const addNetStats: AddCommand = (parent, cli) => {
  parent
    .command('net-stats')
    .summary('show the traffic of network cards')
    .description(`${methodSummary('domain.interface-stats')} Received and sent are the guest's.`)
    .argument('<domain>', DOMAIN_HELP)
    .argument('[interface]', INTERFACE_HELP)
    .action((name: string, nic: string | undefined) => showStatistics(cli, name, nic));
};

async function showStatistics(cli: Cli, name: string, nic: string | undefined): Promise<void> {
  const result = await withDomain(cli, name, (client, domain) =>
    client.call('domain.interface-stats', { domain, ...(nic !== undefined && { interface: nic }) }),
  );
  cli.out.result(result, () =>
    result.interfaces.length === 0
      ? 'It has no network card.\n'
      : cli.out.table(result.interfaces, [
          { title: 'INTERFACE', value: (one) => one.device ?? one.alias ?? '-' },
          { title: 'MAC', value: (one) => one.mac ?? '' },
          { title: 'LINK', value: (one) => one.link },
          { title: 'RECEIVED', value: (one) => traffic(one, 'rx') },
          { title: 'SENT', value: (one) => traffic(one, 'tx') },
          { title: 'ERRORS', value: (one) => sum(one, 'Errors') },
          { title: 'DROPPED', value: (one) => sum(one, 'Dropped') },
          { title: 'NOTE', value: (one) => one.reason ?? '', shrinks: true },
        ]),
  );
}

function traffic({ counters }: Statistics, direction: 'rx' | 'tx'): string {
  if (counters === null) return '-';
  return `${formatBytes(counters[`${direction}Bytes`])}, ${counters[`${direction}Packets`]} packets`;
}

function sum({ counters }: Statistics, what: 'Errors' | 'Dropped'): string {
  return counters === null ? '-' : `${counters[`rx${what}`]}/${counters[`tx${what}`]}`;
}
