import { describe, expect, it } from 'vitest';
import { connectQmp, type QmpClient } from '../../../src/drivers/qemu/qmp/client.ts';
import type { FakeCommand, FakeConnection } from '../../support/fake-qmp.ts';
import { FakeQmp } from '../../support/fake-qmp.ts';

const code = (wanted: string): unknown => expect.objectContaining({ code: wanted });

type Answer = (command: FakeCommand, connection: FakeConnection) => void;

async function connected(onCommand: Answer): Promise<{ fake: FakeQmp; client: QmpClient } & AsyncDisposable> {
  const fake = await FakeQmp.listen({ onCommand });
  const client = await connectQmp(fake.path, { timeoutMs: 2000 });
  return { fake, client, [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose]() };
}

describe('QmpClient', () => {
  it('tells the version of the greeting and negotiates in one short message', async () => {
    await using test = await connected(() => undefined);
    expect(test.client.version).toEqual({ major: 7, minor: 2, micro: 22, package: 'Debian 1:7.2+dfsg-7' });
    expect(test.fake.connection.received).toBe('{"execute":"qmp_capabilities","id":1}');
  });

  it('gives the parsed result of a command', async () => {
    await using test = await connected((command, c) =>
      c.reply(command, { running: true, status: 'running' }),
    );
    expect(await test.client.execute('query-status')).toMatchObject({ running: true, status: 'running' });
  });

  it('matches replies by id, in whatever order they come', async () => {
    const waiting: FakeCommand[] = [];
    await using test = await connected((command, c) => {
      if (waiting.push(command) === 2) for (const one of waiting.toReversed()) c.reply(one, one.execute);
    });
    const replies = await Promise.all([test.client.executeRaw('a'), test.client.executeRaw('b')]);
    expect(replies).toEqual(['a', 'b']);
  });

  it('turns an error reply into qmp.failed with class and description', async () => {
    await using test = await connected((command, c) =>
      c.send({ error: { class: 'DeviceNotFound', desc: "Device 'x' not found" }, id: command.id }),
    );
    await expect(test.client.execute('device_del', { id: 'x' })).rejects.toMatchObject({
      code: 'qmp.failed',
      reason: "Device 'x' not found",
      details: { class: 'DeviceNotFound', command: 'device_del' },
    });
    expect(test.client.isOpen).toBe(true);
  });

  it('gives up a command after its time, drops its late reply, and goes on', async () => {
    const slow: FakeCommand[] = [];
    await using test = await connected((command, c) => {
      if (command.execute === 'stop') slow.push(command);
      else {
        for (const one of slow.splice(0)) c.reply(one, {});
        c.reply(command, {});
      }
    });
    await expect(test.client.execute('stop', undefined, { timeoutMs: 20 })).rejects.toThrow(
      code('qmp.timeout'),
    );
    await test.client.execute('cont');
    await test.client.execute('cont');
    expect(test.client.isOpen).toBe(true);
  });

  it('never gives the id of a command that is still out to another', async () => {
    await using test = await connected((command, c) => {
      if (command.execute === 'x') c.reply(command, {});
    });
    const silent = test.client.executeRaw('silent', undefined, { timeoutMs: 60_000 });
    silent.catch(() => undefined);
    for (let i = 0; i < 1200; i++) await test.client.executeRaw('x');
    const ids = test.fake.connection.commands.filter(({ execute }) => execute === 'x').map(({ id }) => id);
    const silentId = test.fake.connection.commands.find(({ execute }) => execute === 'silent')?.id;
    expect(silentId).toBe(2);
    expect(ids).not.toContain(silentId);
    expect(Math.max(...ids.map(Number))).toBeLessThanOrEqual(999);
  });

  it('refuses the thousandth command that a silent QEMU owes an answer to', async () => {
    await using test = await connected(() => undefined);
    const all = Array.from({ length: 1000 }, () =>
      test.client.executeRaw('x', undefined, { timeoutMs: 60_000 }),
    );
    for (const one of all) one.catch(() => undefined);
    await expect(all[999]).rejects.toThrow(code('qmp.timeout'));
    test.client.close();
    await expect(all[0]).rejects.toThrow(code('qmp.closed'));
  });

  it('refuses a result of the wrong shape, and keeps the connection', async () => {
    await using test = await connected((command, c) => c.reply(command, { running: 'yes', status: 7 }));
    await expect(test.client.execute('query-status')).rejects.toThrow(code('qmp.protocol'));
    expect(test.client.isOpen).toBe(true);
  });

  it('fails what waits when QEMU goes away, and everything after', async () => {
    await using test = await connected((_, c) => c.hangUp());
    await expect(test.client.execute('cont')).rejects.toThrow(code('qmp.closed'));
    await expect(test.client.execute('cont')).rejects.toThrow(code('qmp.closed'));
    expect((await test.client.closed).error.code).toBe('qmp.closed');
  });

  it("passes events on in order, with QEMU's time", async () => {
    await using test = await connected((command, c) => {
      c.send({ event: 'STOP', timestamp: { seconds: 5, microseconds: 250_000 } });
      c.send({ event: 'SHUTDOWN', data: { guest: true }, timestamp: { seconds: -1, microseconds: -1 } });
      c.reply(command, {});
    });
    const seen: unknown[] = [];
    const stop = test.client.onEvent((event) => seen.push(event));
    await test.client.execute('stop');
    expect(seen).toEqual([
      { name: 'STOP', data: {}, seconds: 5.25, coalesced: 0 },
      { name: 'SHUTDOWN', data: { guest: true }, seconds: 0, coalesced: 0 },
    ]);
    stop();
    await test.client.execute('stop');
    expect(seen).toHaveLength(2);
  });

  it('survives a listener that throws', async () => {
    const problems: unknown[] = [];
    await using fake = await FakeQmp.listen({
      onCommand: (command, c) => {
        c.send({ event: 'STOP', timestamp: {} });
        c.reply(command, {});
      },
    });
    const client = await connectQmp(fake.path, {
      timeoutMs: 2000,
      onProblem: (error) => problems.push(error),
    });
    client.onEvent(() => {
      throw new Error('a bug');
    });
    await client.execute('stop');
    expect(problems).toEqual([new Error('a bug')]);
  });
});

