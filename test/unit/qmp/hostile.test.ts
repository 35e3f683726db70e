/** Whatever a monitor sends, one connection fails, in bounded time and memory. */
import { describe, expect, it } from 'vitest';
import { connectQmp, type QmpClient } from '../../../src/drivers/qemu/qmp/client.ts';
import type { QmpEvent } from '../../../src/drivers/qemu/qmp/events.ts';
import { eventLimits } from '../../../src/drivers/qemu/qmp/events.ts';
import { type FakeBehaviour, type FakeConnection, FakeQmp, greeting } from '../../support/fake-qmp.ts';

const code = (wanted: string): unknown => expect.objectContaining({ code: wanted });

/** Sends one command and lets the fake answer it as it likes. */
async function provoke(answer: (c: FakeConnection, id: unknown) => void): Promise<QmpClient> {
  const fake = await FakeQmp.listen({ onCommand: (command, c) => answer(c, command.id) });
  const client = await connectQmp(fake.path, { timeoutMs: 2000 });
  await expect(client.executeRaw('query-status', undefined, { timeoutMs: 3000 })).rejects.toThrow(
    code('qmp.protocol'),
  );
  await client.closed;
  await fake[Symbol.asyncDispose]();
  return client;
}

describe('a hostile monitor', () => {
  it.each<[string, (c: FakeConnection, id: unknown) => void]>([
    ['11 MiB without a new line', (c) => c.raw('x'.repeat(11 * 1024 * 1024))],
    ['a million nested brackets', (c) => c.raw(`{"return":${'['.repeat(1_000_000)}\n`)],
    ['an id nobody used', (c) => c.send({ return: {}, id: 998 })],
    ['an id of the wrong type', (c, id) => c.send({ return: {}, id: String(id) })],
    ['an id that names a property', (c) => c.send({ return: {}, id: '__proto__' })],
    ['a reply without an id', (c) => c.send({ return: {} })],
    ['an error without class and description', (c, id) => c.send({ error: 'no', id })],
    ['an error with a class of the wrong type', (c, id) => c.send({ error: { class: 1, desc: [] }, id })],
    ['an array', (c) => c.send([1, 2])],
    ['a number', (c) => c.raw('17\n')],
    ['no JSON', (c) => c.raw('HTTP/1.1 200 OK\r\n\r\n')],
    ['bytes that are no UTF-8', (c) => c.raw(Buffer.from([0xff, 0xfe, 0x00, 0x0a]))],
    ['a message that is neither reply nor event', (c) => c.send({ hello: 1 })],
    ['an event whose name is a number', (c) => c.send({ event: 5 })],
    ['a second greeting', (c) => c.send(greeting)],
  ])('that answers with %s loses its connection', async (_, answer) => {
    const client = await provoke(answer);
    expect(client.isOpen).toBe(false);
  });

  it('that answers twice gives the first answer and loses its connection', async () => {
    await using fake = await FakeQmp.listen({
      onCommand: (command, c) => {
        c.reply(command, 1);
        c.reply(command, 2);
      },
    });
    const client = await connectQmp(fake.path, { timeoutMs: 2000 });
    expect(await client.executeRaw('x')).toBe(1);
    expect((await client.closed).error.code).toBe('qmp.protocol');
  });

  it('that answers before it is asked loses its connection', async () => {
    await using fake = await FakeQmp.listen();
    const client = await connectQmp(fake.path, { timeoutMs: 2000 });
    fake.connection.send({ return: {}, id: 2 });
    expect((await client.closed).error.code).toBe('qmp.protocol');
    await expect(client.executeRaw('x')).rejects.toThrow(code('qmp.protocol'));
  });

  it('that sends half a line and falls silent costs one timeout', async () => {
    await using fake = await FakeQmp.listen({ onCommand: (_, c) => c.raw('{"return": {"runn') });
    const client = await connectQmp(fake.path, { timeoutMs: 2000 });
    await expect(client.execute('query-status', undefined, { timeoutMs: 50 })).rejects.toThrow(
      code('qmp.timeout'),
    );
  });

  it('that storms 100000 events is heard in bounded pieces, and its last word is not lost', async () => {
    const storm = 100_000;
    const events = Array.from({ length: storm }, (_, i) =>
      JSON.stringify({
        event: 'RTC_CHANGE',
        data: { offset: i },
        timestamp: { seconds: 1, microseconds: 0 },
      }),
    ).join('\n');
    await using fake = await FakeQmp.listen({
      onCommand: (command, c) => {
        c.raw(`${events}\n`);
        c.reply(command, {});
      },
    });
    const client = await connectQmp(fake.path, { timeoutMs: 2000 });
    const seen: QmpEvent[] = [];
    client.onEvent((event) => seen.push(event));
    const before = performance.now();
    await client.execute('cont', undefined, { timeoutMs: 20_000 });
    const windows = Math.ceil((performance.now() - before) / eventLimits.windowMs) + 1;
    client.close();
    expect(seen.length).toBeLessThanOrEqual(windows * (eventLimits.perWindow + 1));
    expect(seen.reduce((sum, event) => sum + 1 + event.coalesced, 0)).toBe(storm);
    expect(seen.at(-1)?.data['offset']).toBe(storm - 1);
  });

  it('that invents ever new kinds of events fills no more than the fixed room', async () => {
    const kinds = 20_000;
    const events = Array.from({ length: kinds }, (_, i) => JSON.stringify({ event: `E${i}` })).join('\n');
    await using fake = await FakeQmp.listen({
      onCommand: (command, c) => {
        c.raw(`${events}\n`);
        c.reply(command, {});
      },
    });
    const problems: unknown[] = [];
    const onProblem = (error: unknown): number => problems.push(error);
    const client = await connectQmp(fake.path, { timeoutMs: 2000, onProblem });
    let seen = 0;
    client.onEvent(() => seen++);
    const before = performance.now();
    await client.execute('cont', undefined, { timeoutMs: 20_000 });
    client.close();
    const windows = Math.ceil((performance.now() - before) / eventLimits.windowMs) + 1;
    expect(problems[0]).toMatchObject({
      code: 'qmp.protocol',
      reason: expect.stringContaining('dropped') as unknown,
    });
    expect(seen).toBeLessThanOrEqual(windows * (eventLimits.perWindow + eventLimits.heldKinds));
  });

  it.each<[string, FakeBehaviour, string]>([
    ['closes at once', { onConnect: (c) => c.hangUp() }, 'qmp.closed'],
    [
      'closes in the middle of the greeting',
      { onConnect: (c) => (c.raw('{"QMP":'), c.hangUp()) },
      'qmp.closed',
    ],
    ['closes after the greeting', { onConnect: (c) => (c.send(greeting), c.socket.end()) }, 'qmp.closed'],
    ['closes instead of negotiating', { negotiates: false, onCommand: (_, c) => c.hangUp() }, 'qmp.closed'],
    ['never greets', { onConnect: () => undefined }, 'qmp.timeout'],
    ['never negotiates', { negotiates: false }, 'qmp.timeout'],
    ['greets with an event', { onConnect: (c) => c.send({ event: 'STOP' }) }, 'qmp.protocol'],
    ['greets without a version', { onConnect: (c) => c.send({ QMP: {} }) }, 'qmp.protocol'],
    [
      'greets with a version of words',
      { onConnect: (c) => c.send({ QMP: { version: { qemu: { major: 'x' } } } }) },
      'qmp.protocol',
    ],
    [
      'answers before it is asked to negotiate',
      { onConnect: (c) => (c.send(greeting), c.send({ return: {} })) },
      'qmp.protocol',
    ],
    [
      'refuses to negotiate',
      { negotiates: false, onCommand: ({ id }, c) => c.send({ error: { class: 'X', desc: 'no' }, id }) },
      'qmp.failed',
    ],
  ])('that %s is given up in time', async (_, behaviour, wanted) => {
    await using fake = await FakeQmp.listen(behaviour);
    await expect(connectQmp(fake.path, { timeoutMs: 150 })).rejects.toThrow(code(wanted));
  });
});
