/** `snapshot create|revert|delete --dry-run`: what would be done, before it is. */
import type { ParamsInput, Result } from '../../api/index.ts';
import type { Cli } from '../cli.ts';
import { withDomain } from '../domains.ts';
import { safeLines } from '../format/table.ts';

type Plan = Result<'snapshot.plan'>;

export const DRY_RUN_HELP = 'Only show what would be done.';

/** Asks the daemon what would be done, and prints it. */
export async function showPlan(
  cli: Cli,
  domain: string,
  wish: Omit<ParamsInput<'snapshot.plan'>, 'domain'>,
): Promise<void> {
  const plan = await withDomain(cli, domain, (client, ref) =>
    client.call('snapshot.plan', { domain: ref, ...wish }),
  );
  cli.out.result(plan, () => described(cli, plan));
}

const effects: Readonly<Record<Plan['guest'], string>> = {
  off: 'It is off, and stays off.',
  'runs-on': 'The guest runs on.',
  'stands-still': 'The guest stands still meanwhile.',
  'in-place': 'The guest goes back in the QEMU that runs.',
  restarts: 'The guest is ended, and goes on in another QEMU.',
  starts: 'The guest is started.',
  ends: 'The guest is ended.',
};

function described(cli: Cli, { snapshots, changes, guest, losses, children }: Plan): string {
  const table =
    changes.length === 0
      ? ''
      : cli.out.table(changes, [
          {
            title: 'WHAT',
            value: ({ what }) => what,
            tone: ({ what }) => (what === 'removed' ? 'bad' : 'plain'),
          },
          { title: 'DISK', value: ({ part, target }) => target ?? (part === 'disk' ? '' : part) },
          { title: 'FILE', value: ({ path }) => path },
          { title: 'WHY', value: ({ why }) => why, shrinks: true },
        ]);
  const lines = [
    `Snapshots: ${snapshots.join(', ')}`,
    ...children.map(({ name, parent }) => `'${name}' would ${newParent(parent)}.`),
    effects[guest],
    losses.length === 0 ? 'Nothing is lost.' : `Lost for good: ${losses.join('; ')}.`,
    'Nothing has been done.',
  ];
  return `${table}${safeLines(`${lines.join('\n')}\n`)}`;
}

function newParent(parent: string | null): string {
  return parent === null ? 'be without a parent' : `get the parent '${parent}'`;
}
