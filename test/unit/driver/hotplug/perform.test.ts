/** What the monitor is told when a disk is plugged in and taken away: in which order, and what is asked. */
import { openSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { silentLogger } from '../../../../src/base/log.ts';
import { Undo } from '../../../../src/base/undo.ts';
import { DescriptorTable } from '../../../../src/drivers/qemu/descriptors.ts';
import { DescriptorSets } from '../../../../src/drivers/qemu/hotplug/descriptor-sets.ts';
import { performPlan, removeBackends } from '../../../../src/drivers/qemu/hotplug/perform.ts';
import type { LivePlan } from '../../../../src/drivers/qemu/hotplug/steps.ts';
import { connectQmp, type QmpClient } from '../../../../src/drivers/qemu/qmp/client.ts';
import { type FakeCommand, FakeQmp } from '../../../support/fake-qmp.ts';

const open: AsyncDisposable[] = [];
afterAll(() => Promise.all(open.map((one) => one[Symbol.asyncDispose]())));

/** A QEMU with sets of descriptors, nodes and devices, which refuses what rests on something that is not there. */
class FakeDevices {
  readonly sets = new Map<number, string[]>();
  readonly nodes = new Map<string, string>();
  readonly devices = new Set<string>();
  readonly asked: string[] = [];
  /** A command that is refused whatever it says. */
  refused: string | undefined;

  answer({ execute, arguments: given = {} }: FakeCommand): unknown {
    const args = given as Record<string, string>;
    const set = Number(args['fdset-id']);
    const node = args['node-name'] ?? '';
    this.asked.push(execute);
    if (execute === this.refused) throw new Error(`${execute} is refused`);
    switch (execute) {
      case 'query-fdsets':
        return [...this.sets].map(([id, all]) => ({
          'fdset-id': id,
          fds: all.map((opaque, at) => ({ fd: at, ...(opaque !== '' && { opaque }) })),
        }));
      case 'query-named-block-nodes':
        return [...this.nodes].map(([name, file]) => ({ 'node-name': name, file, drv: 'file', ro: false }));
      case 'add-fd':
        this.sets.set(set, [...(this.sets.get(set) ?? []), args['opaque'] ?? '']);
        return { 'fdset-id': set, fd: 20 };
      case 'remove-fd':
        if (!this.sets.delete(set)) throw new Error('no such set');
        return {};
      case 'blockdev-add': {
        const file = args['filename'] ?? '';
        const isThere =
          file === '' ? this.nodes.has(args['file'] ?? '') : this.sets.has(Number(file.split('/')[3]));
        if (!isThere) throw new Error(`nothing is below ${node}`);
        this.nodes.set(node, file);
        return {};
      }
      case 'blockdev-del':
        if (!this.nodes.delete(node)) throw new Error('no such node');
        return {};
      case 'device_add':
        if (!this.nodes.has(args['drive'] ?? '')) throw new Error('no such drive');
        this.devices.add(args['id'] ?? '');
        return {};
      case 'device_del':
        this.devices.delete(args['id'] ?? '');
        return {};
      default:
        throw new Error(`nobody expects ${execute}`);
    }
  }
}

async function talkTo(qemu: FakeDevices): Promise<QmpClient> {
  const fake = await FakeQmp.listen({
    onCommand: (command, connection) => {
      try {
        connection.reply(command, qemu.answer(command));
      } catch (error) {
        connection.send({ error: { class: 'GenericError', desc: (error as Error).message }, id: command.id });
      }
    },
  });
  open.push(fake);
  return connectQmp(fake.path, { timeoutMs: 2000 });
}

/** A raw disk on the descriptors of a set. */
function diskPlan(set: number): LivePlan {
  const step = (execute: string, args: Record<string, string>, undo: string) => ({
    execute,
    arguments: args,
    undo: {
      execute: undo,
      arguments: undo === 'device_del' ? { id: args['id'] } : { 'node-name': args['node-name'] },
    },
  });
  return {
    command: { fds: [{ kind: 'file', fd: 100, roFd: 101, set, path: '/d', access: 'rw', purpose: 'd' }] },
    steps: [
      step(
        'blockdev-add',
        { driver: 'file', filename: `/dev/fdset/${set}`, 'node-name': 'n-storage' },
        'blockdev-del',
      ),
      step('blockdev-add', { driver: 'raw', file: 'n-storage', 'node-name': 'n-format' }, 'blockdev-del'),
      step('device_add', { driver: 'virtio-blk-pci', drive: 'n-format', id: 'virtio-disk1' }, 'device_del'),
    ],
  } as unknown as LivePlan;
}

async function plug(qmp: QmpClient, sets: DescriptorSets): Promise<LivePlan> {
  const plan = diskPlan(await sets.firstFree(qmp));
  const table = new DescriptorTable();
  for (const target of [100, 101]) table.addFd(target, openSync('/dev/null', 'r'));
  await using undo = new Undo(silentLogger);
  try {
    await performPlan(qmp, plan, table, { alias: 'virtio-disk1', sets, undo });
  } finally {
    await table.close();
  }
  undo.keep();
  return plan;
}

const unplug = (qmp: QmpClient, plan: LivePlan, sets: DescriptorSets) =>
  removeBackends(qmp, plan, { alias: 'virtio-disk1', sets, log: silentLogger });

it('a disk goes in and out with what it needs, and QEMU is asked for nothing that is known', async () => {
  const qemu = new FakeDevices();
  qemu.sets.set(1, ['']).set(2, ['']);
  const qmp = await talkTo(qemu);
  const sets = new DescriptorSets();
  const plan = await plug(qmp, sets);
  expect([...qemu.devices]).toEqual(['virtio-disk1']);
  expect([...qemu.sets]).toEqual([
    [1, ['']],
    [2, ['']],
    [22, ['vireo virtio-disk1', '']],
  ]);
  await unplug(qmp, plan, sets);
  expect([...qemu.nodes.keys()]).toEqual([]);
  expect([...qemu.sets.keys()]).toEqual([1, 2]);
  const again = await plug(qmp, sets);
  expect([...qemu.sets.keys()]).toEqual([1, 2, 23]);
  await unplug(qmp, again, sets);
  expect(qemu.asked.filter((name) => name.startsWith('query'))).toEqual(['query-fdsets']);
  expect(qemu.asked.filter((name) => name === 'remove-fd')).toHaveLength(2);
});

it('a daemon that came later finds the sets by their nodes and their names', async () => {
  const qemu = new FakeDevices();
  const qmp = await talkTo(qemu);
  const plan = await plug(qmp, new DescriptorSets());
  qemu.sets.set(90, ['vireo virtio-disk1']).set(91, ['vireo virtio-disk10']);
  await unplug(qmp, plan, new DescriptorSets());
  expect([...qemu.nodes.keys()]).toEqual([]);
  expect([...qemu.sets.keys()]).toEqual([91]);
});

it.each(['blockdev-add', 'device_add'])('when %s is refused, nothing of the disk stays', async (refused) => {
  const qemu = new FakeDevices();
  qemu.refused = refused;
  const qmp = await talkTo(qemu);
  const sets = new DescriptorSets();
  await expect(plug(qmp, sets)).rejects.toMatchObject({
    code: 'qmp.failed',
    reason: `${refused} is refused`,
  });
  expect([qemu.nodes.size, qemu.sets.size, qemu.devices.size]).toEqual([0, 0, 0]);
  qemu.refused = undefined;
  await plug(qmp, sets);
  expect([...qemu.devices]).toEqual(['virtio-disk1']);
});
