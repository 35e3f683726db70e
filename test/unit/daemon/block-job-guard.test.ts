/** While a job works on the images of a guest, nothing else may pull them from under it. */
import { describe, expect, it } from 'vitest';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

const disk = (dev: string) =>
  `<disk type='file'><source file='/srv/${dev}.img'/><target dev='${dev}' bus='virtio'/></disk>`;

async function copying() {
  const rig = await startDaemon();
  const client = await rig.connect();
  await client.call('domain.define', { xml: xml('web', disk('vda') + disk('vdb')) });
  await client.call('domain.start', { domain: 'web' });
  const guest = rig.driver.guests[0];
  if (guest === undefined) throw new Error('no guest was started');
  Object.assign(guest.blockJobs, { records: [{ id: 'job-vda', kind: 'copy', disk: 'vda' }] });
  return { client, driver: rig.driver };
}

describe('a block job under way', () => {
  it('keeps its disk from being detached, and no other', async () => {
    const { client, driver } = await copying();
    const detach = (device: string) => client.call('domain.detach-device', { domain: 'web', device });
    await expect(detach('vda')).rejects.toThrow(
      expect.objectContaining({ code: 'domain.state', reason: "disk 'vda' already in active block job" }),
    );
    expect(driver.plugged).toEqual([]);
    expect(await detach('vdb')).toEqual({ released: true });
  });

  it('keeps the domain from being saved, and from snapshots', async () => {
    const { client } = await copying();
    const busy = expect.objectContaining({ code: 'domain.state', reason: 'domain has active block job' });
    await expect(client.call('domain.save', { domain: 'web', path: '/srv/web.save' })).rejects.toThrow(busy);
    await expect(client.call('snapshot.create', { domain: 'web', name: 'one' })).rejects.toThrow(busy);
  });
});

it('a live snapshot without a file for its memory is refused, as libvirt does', async () => {
  const rig = await startDaemon();
  const client = await rig.connect();
  await client.call('domain.define', { xml: xml('web', disk('vda')) });
  await client.call('domain.start', { domain: 'web' });
  await expect(client.call('snapshot.create', { domain: 'web', live: true })).rejects.toThrow(
    expect.objectContaining({ code: 'request.unsupported' }),
  );
});
