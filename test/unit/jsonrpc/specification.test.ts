/** JSON-RPC 2.0 to the letter: the examples of section 7 of the specification, and what surrounds them. */
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { errorOf, fakeHandlers, ping, startServer } from './support.ts';

describe('JSON-RPC 2.0', () => {
  it('answers a request with its id, whatever kind of id it is', async () => {
    const raw = await (await startServer()).raw();
    for (const id of [1, 0, -7, 1.5, 'abc', '', null]) {
      expect(await raw.ask(ping(id))).toEqual({ jsonrpc: '2.0', id, result: {} });
    }
  });

  it('gives no answer to a notification, not even to one that fails', async () => {
    const raw = await (await startServer()).raw();
    raw.sendLine({ jsonrpc: '2.0', method: 'daemon.ping' });
    raw.sendLine({ jsonrpc: '2.0', method: 'foobar' });
    raw.sendLine({ jsonrpc: '2.0', method: 'daemon.ping', params: { wrong: 1 } });
    expect(await raw.ask(ping(9))).toEqual({ jsonrpc: '2.0', id: 9, result: {} });
  });

  it('answers an unknown method with -32601', async () => {
    const raw = await (await startServer()).raw();
    const answer = await raw.ask({ jsonrpc: '2.0', method: 'foobar', id: '1' });
    expect(answer).toMatchObject({ jsonrpc: '2.0', id: '1', error: { code: -32_601 } });
  });

  it.each(['constructor', '__proto__', 'toString', 'hasOwnProperty', '', 'rpc.', 'daemon.ping '])(
    'knows no method %j',
    async (method) => {
      const raw = await (await startServer()).raw();
      expect(errorOf(await raw.ask({ jsonrpc: '2.0', method, id: 1 })).code).toBe(-32_601);
    },
  );

  it('answers invalid JSON with -32700 and id null, and goes on', async () => {
    const raw = await (await startServer()).raw();
    raw.send('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]\n');
    expect(await raw.next()).toMatchObject({ jsonrpc: '2.0', id: null, error: { code: -32_700 } });
    expect(await raw.ask(ping(1))).toMatchObject({ id: 1, result: {} });
  });

  it('never echoes what it could not read', async () => {
    const raw = await (await startServer()).raw();
    raw.send('{"password":"hunter2",}\n');
    expect(JSON.stringify(await raw.next())).not.toContain('hunter2');
  });

  it.each([
    ['params of a wrong kind', { jsonrpc: '2.0', method: 1, params: 'bar' }, null],
    ['no version', { id: 4, method: 'daemon.ping' }, 4],
    ['another version', { jsonrpc: '1.0', id: 4, method: 'daemon.ping' }, 4],
    ['no method', { jsonrpc: '2.0', id: 4 }, 4],
    ['an id that is an object', { jsonrpc: '2.0', id: {}, method: 'daemon.ping' }, null],
    ['an id that is an array', { jsonrpc: '2.0', id: [1], method: 'daemon.ping' }, null],
    ['an id that is a boolean', { jsonrpc: '2.0', id: true, method: 'daemon.ping' }, null],
    ['an endless id', { jsonrpc: '2.0', id: 'x'.repeat(257), method: 'daemon.ping' }, null],
    ['params null', { jsonrpc: '2.0', id: 4, method: 'daemon.ping', params: null }, 4],
    ['a number', 1, null],
    ['a string', 'daemon.ping', null],
    ['null', null, null],
    ['true', true, null],
  ])('answers %s with -32600', async (_, message, id) => {
    const raw = await (await startServer()).raw();
    expect(await raw.ask(message)).toMatchObject({ jsonrpc: '2.0', id, error: { code: -32_600 } });
  });

  it('answers an empty batch with one -32600, and each wrong member of a batch with its own', async () => {
    const raw = await (await startServer()).raw();
    expect(await raw.ask([])).toMatchObject({ jsonrpc: '2.0', id: null, error: { code: -32_600 } });
    expect(await raw.ask([1])).toMatchObject([{ id: null, error: { code: -32_600 } }]);
    const three = (await raw.ask([1, 2, 3])) as unknown[];
    expect(three.map((answer) => errorOf(answer).code)).toEqual([-32_600, -32_600, -32_600]);
  });

  it('answers a batch in order, without its notifications', async () => {
    const raw = await (await startServer()).raw();
    const answer = await raw.ask([
      ping('1'),
      { jsonrpc: '2.0', method: 'daemon.ping' },
      ping('2'),
      { foo: 'boo' },
      { jsonrpc: '2.0', method: 'foo.get', params: { name: 'myself' }, id: '5' },
    ]);
    expect(answer).toMatchObject([
      { id: '1', result: {} },
      { id: '2', result: {} },
      { id: null, error: { code: -32_600 } },
      { id: '5', error: { code: -32_601 } },
    ]);
  });

  it('says nothing to a batch of notifications', async () => {
    const raw = await (await startServer()).raw();
    raw.sendLine([
      { jsonrpc: '2.0', method: 'daemon.ping' },
      { jsonrpc: '2.0', method: 'nothing' },
    ]);
    expect(await raw.ask(ping(1))).toMatchObject({ id: 1 });
  });

  it('takes batches of 100 and refuses 101', async () => {
    const raw = await (await startServer()).raw();
    const batch = Array.from({ length: 101 }, (_, id) => ping(id));
    expect(await raw.ask(batch.slice(1))).toHaveLength(100);
    expect(errorOf(await raw.ask(batch))).toMatchObject({
      code: -32_600,
      data: { code: 'request.too-large' },
    });
  });

  it('names every wrong param by its path', async () => {
    const raw = await (await startServer()).raw();
    const params = { name: 'a/b', memoryBytes: '1', vcpus: 0, disks: [{ path: 'relative' }], bogus: 1 };
    const error = errorOf(await raw.ask({ jsonrpc: '2.0', id: 1, method: 'domain.create', params }));
    expect(error.code).toBe(-32_602);
    const { problems } = error.data['details'] as { problems: { path: string }[] };
    const paths = problems.map((problem) => problem.path).sort();
    expect(paths).toEqual(['bogus', 'disks[0].path', 'memoryBytes', 'name', 'vcpus']);
  });

  it('wants params by name', async () => {
    const raw = await (await startServer()).raw();
    const answer = await raw.ask({ jsonrpc: '2.0', id: 1, method: 'daemon.ping', params: [1] });
    expect(errorOf(answer).code).toBe(-32_602);
  });

  it('tells our errors with code, reason, hint and details', async () => {
    const handlers = fakeHandlers({
      'domain.start': () =>
        Promise.reject(
          new VirtError('domain.busy', {
            wanted: "start domain 'a'",
            reason: 'is busy',
            hint: 'wait',
            details: { job: 'x' },
          }),
        ),
    });
    const raw = await (await startServer({ handlers })).raw();
    const answer = await raw.ask({ jsonrpc: '2.0', id: 1, method: 'domain.start', params: { domain: 'a' } });
    expect(errorOf(answer)).toEqual({
      code: 1025,
      message: "cannot start domain 'a': is busy",
      data: { code: 'domain.busy', reason: 'is busy', hint: 'wait', details: { job: 'x' } },
    });
  });

  it('shows a bug as -32603 without its text, and goes on', async () => {
    const handlers = fakeHandlers({
      'domain.start': () => {
        throw new TypeError('secret path /root/x');
      },
    });
    const raw = await (await startServer({ handlers })).raw();
    const answer = await raw.ask({ jsonrpc: '2.0', id: 1, method: 'domain.start', params: { domain: 'a' } });
    expect(errorOf(answer)).toMatchObject({ code: -32_603, data: { code: 'internal.error' } });
    expect(JSON.stringify(answer)).not.toContain('secret');
    expect(await raw.ask(ping(2))).toMatchObject({ id: 2 });
  });

  it('takes a last message without newline from a client that ends its sending', async () => {
    const raw = await (await startServer()).raw();
    raw.socket.end(JSON.stringify(ping(1)));
    expect(await raw.next()).toEqual({ jsonrpc: '2.0', id: 1, result: {} });
    await raw.closed;
  });
});
