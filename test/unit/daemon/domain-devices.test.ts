/** Devices over JSON-RPC and the service: what is asked of the driver, what is stored, what is told. */
import { describe, expect, it } from 'vitest';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

const disk = (dev: string) =>
  `<disk type='file'><source file='/srv/${dev}.img'/><target dev='${dev}' bus='virtio'/></disk>`;

async function running(devices = '') {
  const rig = await startDaemon();
  const client = await rig.connect();
  await client.call('domain.define', { xml: xml('web', devices) });
  await client.call('domain.start', { domain: 'web' });
  const told: string[] = [];
  rig.events.subscribe((event) => {
    if (event.event.startsWith('domain.device')) told.push(event.event);
  });
  const has = async (text: string) => {
    const of = async (inactive: boolean) =>
      (await client.call('domain.xml', { domain: 'web', inactive })).xml.includes(text);
    return { live: await of(false), stored: await of(true) };
  };
  return { ...rig, client, told, has };
}

describe('attach, detach and update', () => {
  it('go to both, to the guest, or to the definition alone', async () => {
    const { client, driver, told, has } = await running();
    const attach = (dev: string, targets: object) =>
      client.call('domain.attach-device', { domain: 'web', xml: disk(dev), ...targets });
    expect(await attach('vda', {})).toEqual({ alias: 'disk0' });
    expect(await attach('vdb', { live: true })).toEqual({ alias: 'disk0' });
    expect(await attach('vdc', { stored: true })).toEqual({ alias: null });
    expect(await has('vda.img')).toEqual({ live: true, stored: true });
    expect(await has('vdb.img')).toEqual({ live: true, stored: false });
    expect(await has('vdc.img')).toEqual({ live: false, stored: true });
    expect(driver.plugged).toEqual(['attach disk', 'attach disk']);
    expect(told).toEqual(['domain.device-added', 'domain.device-added']);
    const detach = (device: string, targets: object) =>
      client.call('domain.detach-device', { domain: 'web', device, ...targets });
    expect(await detach('vda', {})).toEqual({ released: true });
    expect(await detach('vdc', { stored: true })).toEqual({ released: true });
    expect(await has('vda.img')).toEqual({ live: false, stored: false });
    expect(await has('vdc.img')).toEqual({ live: false, stored: false });
    expect(await has('vdb.img')).toEqual({ live: true, stored: false });
  });

  it('find what the client means before anything is done', async () => {
    const { client, driver } = await running(disk('vda'));
    const missing = expect.objectContaining({ code: 'domain.no-device' });
    for (const params of [{ device: 'vdz' }, { xml: disk('vdz') }])
      await expect(client.call('domain.detach-device', { domain: 'web', ...params })).rejects.toThrow(
        missing,
      );
    await expect(client.call('domain.detach-device', { domain: 'web' })).rejects.toThrow(
      expect.objectContaining({ code: 'request.invalid' }),
    );
    await expect(client.call('domain.update-device', { domain: 'web', xml: disk('vdz') })).rejects.toThrow(
      missing,
    );
    await expect(
      client.call('domain.change-media', { domain: 'web', device: 'vda', path: null }),
    ).rejects.toThrow(expect.objectContaining({ code: 'request.invalid' }));
    expect(driver.plugged).toEqual([]);
  });

  it('leave the definition as it was when the guest cannot', async () => {
    const { client, driver, has } = await running();
    driver.attachDevice = () => Promise.reject(new Error('no room'));
    await expect(client.call('domain.attach-device', { domain: 'web', xml: disk('vda') })).rejects.toThrow();
    expect(await has('vda.img')).toEqual({ live: false, stored: false });
  });

  it('change the medium in a drive, and keep the drive where it is', async () => {
    const drive = "<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>";
    const { client, driver, has } = await running(drive);
    const media = (path: string | null) =>
      client.call('domain.change-media', { domain: 'web', device: 'hdc', path });
    await media('/srv/a.iso');
    expect(await has('/srv/a.iso')).toEqual({ live: true, stored: true });
    await media(null);
    expect(await has('/srv/a.iso')).toEqual({ live: false, stored: false });
    expect(driver.plugged).toEqual(['update disk', 'update disk']);
  });

  it('say honestly that a guest has not let go', async () => {
    const { client, driver, has } = await running(disk('vda'));
    driver.detachDevice = () => Promise.resolve('pending');
    expect(await client.call('domain.detach-device', { domain: 'web', device: 'vda' })).toEqual({
      released: false,
    });
    expect(await has('vda.img')).toEqual({ live: true, stored: false });
    driver.lastGuest.emit({ kind: 'device-kept', alias: 'virtio-disk0', seconds: 0 });
  });
});
