/** QEMU's sparse form of states: what it is told before a transfer, and that nothing of it stays behind. */
import { openSync } from 'node:fs';
import { afterAll, expect, it } from 'vitest';
import { connectQmp } from '../../../src/drivers/qemu/qmp/client.ts';
import { beginSparse, forgetSparse } from '../../../src/drivers/qemu/saved-state/sparse.ts';
import { type FakeCommand, FakeQmp } from '../../support/fake-qmp.ts';

const fd = openSync('/dev/null', 'r');
const form = { offsetBytes: 69_632, channels: 4 };

/** A QEMU of some version: what it knows, and what it remembers. */
class FakeSparse {
  readonly isOn = new Map<string, boolean>();
  readonly parameters: Record<string, unknown> = {};
  readonly sets = new Map<number, string[]>();
  private readonly refused: string;

  constructor(capabilities: readonly string[], refused = '') {
    for (const name of capabilities) this.isOn.set(name, false);
    this.refused = refused;
  }

  answer({ execute, arguments: args = {} }: FakeCommand): unknown {
    const {
      capabilities,
      opaque,
      'fdset-id': set = 7,
    } = args as {
      capabilities?: { capability: string; state: boolean }[];
      opaque?: string;
      'fdset-id'?: number;
    };
    if (execute === 'query-migrate-capabilities')
      return [...this.isOn].map(([capability, state]) => ({ capability, state }));
    for (const { capability, state } of capabilities ?? []) this.isOn.set(capability, state);
    if (execute === 'migrate-set-parameters') {
      if (this.refused in args) return undefined;
      Object.assign(this.parameters, args);
    }
    if (execute === 'remove-fd') this.sets.delete(set);
    if (execute === 'query-fdsets')
      return [...this.sets].map(([id, all]) => ({
        'fdset-id': id,
        fds: all.map((one, at) => ({ fd: at, opaque: one })),
      }));
    if (execute !== 'add-fd') return {};
    this.sets.set(set, [...(this.sets.get(set) ?? []), opaque ?? '']);
    return { 'fdset-id': set, fd: 20 };
  }
}

const open: AsyncDisposable[] = [];
afterAll(() => Promise.all(open.map((one) => one[Symbol.asyncDispose]())));

async function talkTo(qemu: FakeSparse) {
  const fake = await FakeQmp.listen({
    onCommand: (command, connection) => {
      const value = qemu.answer(command);
      if (value !== undefined) connection.reply(command, value);
      else connection.send({ error: { class: 'GenericError', desc: 'unexpected' }, id: command.id });
    },
  });
  open.push(fake);
  return connectQmp(fake.path, { timeoutMs: 2000 });
}

const known = ['events', 'multifd', 'mapped-ram'];

it('several threads, a place in the file, a second way past the page cache; all of it gone at the end', async () => {
  const qemu = new FakeSparse(known);
  const qmp = await talkTo(qemu);
  {
    await using target = await beginSparse(qmp, fd, { ...form, directFd: fd }, 'save');
    expect(target.uri).toBe('file:/dev/fdset/7,offset=69632');
    expect(Object.fromEntries(qemu.isOn)).toEqual({ events: false, multifd: true, 'mapped-ram': true });
    expect(qemu.parameters).toEqual({ 'multifd-channels': 4, 'direct-io': true });
    expect(qemu.sets.get(7)).toEqual(['vireo-memory', 'vireo-memory']);
  }
  expect([...qemu.isOn.values()]).toEqual([false, false, false]);
  expect(qemu.parameters['direct-io']).toBe(false);
  expect(qemu.sets.size).toBe(0);
});

it('a QEMU before 9.0 has no such form, and is left as it was', async () => {
  const qemu = new FakeSparse(['events', 'multifd']);
  const qmp = await talkTo(qemu);
  await expect(beginSparse(qmp, fd, form, 'save')).rejects.toMatchObject({
    code: 'qemu.lacks',
    reason: expect.stringContaining('QEMU 9.0'),
  });
  await forgetSparse(qmp);
  expect(qemu.sets.size).toBe(0);
});

it('one before 9.1 cannot go past the page cache, and takes other forms again', async () => {
  const qemu = new FakeSparse(known, 'direct-io');
  const qmp = await talkTo(qemu);
  await expect(beginSparse(qmp, fd, { ...form, directFd: fd }, 'save')).rejects.toMatchObject({
    code: 'qemu.lacks',
    reason: expect.stringContaining('QEMU 9.1'),
  });
  expect([...qemu.isOn.values()]).toEqual([false, false, false]);
});

it("a set of descriptors that is somebody else's stays", async () => {
  const qemu = new FakeSparse(known);
  qemu.isOn.set('mapped-ram', true);
  qemu.sets.set(1, ['libvirt-1-storage']).set(2, ['vireo-memory']);
  await forgetSparse(await talkTo(qemu));
  expect([...qemu.sets.keys()]).toEqual([1]);
});

it('a QEMU that does not answer is left as it is, and tidied up after by whoever settles the transfer', async () => {
  const qemu = new FakeSparse(known);
  const qmp = await talkTo(qemu);
  {
    await using target = await beginSparse(qmp, fd, form, 'save');
    target.leave();
  }
  expect(qemu.isOn.get('mapped-ram')).toBe(true);
  await forgetSparse(qmp);
  expect([qemu.isOn.get('mapped-ram'), qemu.sets.size]).toEqual([false, 0]);
});
