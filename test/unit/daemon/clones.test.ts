/** Clones and templates over pools with plain files and a fake hypervisor: what is refused, and what is left. With real ones: test/e2e/own.test.ts. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

/** A domain `web` with one volume of a pool, and whatever else its devices are. */
async function withDisk({ rest = '', os = '' } = {}) {
  const daemon = await startDaemon();
  const client = await daemon.connect();
  const path = join(daemon.directory, 'place');
  mkdirSync(path);
  await client.call('pool.create', { name: 'p', path, autostart: false });
  await client.call('pool.start', { pool: 'p' });
  await client.call('volume.create', { pool: 'p', name: 'web.img', capacityBytes: 65_536, format: 'raw' });
  const disk = `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${path}/web.img'/><target dev='vda' bus='virtio'/></disk>`;
  await client.call('domain.define', { xml: xml('web', disk + rest, os) });
  const volumes = async () =>
    (await client.call('volume.list', { pool: 'p' })).volumes.map(({ name }) => name);
  return { ...daemon, client, path, volumes };
}

describe('a template', () => {
  it('does not start, has linked clones, and starts again when it is none any more', async () => {
    const { client, path } = await withDisk();
    await client.call('template.set', { domain: 'web' });
    await expect(client.call('domain.start', { domain: 'web' })).rejects.toMatchObject({
      code: 'domain.state',
      hint: expect.stringContaining('vireo template instance web'),
    });
    const made = await client.call('domain.clone', { domain: 'web', name: 'one', start: true });
    expect(made).toMatchObject({
      linked: true,
      domain: { name: 'one', active: true },
      disks: [{ target: 'vda', pool: 'p', volume: 'one.qcow2', path: `${path}/one.qcow2` }],
    });
    expect((await client.call('template.list', {})).templates).toMatchObject([
      { domain: { name: 'web' }, disks: [`${path}/web.img`] },
    ]);
    await client.call('domain.destroy', { domain: 'one' });
    await client.call('domain.undefine', { domain: 'one' });
    await client.call('template.set', { domain: 'web', template: false });
    await client.call('domain.start', { domain: 'web' });
  });

  it('must be one for a linked clone', async () => {
    const { client } = await withDisk();
    await expect(
      client.call('domain.clone', { domain: 'web', name: 'one', linked: true }),
    ).rejects.toMatchObject({
      code: 'domain.state',
      hint: expect.stringContaining('vireo template create web'),
    });
  });
});

describe('a full clone', () => {
  it('has disks of its own, and can be started with its source', async () => {
    const daemon = await withDisk();
    const { client, path } = daemon;
    const made = await client.call('domain.clone', { domain: 'web', name: 'db' });
    expect(made).toMatchObject({ linked: false, disks: [{ volume: 'db.img' }] });
    await client.call('domain.start', { domain: 'web' });
    await client.call('domain.start', { domain: 'db' });
    const [web, db] = await Promise.all(['web', 'db'].map((domain) => client.call('domain.get', { domain })));
    expect(db?.uuid).not.toBe(web?.uuid);
    expect(db?.disks[0]?.source).toBe(`${path}/db.img`);
  });

  it('of a running guest, or to a name that is taken, is refused', async () => {
    const { client, volumes } = await withDisk();
    await expect(client.call('domain.clone', { domain: 'web', name: 'web' })).rejects.toMatchObject({
      code: 'domain.exists',
    });
    await client.call('domain.start', { domain: 'web' });
    await expect(client.call('domain.clone', { domain: 'web', name: 'db' })).rejects.toMatchObject({
      code: 'domain.active',
    });
    expect(await volumes()).toEqual(['web.img']);
  });

  it('leaves nothing when a disk cannot be cloned, or the definition is refused', async () => {
    const outside =
      "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/outside.img'/><target dev='vdb' bus='virtio'/></disk>";
    const { client, volumes, driver } = await withDisk({ rest: outside });
    await expect(client.call('domain.clone', { domain: 'web', name: 'db' })).rejects.toMatchObject({
      code: 'definition.unsupported',
      message: expect.stringContaining('disk vdb'),
      hint: expect.stringContaining('vireo pool create'),
    });
    expect(await volumes()).toEqual(['web.img']);
    const other = await withDisk();
    other.driver.check = () => Promise.reject(new Error('no'));
    await expect(other.client.call('domain.clone', { domain: 'web', name: 'db' })).rejects.toThrow();
    expect(await other.volumes()).toEqual(['web.img']);
    expect(existsSync(join(other.path, 'db.img'))).toBe(false);
    expect(driver.guests).toEqual([]);
  });
});
