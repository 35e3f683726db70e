/** Changing the host over libvirt's protocol: merging of pages, pools of huge pages, sleep, and who speaks for whom. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { paramType } from '../../../src/libvirt/protocol/objects.ts';
import { startRig } from './rig.ts';

async function rigWith(tree: Readonly<Record<string, string>>) {
  const rig = await startRig();
  for (const [path, text] of Object.entries(tree)) {
    const at = join(rig.hostRoot, path);
    mkdirSync(dirname(at), { recursive: true });
    writeFileSync(at, text);
  }
  return { rig, client: await rig.open() };
}

it('tells what the kernel merges, and changes how eagerly', async () => {
  const { rig, client } = await rigWith({
    'sys/kernel/mm/ksm/pages_to_scan': '100',
    'sys/kernel/mm/ksm/pages_shared': '5',
  });
  expect(await client.call('nodeGetMemoryParameters', { nparams: 0, flags: 0 })).toEqual({
    params: [],
    nparams: 2,
  });
  const { params } = await client.call('nodeGetMemoryParameters', { nparams: 2, flags: 0 });
  expect(params).toEqual([
    { field: 'shm_pages_to_scan', value: { type: paramType.uint, value: 100 } },
    { field: 'shm_pages_shared', value: { type: paramType.ullong, value: 5 } },
  ]);
  const set = (field: string) =>
    client.call('nodeSetMemoryParameters', {
      params: [{ field, value: { type: paramType.uint, value: 300 } }],
      flags: 0,
    });
  await set('shm_pages_to_scan');
  expect(readFileSync(join(rig.hostRoot, 'sys/kernel/mm/ksm/pages_to_scan'), 'utf8')).toBe('300');
  await expect(set('shm_pages_shared')).rejects.toThrow("parameter 'shm_pages_shared' not supported");
  await expect(set('shm_sleep_millisecs')).rejects.toThrow("this kernel has no 'sleep_millisecs'");
});

it('changes pools of huge pages of the host as a whole, and says what it has not', async () => {
  const pool = 'sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages';
  const { rig, client } = await rigWith({ [pool]: '1' });
  const alloc = (size: number, flags: number, startCell = -1) =>
    client.call('nodeAllocPages', { pageSizes: [size], pageCounts: [4], startCell, cellCount: 1, flags });
  expect(await alloc(2048, 0)).toEqual({ ret: 1 });
  expect(readFileSync(join(rig.hostRoot, pool), 'utf8')).toBe('5');
  expect(await alloc(2048, 1)).toEqual({ ret: 1 });
  expect(readFileSync(join(rig.hostRoot, pool), 'utf8')).toBe('4');
  await expect(alloc(4, 0)).rejects.toThrow('page size or NUMA node not available: 4 KiB, node -1');
  await expect(alloc(2048, 0, 4000)).rejects.toThrow('start cell 4000 out of range');
});

it('puts to sleep no host that cannot sleep', async () => {
  const { client } = await rigWith({ 'sys/power/state': 'freeze' });
  const sleep = (target: number, duration: number) =>
    client.call('nodeSuspendForDuration', { target, duration, flags: 0 });
  await expect(sleep(0, 60)).rejects.toThrow('74: argument unsupported: Suspend-to-RAM');
  await expect(sleep(0, 1)).rejects.toThrow('74: argument unsupported: Suspend-to-RAM');
  await expect(sleep(3, 60)).rejects.toThrow('Suspend target 3');
});

it('takes the word of root, or of its own user, for whom a client speaks', async () => {
  const { client } = await rigWith({});
  const say = (field: string) =>
    client.call('connectSetIdentity', {
      params: [{ field, value: { type: paramType.string, value: 'alice' } }],
      flags: 0,
    });
  await say('user-name');
  await expect(say('shoe-size')).rejects.toThrow("parameter 'shoe-size' not supported");
});