describe('connectQmp', () => {
  it('sends what is asked early before the handshake is answered, in order', async () => {
    const early: Promise<unknown>[] = [];
    await using fake = await FakeQmp.listen({
      negotiates: false,
      // All answers together, when the last command is there.
      onCommand: (command, c) => {
        if (command.execute === 'query-chardev')
          for (const one of c.commands) c.reply(one, one === command ? [] : {});
      },
    });
    await connectQmp(fake.path, {
      timeoutMs: 2000,
      early: (client) => early.push(client.execute('query-chardev')),
    });
    expect(fake.connection.commands.map(({ execute }) => execute)).toEqual([
      'qmp_capabilities',
      'query-chardev',
    ]);
    expect(await Promise.all(early)).toEqual([[]]);
  });

  it('fails what was asked early when the handshake fails', async () => {
    const early: Promise<unknown>[] = [];
    await using fake = await FakeQmp.listen({ negotiates: false, onCommand: (_, c) => c.hangUp() });
    const connecting = connectQmp(fake.path, {
      timeoutMs: 2000,
      early: (client) => early.push(client.execute('query-chardev').catch((error: unknown) => error)),
    });
    await expect(connecting).rejects.toThrow(code('qmp.closed'));
    expect(await Promise.all(early)).toEqual([code('qmp.closed')]);
  });

  it('says qmp.closed when nobody listens', async () => {
    await expect(connectQmp('/nonexistent/qmp', { timeoutMs: 500 })).rejects.toThrow(code('qmp.closed'));
  });

  it('refuses a path that the kernel would cut', async () => {
    await expect(connectQmp(`/${'x'.repeat(107)}`, { timeoutMs: 500 })).rejects.toThrow(code('qmp.closed'));
  });

  it('can be cancelled while it waits for the greeting', async () => {
    await using fake = await FakeQmp.listen({ onConnect: () => undefined });
    const signal = AbortSignal.timeout(20);
    await expect(connectQmp(fake.path, { timeoutMs: 5000, signal })).rejects.toThrow(
      code('operation.aborted'),
    );
  });
});
