/** What block jobs changed is stored in the domain's turn, or at once where whoever has the domain waits for it. */
import { expect, it } from 'vitest';
import type { BlockJobRecord } from '../../../src/drivers/driver.ts';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

const disk = "<disk type='file'><source file='/srv/old.img'/><target dev='vda' bus='virtio'/></disk>";
const job: BlockJobRecord = { id: 'job-vda', kind: 'copy', disk: 'vda', ending: 'pivot' };

it('that ended before somebody came to hold the domain are not missed by them', async () => {
  const rig = await startDaemon();
  const client = await rig.connect();
  await client.call('domain.define', { xml: xml('web', disk) });
  await client.call('domain.start', { domain: 'web' });
  const domain = rig.domains.find({ name: 'web' });
  const [guest] = rig.driver.guests;
  const [before] = guest?.definition.devices.disks ?? [];
  if (guest === undefined || before === undefined) throw new Error('no guest with a disk was started');
  const storedXml = async () => (await client.call('domain.xml', { domain: 'web', inactive: true })).xml;
  const { blockJobs } = rig.domains;

  const other = Promise.withResolvers<void>();
  const turn = domain.jobs.run('something else', () => other.promise, { waitMs: 1000 });
  const after = {
    ...before,
    source: { type: 'file' as const, file: '/srv/new.img', slices: [], seclabels: [] },
  };
  guest.emit({ kind: 'block-job', seconds: 0, job, status: 'completed', before, after });
  expect(blockJobs.unfinished(domain)).toEqual([{ job, before }]);
  expect(await storedXml()).toContain('/srv/old.img');

  const release = blockJobs.hold(domain);
  await blockJobs.wait(domain, 'vda', 'end', { isHeld: true });
  expect(await storedXml()).toContain('/srv/new.img');
  expect(guest.done.filter((one) => one.startsWith('clear'))).toEqual(['clear job-vda']);
  expect(blockJobs.unfinished(domain)).toEqual([]);

  release();
  other.resolve();
  await turn;
  await domain.jobs.run('whatever comes next', async () => undefined, { waitMs: 1000 });
  expect(guest.done.filter((one) => one.startsWith('clear'))).toEqual(['clear job-vda']);
});
