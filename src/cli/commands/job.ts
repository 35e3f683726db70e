/** `job list|cancel`: what goes on in the daemon. */
import type { Result } from '../../api/index.ts';
import { methodSummary, paramHelp } from '../api-help.ts';
import type { Cli } from '../cli.ts';
import { measureText } from '../format/measure.ts';
import type { AddCommand } from './command.ts';

type Job = Result<'job.list'>['jobs'][number];

export const addJobs: AddCommand = (parent, cli) => {
  const job = parent
    .command('job')
    .summary('what goes on, and calling it off')
    .description('Looks at the jobs in work.');
  job
    .command('list')
    .alias('ls')
    .summary('list the jobs in work')
    .description(methodSummary('job.list'))
    .action(() => list(cli));
  job
    .command('cancel')
    .summary('call a job off')
    .description(methodSummary('job.cancel'))
    .argument('<id>', paramHelp('job.cancel', 'id'))
    .action(async (id: string) => {
      const cancelled = await cli.withClient((client) => client.call('job.cancel', { id }));
      cli.out.result(cancelled, () => `${cancelled.job} of ${objectText(cancelled)} is being called off.\n`);
    });
};

function objectText({ object }: Job): string {
  return `${object.type} '${object.pool === null ? '' : `${object.pool}/`}${object.name}'`;
}

async function list(cli: Cli): Promise<void> {
  const result = await cli.withClient((client) => client.call('job.list', {}));
  cli.out.result(result, () =>
    result.jobs.length === 0
      ? 'Nothing goes on.\n'
      : cli.out.table(result.jobs, [
          { title: 'ID', value: ({ id }) => id },
          { title: 'JOB', value: ({ job }) => job },
          { title: 'OBJECT', value: objectText, shrinks: true },
          { title: 'STEP', value: ({ step, cancelling }) => (cancelling ? 'cancelling' : (step ?? '')) },
          { title: 'DONE', value: measureText },
          { title: 'SINCE', value: ({ startedAt }) => startedAt },
        ]),
  );
}
