/** `domain power-order` and `host shutdown-guests`: guests that start and end with their host. */
import { Option } from 'commander';
import type { ParamsInput, Result } from '../../api/index.ts';
import { hostDownActions } from '../../model/domain/power-order.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { exitCodes } from '../exit-codes.ts';
import { parseDuration } from '../options/duration.ts';
import { parseCount } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

type Order = Result<'domain.power-order.get'>;
type Action = (typeof hostDownActions)[number];

interface OrderOptions {
  readonly order?: string;
  readonly startDelay?: string;
  readonly hostDown?: Action | 'default';
  readonly timeout?: string;
}

const wholeSeconds = (option: string, text: string) => Math.ceil(parseDuration(option, text) / 1000);

export const addPowerOrder: AddCommand = (parent, cli) => {
  parent
    .command('power-order')
    .summary('show or set when a guest starts and ends with its host')
    .description('Shows when a guest starts and ends with its host, or sets it.')
    .argument('<domain>', DOMAIN_HELP)
    .option('--order <number>', paramHelp('domain.power-order.set', 'order'))
    .option('--start-delay <time>', 'How long after its start the next guest waits, like 10s.')
    .addOption(
      new Option('--host-down <action>', 'What happens to it when the host goes down.').choices([
        ...hostDownActions,
        'default',
      ]),
    )
    .option('--timeout <time>', 'How long it may take to shut down, like 2m.')
    .action(async (name: string, options: OrderOptions) => {
      const change = changeOf(options);
      const result = await withDomain(cli, name, (client, domain) =>
        Object.keys(change).length === 0
          ? client.call('domain.power-order.get', { domain })
          : client.call('domain.power-order.set', { domain, ...change }),
      );
      cli.out.result(result, () => facts(cli, result));
    });
};

function changeOf({ order, startDelay, hostDown, timeout }: OrderOptions) {
  return {
    ...(order !== undefined && { order: parseCount('--order', order, { min: 0, max: 999_999 }) }),
    ...(startDelay !== undefined && { startDelaySeconds: wholeSeconds('--start-delay', startDelay) }),
    ...(hostDown !== undefined && { hostDown: hostDown === 'default' ? null : hostDown }),
    ...(timeout !== undefined && { timeoutSeconds: wholeSeconds('--timeout', timeout) }),
  };
}

function facts(cli: Cli, { order, startDelaySeconds, hostDown, timeoutSeconds }: Order): string {
  return cli.out.facts([
    ['Order', String(order)],
    ['Delay after its start', `${startDelaySeconds} s`],
    ['When the host goes down', hostDown ?? "as 'host shutdown-guests' says"],
    ['Time to shut down', timeoutSeconds === null ? undefined : `${timeoutSeconds} s`],
  ]);
}

interface ShutdownOptions {
  readonly action?: Action;
  readonly timeout?: string;
  readonly late?: ParamsInput<'host.shutdown-guests'>['late'];
  readonly dryRun?: boolean;
}

export const addShutdownGuests: AddCommand = (parent, cli) => {
  parent
    .command('shutdown-guests')
    .summary('end all guests, as before the host goes down')
    .description(methodSummary('host.shutdown-guests'))
    .addOption(
      new Option('--action <action>', paramHelp('host.shutdown-guests', 'action')).choices([
        ...hostDownActions,
      ]),
    )
    .option('--timeout <time>', 'How long a shutdown may take where the guest says nothing (default: 2m).')
    .addOption(
      new Option('--late <action>', paramHelp('host.shutdown-guests', 'late')).choices([
        'destroy',
        'save',
        'leave',
      ]),
    )
    .option('-n, --dry-run', 'Only show what would be done.')
    .action(async ({ timeout, ...options }: ShutdownOptions) => {
      const result = await cli.withClient((client) =>
        client.call('host.shutdown-guests', {
          ...options,
          ...(timeout !== undefined && { timeoutSeconds: wholeSeconds('--timeout', timeout) }),
        }),
      );
      if (result.guests.some(({ outcome }) => outcome === 'failed')) cli.exitCode = exitCodes.failed;
      cli.out.result(result, () =>
        cli.out.table(result.guests, [
          { title: 'ORDER', value: ({ order }) => String(order), align: 'right' },
          { title: 'NAME', value: ({ name }) => name, shrinks: true },
          { title: 'ACTION', value: ({ action }) => action },
          { title: 'OUTCOME', value: ({ outcome, problem }) => problem ?? outcome ?? 'not done' },
        ]),
      );
    });
};
