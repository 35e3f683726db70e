/** `domain plan`: what a changed definition would do, before it does. */
import type { Result } from '../../api/index.ts';
import { methodSummary } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import type { AddCommand } from './command.ts';
import { lenientHelp, readDocument, warnDropped } from './domain-define.ts';

type Plan = Result<'domain.plan'>;

const titles: Readonly<Record<Plan['changes'][number]['when'], string>> = {
  now: 'now',
  'next-start': 'next start',
  never: 'refused',
};

export const addPlan: AddCommand = (parent, cli) => {
  parent
    .command('plan')
    .summary('show what a changed definition would do')
    .description(`${methodSummary('domain.plan')} Ends with status 1 when something in it is refused.`)
    .argument('<file>', 'File with domain XML; - is standard input.')
    .option('--lenient', lenientHelp)
    .action(async (file: string, { lenient = false }: { readonly lenient?: boolean }) => {
      const xml = await readDocument(cli, file);
      const plan = await cli.withClient((client) => client.call('domain.plan', { xml, strict: !lenient }));
      warnDropped(cli, plan.dropped);
      cli.out.result(plan, () => described(cli, plan));
      if (plan.changes.some(({ when }) => when === 'never')) cli.exitCode = 1;
    });
};

const MAX_CELL = 48;

/** The beginning of an element; `--json` has all of it. */
function shortly(value: string | null): string {
  if (value === null) return '';
  return value.length > MAX_CELL ? `${value.slice(0, MAX_CELL)}…` : value;
}

function described(cli: Cli, { name, uuid, active, changes }: Plan): string {
  if (changes.length === 0)
    return uuid === null ? `'${name}' would be a new domain.\n` : `Nothing would change for '${name}'.\n`;
  const table = cli.out.table(changes, [
    {
      title: 'WHEN',
      value: ({ when }) => titles[when],
      tone: ({ when }) => (when === 'never' ? 'bad' : 'plain'),
    },
    { title: 'WHAT', value: ({ path }) => path },
    { title: 'FROM', value: ({ before }) => shortly(before), shrinks: true },
    { title: 'TO', value: ({ after }) => shortly(after), shrinks: true },
    { title: 'HOW', value: ({ how }) => how, shrinks: true },
  ]);
  const later = active ? `\n'vireo define' stores all of it; the running '${name}' stays as it is.\n` : '';
  return `${table}${changes.some(({ when }) => when === 'never') ? '' : later}`;
}
