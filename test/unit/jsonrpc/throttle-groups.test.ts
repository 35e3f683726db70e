/** Groups of limits that disks share, by our own methods. */
import { expect, it } from 'vitest';
import { startDaemon, xml } from './service-rig.ts';

const definition = xml('a').replace(
  '<devices>',
  `<throttlegroups><throttlegroup><total_iops_sec>100</total_iops_sec><group_name>few</group_name></throttlegroup>
   </throttlegroups><devices><disk type='file' device='disk'><source file='/a.raw'/><target dev='vda' bus='virtio'/>
   <throttlefilters><throttlefilter group='few'/></throttlefilters></disk>`,
);

it('are listed with their disks, made, changed and removed', async () => {
  const { connect, driver } = await startDaemon();
  const client = await connect();
  await client.call('domain.define', { xml: definition });
  const few = { group: 'few', limits: { totalIopsSec: 100 }, disks: ['vda'] };
  const list = async (inactive = false) =>
    (await client.call('domain.throttle-group.list', { domain: 'a', inactive })).groups;
  expect(await list()).toEqual([few]);
  await client.call('domain.start', { domain: 'a' });
  const set = (group: string, limits: object, targets: object = {}) =>
    client.call('domain.throttle-group.set', { domain: 'a', group, limits, ...targets });
  expect(await set('new', { readBytesSec: 5000 }, { live: true })).toEqual({
    limits: { readBytesSec: 5000 },
  });
  expect(driver.lastGuest.done.at(-1)).toBe('group new made {"readBytesSec":5000,"groupName":"new"}');
  expect(await list()).toEqual([few, { group: 'new', limits: { readBytesSec: 5000 }, disks: [] }]);
  expect(await list(true)).toEqual([few]);
  expect(await set('few', { totalIopsSec: 0, writeIopsSec: 7 }, { stored: true })).toEqual({
    limits: { writeIopsSec: 7 },
  });
  expect(await list(true)).toEqual([{ ...few, limits: { writeIopsSec: 7 } }]);
  await client.call('domain.throttle-group.remove', { domain: 'a', group: 'new', live: true });
  expect(await list()).toEqual([few]);
  await expect(
    client.call('domain.throttle-group.remove', { domain: 'a', group: 'few', live: true }),
  ).rejects.toMatchObject({ code: 'domain.state', hint: 'detach that disk, or take the filter out of it' });
  await expect(set('a b', { totalIopsSec: 1 })).rejects.toMatchObject({ code: 'request.invalid' });
});
