/** Commands that QEMU answers when their time is over: a device that was being plugged in is there whole, or not at all. */
import { afterEach, describe, expect, it } from 'vitest';
import { inTime } from '../../../src/base/late-answers.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { Undo } from '../../../src/base/undo.ts';
import { DescriptorTable } from '../../../src/drivers/qemu/descriptors.ts';
import { DescriptorSets } from '../../../src/drivers/qemu/hotplug/descriptor-sets.ts';
import { performPlan } from '../../../src/drivers/qemu/hotplug/perform.ts';
import type { LivePlan } from '../../../src/drivers/qemu/hotplug/steps.ts';
import { connectQmp, type QmpClient } from '../../../src/drivers/qemu/qmp/client.ts';

import { type FakeCommand, FakeQmp } from '../../support/fake-qmp.ts';

const plan = {
  steps: [
    step('blockdev-add', 'blockdev-del'),
    step('object-add', 'object-del'),
    step('device_add', 'device_del'),
  ],
  command: { fds: [] },
} as unknown as LivePlan;

function step(execute: string, undo: string) {
  return { execute, arguments: {}, undo: { execute: undo, arguments: {} } };
}

describe('a QEMU that answers late', () => {
  const open: AsyncDisposable[] = [];
  afterEach(async () => {
    for (const one of open.splice(0)) await one[Symbol.asyncDispose]();
  });

  /** One that answers all but the first command of that name, which it answers when it is told to. */
  async function holding(name: string) {
    const held = Promise.withResolvers<() => void>();
    let isHeld = false;
    const fake = await FakeQmp.listen({
      onCommand: (command, connection) => {
        const answer = () => connection.reply(command, command.execute === 'query-fdsets' ? [] : {});
        if (command.execute !== name || isHeld) return answer();
        isHeld = true;
        return held.resolve(answer);
      },
    });
    open.push(fake);
    const qmp = await connectQmp(fake.path, { timeoutMs: 20_000, commandMs: 200 });
    open.push({ [Symbol.asyncDispose]: async () => qmp.close() });
    qmp.heedLateness();
    const sent = () => fake.connection.commands.map(({ execute }: FakeCommand) => execute).slice(1);
    return { qmp, sent, goOn: async () => (await held.promise)() };
  }

  const attach = async (qmp: QmpClient) => {
    await using undo = new Undo(silentLogger);
    await performPlan(qmp, plan, new DescriptorTable(), { alias: 'disk0', sets: new DescriptorSets(), undo });
    undo.keep();
  };

  /** Plugs in until that command, which is late; what was sent by then, and after the answer; and how it ended. */
  async function heldAt(name: string, work: (qmp: QmpClient) => Promise<unknown> = attach) {
    const { qmp, sent, goOn } = await holding(name);
    const ends: Promise<unknown>[] = [];
    await expect(
      inTime(
        () => work(qmp),
        (end) => void ends.push(end),
      ),
    ).rejects.toMatchObject({
      code: 'qmp.timeout',
      details: { command: name },
    });
    const before = sent();
    await goOn();
    const end = await Promise.allSettled(ends);
    return { before, after: sent().slice(before.length), end: end.map(({ status }) => status) };
  }

  it('has no more to do than to take back what is there by then', async () => {
    expect(await heldAt('object-add')).toEqual({
      before: ['blockdev-add', 'object-add'],
      after: ['object-del', 'blockdev-del', 'query-fdsets'],
      end: ['rejected'],
    });
  });

  it('has it all when the command was the last one', async () => {
    expect(await heldAt('device_add')).toEqual({
      before: ['blockdev-add', 'object-add', 'device_add'],
      after: [],
      end: ['fulfilled'],
    });
  });

  it('is asked for what is true, and changes nothing then', async () => {
    const work = async (qmp: QmpClient) => {
      await qmp.executeRaw('query-block');
      await qmp.executeRaw('query-fdsets');
      await qmp.executeRaw('block_set_io_throttle');
    };
    expect(await heldAt('query-block', work)).toEqual({
      before: ['query-block'],
      after: ['query-fdsets'],
      end: ['rejected'],
    });
  });

  it('that ends instead fails what was begun', async () => {
    const { qmp } = await holding('object-add');
    const ends: Promise<unknown>[] = [];
    await expect(
      inTime(
        () => attach(qmp),
        (end) => void ends.push(end),
      ),
    ).rejects.toMatchObject({
      code: 'qmp.timeout',
    });
    qmp.close();
    await expect(ends[0]).rejects.toMatchObject({ code: 'qmp.closed' });
  });
});
