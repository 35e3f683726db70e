/** `domain perf|dirty-rate`: what is measured of a guest when somebody asks for it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Option } from 'commander';
import type { ParamsInput, Result } from '../../api/index.ts';
import { VirtError } from '../../base/errors.ts';
import { perfEvents } from '../../model/domain/perf-events.ts';
import { dirtyRateModes } from '../../model/domain/statistics-groups.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { badOption, parseCount } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

interface PerfOptions {
  readonly enable?: string;
  readonly disable?: string;
  readonly inactive?: boolean;
  readonly live?: boolean;
  readonly stored?: boolean;
}

export const addPerf: AddCommand = (parent, cli) => {
  parent
    .command('perf')
    .summary('show or set which events are counted of a guest')
    .description(`${methodSummary('domain.perf')} ${methodSummary('domain.set-perf')}`)
    .argument('<domain>', DOMAIN_HELP)
    .option('--enable <events>', 'Count these, with commas between them: cache_misses,page_faults.')
    .option('--disable <events>', 'Count these no more.')
    .option('--inactive', paramHelp('domain.perf', 'inactive'))
    .option('--live', paramHelp('domain.set-perf', 'live'))
    .option('--stored', paramHelp('domain.set-perf', 'stored'))
    .action(async (name: string, { enable, disable, inactive, ...targets }: PerfOptions) => {
      if (enable === undefined && disable === undefined) return showPerf(cli, name, inactive === true);
      const events = { ...wishOf('--enable', enable, true), ...wishOf('--disable', disable, false) };
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.set-perf', { domain, events, ...targets }),
      );
      cli.out.result({ domain: name, events }, () => `The events of '${name}' are set.\n`);
    });
};

type Events = ParamsInput<'domain.set-perf'>['events'];

function wishOf(option: string, text: string | undefined, isOn: boolean): Events {
  const names = (text ?? '').split(',').filter((name) => name !== '');
  const known = names.map((name) => {
    const event = perfEvents.find((one) => one === name);
    if (event === undefined)
      throw badOption(option, name, 'there is no such event', `choose of ${perfEvents.join(', ')}`);
    return event;
  });
  return Object.fromEntries(known.map((name) => [name, isOn]));
}

async function showPerf(cli: Cli, name: string, inactive: boolean): Promise<void> {
  const result = await withDomain(cli, name, (client, domain) =>
    client.call('domain.perf', { domain, inactive }),
  );
  cli.out.result(result, () =>
    cli.out.table(result.events, [
      { title: 'EVENT', value: (event) => event.name },
      { title: 'COUNTED', value: (event) => (event.enabled ? 'yes' : 'no') },
      { title: 'COUNT', value: (event) => String(event.count ?? '-') },
      { title: 'NOTE', value: (event) => event.problem ?? '', shrinks: true },
    ]),
  );
}

interface RateOptions {
  readonly seconds: string;
  readonly mode: (typeof dirtyRateModes)[number];
}

export const addDirtyRate: AddCommand = (parent, cli) => {
  parent
    .command('dirty-rate')
    .summary('measure how fast a guest writes to its memory')
    .description(methodSummary('domain.dirty-rate.start'))
    .argument('<domain>', DOMAIN_HELP)
    .option('--seconds <count>', paramHelp('domain.dirty-rate.start', 'seconds'), '1')
    .addOption(
      new Option('--mode <mode>', paramHelp('domain.dirty-rate.start', 'mode'))
        .choices([...dirtyRateModes])
        .default('page-sampling'),
    )
    .action(async (name: string, options: RateOptions) => {
      const seconds = parseCount('--seconds', options.seconds, { min: 1, max: 60 });
      const rate = await measure(cli, name, seconds, options.mode);
      cli.out.result(rate, () => sentence(name, rate));
    });
};

type Rate = NonNullable<Result<'domain.stats'>['samples'][number]['dirtyRate']>;

/** How often is asked whether it is done, and how long beyond its own time. */
const LOOK_MS = 200;
const GRACE_MS = 30_000;

function measure(cli: Cli, name: string, seconds: number, mode: RateOptions['mode']): Promise<Rate> {
  return withDomain(cli, name, async (client, domain) => {
    await client.call('domain.dirty-rate.start', { domain, seconds, mode });
    const deadline = performance.now() + seconds * 1000 + GRACE_MS;
    for (;;) {
      await sleep(LOOK_MS);
      const { samples } = await client.call('domain.stats', { domains: [domain], groups: ['dirtyrate'] });
      const rate = samples[0]?.dirtyRate;
      if (rate?.status === 'measured') return rate;
      if (rate === null || rate === undefined || performance.now() > deadline)
        throw new VirtError('operation.timeout', {
          wanted: `measure how fast '${name}' writes to its memory`,
          reason: samples[0]?.silence ?? 'the measurement does not end',
        });
    }
  });
}

function sentence(name: string, { mibPerSecond, periodSeconds, mode, vcpus }: Rate): string {
  const parts = vcpus.map(({ index, mibPerSecond: one }) => `  vCPU ${index}: ${one} MiB/s\n`);
  return `'${name}' writes to ${mibPerSecond ?? 0} MiB of its memory a second (${mode}, ${periodSeconds} s).\n${parts.join('')}`;
}
