/** Methods that turn the connection into a byte stream. */
import { Duplex, PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { errorOf, fakeEvents, fakeHandlers, ping, sleep, started, startServer, until } from './support.ts';

const open = (id: number) => ({ jsonrpc: '2.0', id, method: 'domain.console', params: { domain: 'a' } });

/** A console: what is written to it comes out of `input`; what is written to `output` is what the guest prints. */
function fakeConsole() {
  const input = new PassThrough();
  const output = new PassThrough();
  const stream = Duplex.from({ readable: output, writable: input });
  return { input, output, stream };
}

function consoleHandlers(stream: Duplex) {
  return fakeHandlers({
    'domain.console': () => Promise.resolve({ result: { console: 'serial0' }, stream }),
  });
}

describe('an upgrade', () => {
  it('carries bytes both ways after the answer, whatever bytes they are', async () => {
    const { input, output, stream } = fakeConsole();
    const client = await (await startServer({ handlers: consoleHandlers(stream) })).client();
    const { result, stream: remote } = await client.upgrade('domain.console', { domain: 'a' });
    expect(result).toEqual({ console: 'serial0' });
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    remote.write(bytes);
    output.write(bytes);
    expect(await readBytes(input, 256)).toEqual(bytes);
    expect(await readBytes(remote, 256)).toEqual(bytes);
    remote.destroy();
    await until(() => stream.destroyed);
    await client.close();
  });

  it('loses nothing that the guest prints together with the answer', async () => {
    const { output, stream } = fakeConsole();
    output.write('early\n{"jsonrpc"}\n');
    const client = await (await startServer({ handlers: consoleHandlers(stream) })).client();
    const { stream: remote } = await client.upgrade('domain.console', { domain: 'a' });
    await sleep(20);
    output.write('late');
    expect((await readBytes(remote, 22)).toString()).toBe('early\n{"jsonrpc"}\nlate');
    remote.destroy();
    await client.close();
  });

  it('gives bytes that came after the request to the stream', async () => {
    const { input, stream } = fakeConsole();
    const raw = await (await startServer({ handlers: consoleHandlers(stream) })).raw();
    raw.send(`${JSON.stringify(open(1))}\nls\n`);
    expect(await raw.next()).toMatchObject({ id: 1, result: { console: 'serial0' } });
    expect((await readBytes(input, 3)).toString()).toBe('ls\n');
  });

  it('respects a half-close: what the guest prints still arrives', async () => {
    const { input, output, stream } = fakeConsole();
    const client = await (await startServer({ handlers: consoleHandlers(stream) })).client();
    const { stream: remote } = await client.upgrade('domain.console', { domain: 'a' });
    remote.end('quit\n');
    expect((await readBytes(input, 5)).toString()).toBe('quit\n');
    await until(() => input.writableEnded);
    output.end('bye');
    const chunks: Buffer[] = [];
    for await (const chunk of remote) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).toString()).toBe('bye');
    await until(() => stream.destroyed);
    await client.close();
  });

  it('notices a client that half-closed and then went away, though the guest says nothing', async () => {
    const { input, stream } = fakeConsole();
    const rig = await startServer({ handlers: consoleHandlers(stream) });
    const raw = await rig.raw();
    await raw.ask(open(1));
    raw.socket.end();
    await until(() => input.writableEnded);
    await sleep(20);
    expect(stream.destroyed).toBe(false);
    raw.socket.destroy();
    await until(() => stream.destroyed && rig.server.clientCount === 0);
  });

  it('lets the stream go when the client leaves before it has taken the answer', async () => {
    const { stream } = fakeConsole();
    const answer = { result: { console: 'x'.repeat(4 << 20) }, stream }; // more than the socket takes at once
    const handlers = fakeHandlers({ 'domain.console': () => Promise.resolve(answer) });
    const rig = await startServer({ handlers });
    const raw = await rig.raw();
    raw.socket.pause();
    raw.send(`${JSON.stringify(open(1))}\n`);
    await sleep(50);
    expect(stream.destroyed).toBe(false);
    raw.socket.destroy();
    await until(() => stream.destroyed && rig.server.clientCount === 0);
  });

  it('holds the guest back when the client does not read', async () => {
    const { output, stream } = fakeConsole();
    const raw = await (await startServer({ handlers: consoleHandlers(stream) })).raw();
    await raw.ask(open(1));
    raw.socket.pause();
    const chunk = Buffer.alloc(64 * 1024);
    let taken = 0;
    const pump = async () => {
      while (taken < 64 * 1024 * 1024 && output.write(chunk)) {
        taken += chunk.length;
        await sleep(0);
      }
    };
    for (let round = 0; round < 30; round += 1) {
      await pump();
      await sleep(5);
    }
    expect(taken).toBeLessThan(8 * 1024 * 1024);
  });

  it('ends the connection when the guest ends', async () => {
    const { output, stream } = fakeConsole();
    const rig = await startServer({ handlers: consoleHandlers(stream) });
    const raw = await rig.raw();
    await raw.ask(open(1));
    output.end();
    await raw.closed;
    await until(() => rig.server.clientCount === 0);
  });

  it('ends the connection when the stream breaks', async () => {
    const { stream } = fakeConsole();
    const raw = await (await startServer({ handlers: consoleHandlers(stream) })).raw();
    await raw.ask(open(1));
    stream.destroy(new Error('EIO'));
    await raw.closed;
  });

  it('leaves the connection as it was when it fails', async () => {
    const handlers = fakeHandlers({
      'domain.console': () => Promise.reject(new VirtError('domain.inactive', { reason: 'off' })),
    });
    const rig = await startServer({ handlers });
    const raw = await rig.raw();
    expect(errorOf(await raw.ask(open(1))).data['code']).toBe('domain.inactive');
    expect(await raw.ask(ping(2))).toMatchObject({ id: 2 });
    const client = await rig.client();
    await expect(client.upgrade('domain.console', { domain: 'a' })).rejects.toMatchObject({
      code: 'domain.inactive',
    });
    await client.close();
  });

  it('must be alone: not in a batch, not a notification, not beside another request', async () => {
    const { stream } = fakeConsole();
    let release: () => void = () => {};
    const handlers = {
      ...consoleHandlers(stream),
      'domain.job': () =>
        new Promise<{ job: null }>((resolve) => {
          release = () => resolve({ job: null });
        }),
    };
    const raw = await (await startServer({ handlers })).raw();
    const batch = (await raw.ask([open(1)])) as unknown[];
    expect(errorOf(batch[0]).data['code']).toBe('request.unsupported');
    raw.sendLine({ ...open(1), id: undefined });
    raw.sendLine({ jsonrpc: '2.0', id: 2, method: 'domain.job', params: { domain: 'a' } });
    raw.sendLine(open(3));
    expect(errorOf(await raw.next()).data['code']).toBe('request.busy');
    release();
    expect(await raw.next()).toMatchObject({ id: 2 });
    expect(await raw.ask(open(4))).toMatchObject({ id: 4, result: { console: 'serial0' } });
  });

  it('ends the subscriptions of the connection', async () => {
    const { output, stream } = fakeConsole();
    const events = fakeEvents();
    const raw = await (await startServer({ handlers: consoleHandlers(stream), events: events.source })).raw();
    await raw.ask({ jsonrpc: '2.0', id: 1, method: 'event.subscribe' });
    await raw.ask(open(2));
    events.publish(started);
    output.write('"only this"\n');
    expect(await raw.next()).toBe('only this');
  });

  it('lets go of a stream whose client has left meanwhile', async () => {
    const { stream } = fakeConsole();
    let resolveOpen: () => void = () => {};
    const handlers = fakeHandlers({
      'domain.console': async () => {
        await new Promise<void>((resolve) => {
          resolveOpen = resolve;
        });
        return { result: { console: 'serial0' }, stream };
      },
    });
    const rig = await startServer({ handlers });
    const raw = await rig.raw();
    raw.sendLine(open(1));
    await sleep(30);
    raw.socket.destroy();
    await sleep(30);
    resolveOpen();
    await until(() => stream.destroyed);
  });
});

async function readBytes(stream: Duplex, count: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  while (size < count) {
    const chunk = stream.read() as Buffer | null;
    if (chunk === null) await new Promise((resolve) => stream.once('readable', resolve));
    else {
      chunks.push(chunk);
      size += chunk.length;
    }
  }
  return Buffer.concat(chunks);
}
