/** Devices over JSON-RPC and the service: what is asked of the driver, what is stored, what is told. */
import { describe, expect, it } from 'vitest';
import { errorBodyOf } from '../../../src/libvirt/errors.ts';
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

  it('are refused where the name or place is taken, in the guest as in the definition', async () => {
    const channel = (name: string) => `<channel type='unix'><target type='virtio' name='${name}'/></channel>`;
    const controller = (index: number) => `<controller type='scsi' index='${index}' model='virtio-scsi'/>`;
    const drive = (dev: string) =>
      `<disk type='file'><source file='/srv/${dev}.img'/><target dev='${dev}' bus='scsi'/><address type='drive' controller='4' bus='0' target='0' unit='3'/></disk>`;
    const watchdog = `<watchdog model='i6300esb' action='none'/>`;
    const all = [disk('vda'), controller(4), drive('sdk'), channel('a.b'), watchdog];
    const { client, driver } = await running(all.join(''));
    const taken: readonly [device: string, live: number, stored: number][] = [
      [disk('vda'), 27, 55],
      [controller(4), 9, 55],
      [drive('sdl'), 55, 55],
      [channel('a.b'), 55, 55],
      [watchdog, 55, 55],
    ];
    for (const [device, live, stored] of taken)
      for (const [targets, number] of [
        [{ live: true }, live],
        [{ stored: true }, stored],
        [{}, stored],
      ] as const) {
        const call = client.call('domain.attach-device', { domain: 'web', xml: device, ...targets });
        const error: unknown = await call.catch((thrown: unknown) => thrown);
        expect(error, device).toMatchObject({
          code: 'domain.device-exists',
          hint: expect.stringMatching(/./),
        });
        expect(errorBodyOf(error).code, device).toBe(number);
      }
    expect(driver.plugged).toEqual([]);
  });

  it('updates the only device of a kind, whatever of it changes, and a disk on another bus', async () => {
    const sound = (model: string) => `<sound model='${model}'/>`;
    const { client, has } = await running(sound('ich6') + disk('vda'));
    const update = (device: string) =>
      client.call('domain.update-device', { domain: 'web', xml: device, stored: true });
    await update(sound('ich9'));
    expect(await has("<sound model='ich9'")).toEqual({ live: false, stored: true });
    await update(disk('vda').replace("bus='virtio'", "bus='usb'"));
    expect(await has("<target dev='vda' bus='usb'")).toEqual({ live: false, stored: true });
    const missing: unknown = await update(disk('vdz')).catch((thrown: unknown) => thrown);
    expect(missing).toMatchObject({ code: 'domain.no-device' });
    expect(errorBodyOf(missing).code).toBe(8);
  });

  it('takes no device by an alias whose name is that of another', async () => {
    const named = (dev: string, alias: string) =>
      disk(dev).replace('</disk>', `<alias name='${alias}'/></disk>`);
    const { client, driver } = await running(named('vda', 'ua-data') + disk('vdb'));
    for (const dev of ['vdb', 'vdz'])
      await expect(
        client.call('domain.detach-device', { domain: 'web', xml: named(dev, 'ua-data') }),
      ).rejects.toThrow(expect.objectContaining({ code: 'domain.no-device' }));
    expect(driver.plugged).toEqual([]);
    await client.call('domain.detach-device', { domain: 'web', xml: named('vda', 'ua-data') });
    expect(driver.plugged).toEqual(['detach disk']);
  });
});
