/** QEMU's jobs from command to end: what they say, one of an earlier daemon, and a QEMU that a signal holds in the middle. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { processStartTime } from '../../../src/base/spawn.ts';
import { connectQmp } from '../../../src/drivers/qemu/qmp/client.ts';
import { endedJob, type JobOwner, runQmpJob } from '../../../src/drivers/qemu/qmp/job.ts';
import { type FakeCommand, type FakeConnection, FakeQmp } from '../../support/fake-qmp.ts';

const load = { execute: 'snapshot-load', arguments: { tag: 'a' } } as const;
const open: AsyncDisposable[] = [];
const children: ChildProcess[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one[Symbol.asyncDispose]();
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** A QEMU that has one job at most; `settle` brings that to its end. */
class Jobs {
  job: { id: string; type: string; status: string; error?: string } | undefined;
  connection: FakeConnection | undefined;
  readonly heard: string[] = [];

  readonly onCommand = (command: FakeCommand, connection: FakeConnection): void => {
    this.connection = connection;
    this.heard.push(command.execute);
    switch (command.execute) {
      case 'query-jobs':
        return connection.reply(command, this.job ? [this.job] : []);
      case 'job-dismiss':
        this.job = undefined;
        return connection.reply(command, {});
      default:
        if (this.job !== undefined)
          return connection.send({
            error: { class: 'GenericError', desc: 'Job ID is already in use' },
            id: command.id,
          });
        this.job = { id: 'j', type: 'snapshot-load', status: 'running' };
        return connection.reply(command, {});
    }
  };

  settle(error?: string): void {
    this.job = { id: 'j', type: 'snapshot-load', status: 'concluded', ...(error !== undefined && { error }) };
    const data = { id: 'j', status: 'concluded' };
    const timestamp = { seconds: 1, microseconds: 0 };
    this.connection?.send({ event: 'JOB_STATUS_CHANGE', data, timestamp });
  }
}

/** That QEMU's monitor, and a process that stands for it. */
async function rig(): Promise<{ jobs: Jobs; owner: JobOwner; child: ChildProcess }> {
  const jobs = new Jobs();
  const fake = await FakeQmp.listen({ onCommand: jobs.onCommand });
  open.push(fake);
  const qmp = await connectQmp(fake.path, { timeoutMs: 2000, commandMs: 500 });
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  children.push(child);
  await once(child, 'spawn');
  const { pid = 0 } = child;
  const process = { pid, startTimeTicks: processStartTime(pid) ?? '' };
  return { jobs, child, owner: { qmp, process, wanted: 'load' } };
}

const begun = async (jobs: Jobs) => {
  while (jobs.job === undefined) await new Promise((done) => setTimeout(done, 5));
};

it('ends with the job, whose words are told when it failed; QEMU forgets it', async () => {
  const { jobs, owner } = await rig();
  const first = runQmpJob(owner, 'j', load);
  await begun(jobs);
  jobs.settle();
  await first;
  expect(jobs.job).toBeUndefined();
  const second = runQmpJob(owner, 'j', load);
  await begun(jobs);
  jobs.settle('no such tag');
  await expect(second).rejects.toMatchObject({ code: 'operation.failed', reason: 'no such tag' });
  expect(jobs.job).toBeUndefined();
});

it('a QEMU that is held is told of in time, and its job is left for whoever looks at its end', async () => {
  const { jobs, owner, child } = await rig();
  const loading = runQmpJob(owner, 'j', load);
  await begun(jobs);
  child.kill('SIGSTOP');
  await expect(loading).rejects.toMatchObject({
    code: 'qmp.timeout',
    reason: expect.stringContaining('stopped by a signal') as string,
  });
  child.kill('SIGCONT');
  jobs.settle('the image is damaged');
  // Only who asks for it has it forgotten.
  await expect(endedJob(owner, 'j')).resolves.toMatchObject({ error: 'the image is damaged' });
  expect(jobs.heard.filter((one) => one === 'job-dismiss')).toHaveLength(1);
  expect(await endedJob(owner, 'j')).toBeUndefined();
});

it('waits for one of an earlier daemon before it begins its own', async () => {
  const { jobs, owner } = await rig();
  jobs.job = { id: 'j', type: 'snapshot-save', status: 'running' };
  const loading = runQmpJob(owner, 'j', load);
  while (!jobs.heard.includes('query-jobs')) await new Promise((done) => setTimeout(done, 5));
  jobs.settle();
  while (jobs.job?.status !== 'running') await new Promise((done) => setTimeout(done, 5));
  jobs.settle();
  await loading;
  expect(jobs.heard.filter((one) => one === 'snapshot-load')).toHaveLength(2);
});
