/** `domain iothread|set-memory-stats-period`: threads that disks work in, and how often a guest tells of its memory. */
import { methodSummary, paramHelp } from '../api-help.ts';
import { DOMAIN_HELP, withDomain } from '../domains.ts';
import { parseCount } from '../options/fields.ts';
import type { AddCommand } from './command.ts';

interface TargetOptions {
  readonly live?: boolean;
  readonly stored?: boolean;
}

export const addIothread: AddCommand = (parent, cli) => {
  const group = parent
    .command('iothread')
    .summary('IO threads, in which disks do their work')
    .description(
      "Adds and removes IO threads. A disk works in one by <driver iothread='1'/>; 'domain threads' lists them, 'domain pin' places them.",
    );
  addVerb(group, cli, 'add');
  addVerb(group, cli, 'remove');
};

function addVerb(...[group, cli, verb]: [...Parameters<AddCommand>, 'add' | 'remove']): void {
  const method = `domain.iothread.${verb}` as const;
  group
    .command(verb)
    .summary(verb === 'add' ? 'give a domain an IO thread' : 'take an IO thread away')
    .description(methodSummary(method))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<id>', paramHelp(method, 'id'))
    .option('--live', paramHelp(method, 'live'))
    .option('--stored', paramHelp(method, 'stored'))
    .action(async (name: string, text: string, targets: TargetOptions) => {
      const id = parseCount('<id>', text, { min: 1, max: 65_535 });
      await withDomain(cli, name, (client, domain) => client.call(method, { domain, id, ...targets }));
      const what = verb === 'add' ? 'has' : 'no longer has';
      cli.out.result({ domain: name, id }, () => `Domain '${name}' ${what} IO thread ${id}.\n`);
    });
}

/** virsh: dommemstat --period. */
export const addSetMemoryStatsPeriod: AddCommand = (parent, cli) => {
  const method = 'domain.set-memory-stats-period';
  parent
    .command('set-memory-stats-period')
    .summary('set how often a guest tells of its memory')
    .description(methodSummary(method))
    .argument('<domain>', DOMAIN_HELP)
    .argument('<seconds>', paramHelp(method, 'seconds'))
    .option('--live', paramHelp(method, 'live'))
    .option('--stored', paramHelp(method, 'stored'))
    .action(async (name: string, text: string, targets: TargetOptions) => {
      const seconds = parseCount('<seconds>', text, { min: 0, max: 0x7fff_ffff });
      await withDomain(cli, name, (client, domain) => client.call(method, { domain, seconds, ...targets }));
      const how = seconds === 0 ? 'no more' : `every ${seconds === 1 ? 'second' : `${seconds} seconds`}`;
      cli.out.result({ domain: name, seconds }, () => `Domain '${name}' tells of its memory ${how}.\n`);
    });
};
