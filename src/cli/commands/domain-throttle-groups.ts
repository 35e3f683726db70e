/** `domain throttle-group list|set|remove`: limits that disks of a domain share. */
import type { Command } from 'commander';
import { methodSummary, paramHelp } from '../api-help.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { badOption } from '../options/fields.ts';
import type { AddCommand } from './command.ts';
import { addLimitOptions, type LimitOptions, limitsText, readLimits } from './disk-limits.ts';

const GROUP_HELP = 'Name of the group: letters, digits, and _ . -';

interface TargetOptions {
  readonly live?: boolean;
  readonly stored?: boolean;
}

export const addThrottleGroup: AddCommand = (parent, cli) => {
  const group = parent
    .command('throttle-group')
    .summary('limits that disks of a domain share')
    .description('Lists, makes, changes and removes groups of limits that disks of a domain share.');
  addList(group, cli);
  addSet(group, cli);
  addRemove(group, cli);
};

/** A verb on one group of a domain. */
const groupVerb = (parent: Command, verb: string): Command =>
  parent.command(verb).argument('<domain>', DOMAIN_HELP).argument('<group>', GROUP_HELP);

const addList: AddCommand = (parent, cli) => {
  parent
    .command('list')
    .summary('list the groups of a domain, with their limits and disks')
    .description(methodSummary('domain.throttle-group.list'))
    .argument('<domain>', DOMAIN_HELP)
    .option('--inactive', paramHelp('domain.throttle-group.list', 'inactive'))
    .action(async (name: string, options: { readonly inactive?: boolean }) => {
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.throttle-group.list', { domain, ...options }),
      );
      cli.out.result(result, () =>
        result.groups.length === 0
          ? 'There is no group.\n'
          : cli.out.table(result.groups, [
              { title: 'GROUP', value: ({ group }) => group },
              { title: 'DISKS', value: ({ disks }) => disks.join(' ') || '-' },
              { title: 'LIMITS', value: ({ limits }) => limitsText(limits), shrinks: true },
            ]),
      );
    });
};

const addSet: AddCommand = (parent, cli) => {
  const verb = groupVerb(parent, 'set')
    .summary('make a group, or change its limits')
    .description(`${methodSummary('domain.throttle-group.set')} 0 lifts a limit.`);
  addLimitOptions(verb)
    .option('--live', paramHelp('domain.throttle-group.set', 'live'))
    .option('--stored', paramHelp('domain.throttle-group.set', 'stored'))
    .action(async (name: string, group: string, options: LimitOptions & TargetOptions) => {
      const { live, stored } = options;
      const limits = readLimits(options);
      if (Object.keys(limits).length === 0)
        throw badOption('domain throttle-group set', group, 'no limit is given');
      const result = await withDomain(cli, name, (client, domain) =>
        client.call('domain.throttle-group.set', {
          ...{ domain, group, limits },
          ...(live !== undefined && { live }),
          ...(stored !== undefined && { stored }),
        }),
      );
      cli.out.result(result, () => `Group '${group}' of '${name}': ${limitsText(result.limits)}.\n`);
    });
};

const addRemove: AddCommand = (parent, cli) => {
  groupVerb(parent, 'remove')
    .summary('take a group away that no disk is in')
    .description(methodSummary('domain.throttle-group.remove'))
    .option('--live', paramHelp('domain.throttle-group.remove', 'live'))
    .option('--stored', paramHelp('domain.throttle-group.remove', 'stored'))
    .action(async (name: string, group: string, options: TargetOptions) => {
      await withDomain(cli, name, (client, domain) =>
        client.call('domain.throttle-group.remove', { domain, group, ...options }),
      );
      cli.out.result({ domain: name, group }, () => `Group '${group}' of '${name}' is gone.\n`);
    });
};
