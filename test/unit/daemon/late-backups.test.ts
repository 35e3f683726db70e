/** A backup that QEMU begins when its caller has been told that it did not answer: nothing of it stays. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { currentAsker } from '../../../src/base/late-answers.ts';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

const late = new VirtError('qmp.timeout', { wanted: 'run transaction', reason: 'QEMU did not answer' });
const checkpointXml = '<domaincheckpoint><name>moment</name></domaincheckpoint>';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vireo-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** A guest, and a backup of it that can be asked for. */
async function running() {
  const rig = await startDaemon();
  const client = await rig.connect();
  const disk = `<disk type='file'><driver name='qemu' type='qcow2'/><source file='/srv/vda.img'/><target dev='vda' bus='virtio'/></disk>`;
  await client.call('domain.define', { xml: xml('web', disk) });
  await client.call('domain.start', { domain: 'web' });
  const guest = rig.driver.lastGuest;
  const target = join(directory, 'target');
  writeFileSync(target, '');
  const document = `<domainbackup><disks><disk name='vda' type='file'><target file='${target}'/></disk></disks></domainbackup>`;
  const call = () =>
    client.call('backup.begin', { domain: 'web', xml: document, checkpointXml, reuse: true });
  return { client, guest, call };
}

/** The same, and it answers the beginning of a backup when that is wanted, as it is wanted. */
async function answeringLate() {
  const { client, guest, call } = await running();
  const answer = Promise.withResolvers<void>();
  const begin = guest.backup.begin.bind(guest.backup);
  guest.backup.begin = async (request, how) => {
    currentAsker()?.tellLate(late);
    await answer.promise;
    await begin(request, how);
  };
  const checkpoints = async () => (await client.call('checkpoint.list', { domain: 'web' })).checkpoints;
  const jobs = async () => (await client.call('job.list', {})).jobs.filter(({ job }) => job === 'backup');
  return { call, guest, answer, checkpoints, jobs };
}

it('is called off as soon as it begins, and its checkpoint goes', async () => {
  const { call, guest, answer, checkpoints, jobs } = await answeringLate();
  await expect(call()).rejects.toMatchObject({ code: 'qmp.timeout' });
  expect(await jobs()).toEqual([]);
  answer.resolve();
  await expect.poll(() => guest.done).toContain('cancel backup');
  const { record } = guest.backup;
  expect(record).toBeDefined();
  if (record !== undefined) guest.emit({ kind: 'backup', seconds: 0, record, status: 'cancelled' });
  await expect.poll(() => guest.done).toContain('clear backup');
  await expect.poll(checkpoints).toEqual([]);
  expect(await jobs()).toEqual([]);
});

it('is nothing when QEMU refuses it in the end', async () => {
  const { call, guest, answer, checkpoints, jobs } = await answeringLate();
  await expect(call()).rejects.toMatchObject({ code: 'qmp.timeout' });
  answer.reject(new VirtError('qmp.failed', { wanted: 'run transaction', reason: 'no' }));
  await expect.poll(checkpoints).toEqual([]);
  expect([guest.done.includes('cancel backup'), await jobs()]).toEqual([false, []]);
});

it('that is called off lets the next begin as soon as it is gone', async () => {
  const { client, guest, call } = await running();
  await call();
  guest.backup.cancel = async () => {
    Object.assign(guest.backup, { record: { ...guest.backup.record, isCancelling: true } });
  };
  const cancelled = client.call('backup.cancel', { domain: 'web' });
  await expect.poll(() => guest.backup.record?.isCancelling).toBe(true);
  const next = client.call('backup.begin', {
    domain: 'web',
    xml: `<domainbackup><disks><disk name='vda' type='file'><target file='${join(directory, 'target')}'/></disk></disks></domainbackup>`,
    reuse: true,
  });
  const { record } = guest.backup;
  if (record !== undefined) guest.emit({ kind: 'backup', seconds: 0, record, status: 'cancelled' });
  await Promise.all([cancelled, next]);
  expect(guest.done.filter((what) => what.includes('backup'))).toEqual([
    expect.stringContaining('backup push'),
    'clear backup',
    expect.stringContaining('backup push'),
  ]);
});

it('that goes on does not', async () => {
  const { call } = await running();
  await call();
  await expect(call()).rejects.toMatchObject({ reason: 'another backup job is already running' });
});
