/** Groups of limits that disks share, by libvirt's calls of 11.2. */
import { expect, it } from 'vitest';
import { paramType } from '../../../src/libvirt/protocol/objects.ts';
import { formatDomain, parseDomain } from '../../../src/model/domain/domain.ts';
import { validateDomain } from '../../../src/model/domain/validate/validate.ts';
import { guestXml, startRig } from './rig.ts';

const xml = guestXml('web').replace(
  '<devices>',
  `<throttlegroups><throttlegroup><total_iops_sec>100</total_iops_sec><group_name>few</group_name></throttlegroup>
   </throttlegroups><devices><disk type='file' device='disk'><source file='/a.raw'/><target dev='vda' bus='virtio'/>
   <throttlefilters><throttlefilter group='few'/></throttlefilters></disk>`,
);

const limit = (field: string, value: number) =>
  ({ field, value: { type: paramType.ullong, value } }) as const;

it('groups are made, changed, and taken away when no disk is in them', async () => {
  const rig = await startRig();
  const client = await rig.open();
  const { dom } = await client.call('domainDefineXml', { xml });
  await client.call('domainCreate', { dom });
  const { lastGuest } = rig.driver;
  const set = (group: string, params: ReturnType<typeof limit>[], flags: number) =>
    client.call('domainSetThrottleGroup', { dom, group, params, flags });
  await set('few', [limit('total_bytes_sec', 5000)], 3);
  expect(lastGuest.done.at(-1)).toBe(
    'group few set {"totalIopsSec":100,"groupName":"few","totalBytesSec":5000}',
  );
  await set('new', [limit('read_iops_sec', 7)], 1);
  expect(lastGuest.done.at(-1)).toBe('group new made {"readIopsSec":7,"groupName":"new"}');
  const xmlOf = async (flags: number) => (await client.call('domainGetXmlDesc', { dom, flags })).xml;
  expect(await xmlOf(0)).toContain('<group_name>new</group_name>');
  expect(await xmlOf(2)).not.toContain('<group_name>new</group_name>');
  expect(await xmlOf(2)).toContain('<total_bytes_sec>5000</total_bytes_sec>');
  const remove = (group: string | null, flags: number) =>
    client.call('domainDelThrottleGroup', { dom, group, flags });
  await expect(remove('few', 1)).rejects.toThrow(
    "55: Requested operation is not valid: throttle group 'few'",
  );
  await expect(remove('none', 1)).rejects.toThrow("8: invalid argument: throttle group 'none' not found");
  await expect(remove(null, 1)).rejects.toThrow('must not be NULL');
  await remove('new', 1);
  expect(lastGuest.done.at(-1)).toBe('no group new');
  expect(await xmlOf(0)).not.toContain('<group_name>new</group_name>');
});

it('what cannot be is refused: names, limits, filters without their group', async () => {
  const client = await (await startRig()).open();
  const { dom } = await client.call('domainDefineXml', { xml });
  const set = (group: string, params: ReturnType<typeof limit>[]) =>
    client.call('domainSetThrottleGroup', { dom, group, params, flags: 2 });
  await expect(set('a b', [limit('total_iops_sec', 1)])).rejects.toThrow('is no name of a throttle group');
  await expect(set('few', [limit('total_iops_sec_max', 1)])).rejects.toThrow('a burst is not lower');
  const problems = (text: string) =>
    validateDomain(parseDomain(text, { mode: 'strict' }).definition).map(
      ({ path, message }) => `${path}: ${message}`,
    );
  expect(problems(xml)).toEqual([]);
  expect(problems(xml.replace("filter group='few'", "filter group='gone'"))).toEqual([
    "devices.disk[0].throttlefilters: throttle group 'gone' not found: <throttlegroups> has none of that name",
  ]);
  const limited = xml.replace('</disk>', '<iotune><total_iops_sec>1</total_iops_sec></iotune></disk>');
  expect(problems(limited)).toEqual(['devices.disk[0].throttlefilters: do not go with iotune']);
  const printed = formatDomain(parseDomain(xml, { mode: 'strict' }).definition, {});
  expect(formatDomain(parseDomain(printed, { mode: 'strict' }).definition, {})).toBe(printed);
});
