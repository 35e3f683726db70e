/** `backup plan set|list|run|remove`: backups by the clock. */
import type { ParamsInput, Result } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { exitCodes } from '../exit-codes.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

const PLAN_HELP = 'Name of the plan.';

export const addBackupPlan: AddCommand = (parent, cli) => {
  const plan = parent
    .command('plan')
    .summary('backups by the clock')
    .description('Plans of backups: when a domain is backed up, where to, and which backups stay.');
  for (const add of [addSet, addList, addRun, addRemove]) add(plan, cli);
};

type PlanWish = ParamsInput<'backup.plan-set'>;
type Schedule = PlanWish['schedule'];

interface SetOptions {
  readonly dir: string;
  readonly every: string;
  readonly keepLast?: string;
  readonly keepDaily?: string;
  readonly keepWeekly?: string;
  readonly keepMonthly?: string;
  readonly fullEvery?: string;
  readonly quiesce?: boolean;
  readonly compress?: boolean;
}

const addSet: AddCommand = (parent, cli) => {
  parent
    .command('set')
    .summary('store a plan')
    .description(methodSummary('backup.plan-set'))
    .argument('<plan>', PLAN_HELP)
    .argument('<domain>', DOMAIN_HELP)
    .requiredOption('--dir <directory>', paramHelp('backup.plan-set', 'directory'))
    .requiredOption('--every <time>', "day@02:30, week@sunday@02:30 or hour@15, by the host's clock.")
    .option('--keep-last <count>', 'The newest so many stay.')
    .option('--keep-daily <count>', 'The newest of each of so many days stays.')
    .option('--keep-weekly <count>', 'The newest of each of so many weeks stays.')
    .option('--keep-monthly <count>', 'The newest of each of so many months stays.')
    .option('--full-every <count>', paramHelp('backup.plan-set', 'fullEvery'))
    .option('--quiesce', paramHelp('backup.plan-set', 'quiesce'))
    .option('--compress', paramHelp('backup.plan-set', 'compressed'))
    .action(async (name: string, domain: string, options: SetOptions) => {
      const { dir, every, fullEvery, quiesce = false, compress = false } = options;
      const plan = await withDomain(cli, domain, (client, ref) =>
        client.call('backup.plan-set', {
          ...{ name, domain: ref, directory: cli.absolute(dir), schedule: parseSchedule(every) },
          ...{ keep: keepOf(options), quiesce, compressed: compress },
          ...(fullEvery !== undefined && { fullEvery: countOf('--full-every', fullEvery) }),
        }),
      );
      cli.out.result(plan, () => `Plan '${plan.name}' runs next at ${plan.nextRunAt}.\n`);
    });
};

function keepOf({ keepLast, keepDaily, keepWeekly, keepMonthly }: SetOptions): PlanWish['keep'] {
  return {
    ...(keepLast !== undefined && { last: countOf('--keep-last', keepLast) }),
    ...(keepDaily !== undefined && { daily: countOf('--keep-daily', keepDaily) }),
    ...(keepWeekly !== undefined && { weekly: countOf('--keep-weekly', keepWeekly) }),
    ...(keepMonthly !== undefined && { monthly: countOf('--keep-monthly', keepMonthly) }),
  };
}

function countOf(option: string, text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) < 1) throw badOption(option, text, 'is no number from 1 on');
  return Number(text);
}

/** `hour@15`, `day@02:30`, `week@sunday@02:30`. @throws VirtError request.invalid */
export function parseSchedule(text: string): Schedule {
  const hourly = /^hour(?:@(\d{1,2}))?$/.exec(text);
  if (hourly !== null) {
    const minute = Number(hourly[1] ?? 0);
    if (minute < 60) return { every: 'hour', minute };
  }
  const timed = /^(?:day|week@([a-z]+))@(\d{1,2}):(\d{2})$/.exec(text);
  const [, weekday, hours, minutes] = timed ?? [];
  if (timed === null || Number(hours) > 23 || Number(minutes) > 59)
    throw badOption('--every', text, 'is none of hour@MM, day@HH:MM, week@DAY@HH:MM');
  const minute = Number(hours) * 60 + Number(minutes);
  // The daemon says which days there are.
  return weekday === undefined
    ? { every: 'day', minute }
    : { every: 'week', minute, weekday: weekday as NonNullable<Schedule['weekday']> };
}

type Plan = Result<'backup.plan-list'>['plans'][number];

const addList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .alias('ls')
    .summary('list the plans')
    .description(methodSummary('backup.plan-list'))
    .action(async () => {
      const result = await cli.withClient((client) => client.call('backup.plan-list', {}));
      cli.out.result(result, () =>
        result.plans.length === 0
          ? 'There are none.\n'
          : cli.out.table(result.plans, [
              { title: 'PLAN', value: ({ name }) => name },
              { title: 'DOMAIN', value: ({ domain: { name } }) => name },
              { title: 'NEXT', value: ({ nextRunAt }) => nextRunAt },
              { title: 'LAST', value: ({ lastRun }) => lastRun?.at ?? 'never' },
              { title: 'OUTCOME', value: outcomeText },
              { title: 'DIRECTORY', value: ({ directory }) => directory, shrinks: true },
            ]),
      );
    });
};

const outcomeText = ({ lastRun }: Plan): string =>
  lastRun === null ? '' : (lastRun.error ?? (lastRun.backup === null ? 'in work, or cut off' : 'good'));

const addRun: AddCommand = (parent, cli) => {
  parent
    .command('run')
    .summary('run a plan now')
    .description(methodSummary('backup.plan-run'))
    .argument('<plan>', PLAN_HELP)
    .action(async (name: string) => {
      const plan = await cli.withClient((client) => client.call('backup.plan-run', { name }));
      const { backup = null, error = null } = plan.lastRun ?? {};
      cli.out.result(plan, () =>
        backup === null ? `It failed: ${error ?? 'nobody knows why'}\n` : `${backup}\n`,
      );
      if (backup === null) cli.exitCode = exitCodes.failed;
    });
};

const addRemove: AddCommand = (parent, cli) => {
  parent
    .command('remove')
    .alias('rm')
    .summary('forget a plan')
    .description(methodSummary('backup.plan-remove'))
    .argument('<plan>', PLAN_HELP)
    .action(async (name: string) => {
      await cli.withClient((client) => client.call('backup.plan-remove', { name }));
      cli.out.result({ plan: name }, () => `Plan '${name}' is gone; its backups stay.\n`);
    });
};
