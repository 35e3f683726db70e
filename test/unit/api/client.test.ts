/** The client against a daemon that behaves, one that does not, and none. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { connectVireo } from '../../../src/api/client.ts';
import { VirtError } from '../../../src/base/errors.ts';
import { fakeHandlers, startServer } from '../jsonrpc/support.ts';

/** A server that answers every connection with what the test says. */
async function fakeDaemon(onConnection: (socket: Socket) => void): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-client-'));
  const path = join(directory, 's');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}); // clients of these tests leave in the middle
    onConnection(socket);
  });
  await new Promise<void>((resolve) => {
    server.listen(path, resolve);
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
    rmSync(directory, { recursive: true, force: true });
  });
  return path;
}

describe('the client', () => {
  it('calls with typed params and results, many at once', async () => {
    const handlers = fakeHandlers({
      'domain.log': ({ domain, maxBytes }) =>
        Promise.resolve({ text: `${JSON.stringify(domain)} ${maxBytes}` }),
    });
    const client = await (await startServer({ handlers })).client();
    const texts = await Promise.all(
      Array.from(
        { length: 50 },
        async (_, id) => (await client.call('domain.log', { domain: { id: id + 1 } })).text,
      ),
    );
    expect(texts[49]).toBe('{"id":50} 65536');
    expect(await client.call('daemon.ping')).toEqual({});
    await client.close();
  });

  it('sends a large definition at once, though the daemon takes small first messages only', async () => {
    const handlers = fakeHandlers({
      'domain.define': ({ xml }) =>
        Promise.reject(new VirtError('xml.invalid', { wanted: 'count', reason: `${xml.length} characters` })),
    });
    const client = await (await startServer({ handlers })).client();
    const xml = 'é'.repeat(100_000);
    const calls = [1, 2].map(() => client.call('domain.define', { xml }));
    for (const outcome of await Promise.allSettled(calls))
      expect(outcome).toMatchObject({ status: 'rejected', reason: { reason: '100000 characters' } });
    await client.close();
  });

  it('brings errors back as they were thrown', async () => {
    const thrown = new VirtError('domain.busy', {
      wanted: "start domain 'web'",
      reason: "busy: with 'define'",
      hint: 'wait for it',
      details: { job: 'define' },
    });
    const handlers = fakeHandlers({ 'domain.start': () => Promise.reject(thrown) });
    const client = await (await startServer({ handlers })).client();
    const error = await client.call('domain.start', { domain: 'web' }).then(
      () => undefined,
      (caught: unknown) => caught as VirtError,
    );
    expect(error).toBeInstanceOf(VirtError);
    expect(error).toMatchObject({
      code: 'domain.busy',
      wanted: "start domain 'web'",
      reason: "busy: with 'define'",
      hint: 'wait for it',
      message: thrown.message,
      details: { job: 'define', jsonrpcCode: 1025 },
    });
    await client.close();
  });

  it('says what is wrong when there is no daemon', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'vireo-client-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const missing = join(directory, 'missing');
    await expect(connectVireo({ socketPath: missing })).rejects.toMatchObject({
      code: 'daemon.unreachable',
      details: { errno: 'ENOENT' },
    });
    writeFileSync(join(directory, 'file'), '');
    await expect(connectVireo({ socketPath: join(directory, 'file') })).rejects.toMatchObject({
      code: 'daemon.unreachable',
    });
  });

  it.each([
    ['noise', 'hello\n'],
    ['a list', '[]\n'],
    ['an answer to nobody', '{"jsonrpc":"2.0"}\n'],
    ['a result of another form', '{"jsonrpc":"2.0","id":1,"result":{"text":5}}\n'],
    ['the end', ''],
  ])('fails a call with a typed error when the daemon sends %s', async (_, text) => {
    const path = await fakeDaemon((socket) => socket.once('data', () => socket.end(text)));
    const client = await connectVireo({ socketPath: path });
    await expect(client.call('domain.log', { domain: 'a' })).rejects.toBeInstanceOf(VirtError);
    await client.close();
  });

  it('tells why it was refused', async () => {
    const refusal =
      '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"full","data":{"code":"request.busy","reason":"full"}}}\n';
    const path = await fakeDaemon((socket) => socket.end(refusal));
    const client = await connectVireo({ socketPath: path });
    await client.closed;
    await expect(client.call('daemon.ping')).rejects.toMatchObject({ code: 'request.busy' });
  });

  it('gives up after a deadline or when told to, and goes on with later calls', async () => {
    let answer: () => void = () => {};
    const handlers = fakeHandlers({
      'domain.job': () =>
        new Promise<{ job: null }>((resolve) => {
          answer = () => resolve({ job: null });
        }),
    });
    const client = await (await startServer({ handlers })).client();
    await expect(client.call('domain.job', { domain: 'a' }, { timeoutMs: 20 })).rejects.toMatchObject({
      code: 'operation.timeout',
    });
    answer();
    const abort = new AbortController();
    const call = client.call('domain.job', { domain: 'a' }, { signal: abort.signal });
    abort.abort();
    await expect(call).rejects.toMatchObject({ code: 'operation.aborted' });
    expect(await client.call('daemon.ping')).toEqual({});
    await client.close();
  });

  it('fails what is in work when it is closed, and every call afterwards', async () => {
    const handlers = fakeHandlers({ 'domain.job': () => new Promise(() => {}) });
    const client = await (await startServer({ handlers })).client();
    const call = client.call('domain.job', { domain: 'a' });
    const failed = expect(call).rejects.toMatchObject({ code: 'daemon.unreachable' });
    await client.close();
    await failed;
    await expect(client.call('daemon.ping')).rejects.toMatchObject({ code: 'daemon.unreachable' });
  });

  it('reports a daemon that dies during an upgrade', async () => {
    const path = await fakeDaemon((socket) => socket.once('data', () => socket.destroy()));
    const client = await connectVireo({ socketPath: path });
    await expect(client.upgrade('domain.console', { domain: 'a' })).rejects.toMatchObject({
      code: 'daemon.unreachable',
    });
    await client.close();
  });
});
