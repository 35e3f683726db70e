/** A plan: what a new definition would do to a guest, without doing it. */
import { expect, it } from 'vitest';
import { startDaemon, xml } from '../jsonrpc/service-rig.ts';

const disk = (dev: string, bus = 'virtio', more = '') =>
  `<disk type='file'><source file='/srv/${dev}.img'/><target dev='${dev}' bus='${bus}'/>${more}</disk>`;
const drive = (file: string) =>
  `<disk type='file' device='cdrom'><source file='/srv/${file}.iso'/><target dev='hdc' bus='ide'/></disk>`;

async function running(devices: string) {
  const rig = await startDaemon();
  const client = await rig.connect();
  await client.call('domain.define', { xml: xml('web', devices) });
  await client.call('domain.start', { domain: 'web' });
  const plan = async (text: string) => (await client.call('domain.plan', { xml: text })).changes;
  return { ...rig, client, plan };
}

it('tells what can be done now, with the command, and what counts at the next start', async () => {
  const { client, plan } = await running(disk('vda') + disk('sda', 'sata') + drive('a'));
  const before = (await client.call('domain.xml', { domain: 'web', inactive: true })).xml;
  const limit = '<iotune><total_iops_sec>100</total_iops_sec></iotune>';
  const changes = await plan(
    xml('web', disk('vda', 'virtio', limit) + disk('vdb') + drive('b')).replace(
      '</name>',
      '</name><title>Shop</title>',
    ),
  );
  expect(changes.map(({ path, when, how }) => [path, when, how])).toEqual([
    ['title', 'now', 'vireo domain title web TEXT'],
    ['devices.disk[vda].iotune', 'now', 'vireo domain disk limit web vda --live'],
    ['devices.disk[sda]', 'next-start', 'a disk on bus sata cannot be plugged; use virtio, scsi or usb'],
    ['devices.disk[hdc].source.file', 'now', 'vireo media web hdc IMAGE --live'],
    ['devices.disk[vdb]', 'now', 'vireo attach web FILE --live'],
  ]);
  expect((await client.call('domain.xml', { domain: 'web', inactive: true })).xml).toBe(before);
});

it('knows limits, boot order, filters and passwords', async () => {
  const vnc = (password: string) => `<graphics type='vnc'${password}/>`;
  const card = (more: string) =>
    `<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><model type='virtio'/>${more}</interface>`;
  const order = (number: number) => disk('vda', 'virtio', `<boot order='${number}'/>`);
  const { plan } = await running(order(1) + card('') + vnc(" passwd='one'"));
  const limited = (tune: string) =>
    xml('web', order(2) + card("<filterref filter='clean-traffic'/>") + vnc('')).replace(
      '</name>',
      `</name>${tune}`,
    );
  const seen = async (text: string) => (await plan(text)).map(({ path, when, how }) => [path, when, how]);
  const devices = [
    ['devices.graphics[vnc].passwd', 'next-start', expect.stringContaining('not taken away')],
    ['devices.disk[vda].boot.order', 'now', 'vireo domain update-device web FILE --live'],
    ['devices.interface[52:54:00:00:00:01].filterref', 'now', 'vireo domain update-device web FILE --live'],
  ];
  const found = await seen(
    limited('<cputune><shares>512</shares><emulator_quota>5000</emulator_quota></cputune>'),
  );
  expect(found).toContainEqual(['cputune', 'now', 'vireo domain set-limits web --live']);
  for (const one of devices) expect(found).toContainEqual(one);
  const scheduled = "<cputune><shares>512</shares><vcpusched vcpus='0' scheduler='batch'/></cputune>";
  expect(await seen(limited(scheduled))).toContainEqual(['cputune', 'next-start', expect.any(String)]);
});

it('of a domain that does not run counts at its next start, and of a new one changes nothing', async () => {
  const { client, plan } = await running(disk('vda'));
  await client.call('domain.destroy', { domain: 'web' });
  expect(await plan(xml('web'))).toMatchObject([
    { path: 'devices.disk[vda]', when: 'next-start', how: 'the domain does not run', after: null },
  ]);
  expect(await client.call('domain.plan', { xml: xml('other') })).toMatchObject({
    name: 'other',
    uuid: null,
    active: false,
    changes: [],
  });
  expect(await client.call('domain.list', {})).toMatchObject({ domains: [{ name: 'web' }] });
});

it('names the parts that are refused, and throws for what is no definition', async () => {
  const { driver, client, plan } = await running('');
  const uuid = '0d0c0b0a-1111-4222-8333-444455556666';
  expect(await plan(xml('web').replace('</name>', `</name><uuid>${uuid}</uuid>`))).toMatchObject([
    { path: 'domain', when: 'never', how: expect.stringContaining('already exists') },
  ]);
  await expect(client.call('domain.plan', { xml: '<domain>' })).rejects.toThrow(
    expect.objectContaining({ code: 'xml.malformed' }),
  );
  expect(driver.plugged).toEqual([]);
});
