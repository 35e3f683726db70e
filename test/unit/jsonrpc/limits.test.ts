/** What one client may take: requests in work, queued messages, time, connections (docs/security.md, class D). */
import { describe, expect, it } from 'vitest';
import type { Handlers } from '../../../src/daemon/frontends/jsonrpc/handlers.ts';
import {
  errorOf,
  fakeEvents,
  fakeHandlers,
  ping,
  RawClient,
  sleep,
  started,
  startServer,
  until,
} from './support.ts';

/** Handlers whose `domain.wait` ends when told; they count how many are in work. */
function slowHandlers() {
  const state = { inWork: 0, most: 0, begun: 0, aborted: 0 };
  const release: (() => void)[] = [];
  const wait = async (_: unknown, context: { signal: AbortSignal }) => {
    state.begun += 1;
    state.inWork += 1;
    state.most = Math.max(state.most, state.inWork);
    const onAbort = () => (state.aborted += 1);
    context.signal.addEventListener('abort', onAbort, { once: true });
    await new Promise<void>((resolve) => {
      release.push(resolve);
    });
    context.signal.removeEventListener('abort', onAbort);
    state.inWork -= 1;
    return {};
  };
  return {
    state,
    handlers: fakeHandlers({ 'domain.wait': wait as unknown as Handlers['domain.wait'] }),
    releaseAll: () => {
      for (const resolve of release.splice(0)) resolve();
    },
  };
}

const waitCall = (id: number) => ({
  jsonrpc: '2.0',
  id,
  method: 'domain.wait',
  params: { domain: 'a', until: 'shutoff' },
});

describe('limits of a client', () => {
  it('works on at most 5 of 10,000 pipelined requests at once, and does not read on', async () => {
    const slow = slowHandlers();
    const rig = await startServer({ handlers: slow.handlers });
    const raw = await rig.raw();
    const lines = Array.from({ length: 10_000 }, (_, id) => `${JSON.stringify(waitCall(id))}\n`);
    raw.send(lines.join(''));
    await until(() => slow.state.begun === 5);
    await sleep(50);
    expect(slow.state.begun).toBe(5);
    // What the daemon does not read stays with the client.
    expect(raw.socket.writableLength).toBeGreaterThan(100_000);
    while (raw.waiting < 10_000) {
      slow.releaseAll();
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    expect(slow.state.most).toBe(5);
  });

  it('lets other clients in while one has all its requests in work', async () => {
    const slow = slowHandlers();
    const rig = await startServer({ handlers: slow.handlers });
    const greedy = await rig.raw();
    for (let id = 0; id < 20; id += 1) greedy.sendLine(waitCall(id));
    await until(() => slow.state.begun === 5);
    expect(await (await rig.raw()).ask(ping(1))).toMatchObject({ id: 1 });
    slow.releaseAll();
  });

  it('counts a batch as one request, and runs its members one after another', async () => {
    const slow = slowHandlers();
    const raw = await (await startServer({ handlers: slow.handlers })).raw();
    raw.sendLine([waitCall(1), waitCall(2), waitCall(3)]);
    for (let count = 1; count <= 3; count += 1) {
      await until(() => slow.state.begun === count);
      await sleep(5);
      expect(slow.state.inWork).toBe(1);
      slow.releaseAll();
    }
    expect(await raw.next()).toHaveLength(3);
  });

  it('cuts a subscriber that does not read, when 4 MiB wait, and keeps its memory bounded', async () => {
    const events = fakeEvents();
    const rig = await startServer({ events: events.source });
    const lazy = await rig.raw();
    await lazy.ask({ jsonrpc: '2.0', id: 1, method: 'event.subscribe' });
    const attentive = await rig.raw();
    await attentive.ask({
      jsonrpc: '2.0',
      id: 1,
      method: 'event.subscribe',
      params: { events: ['domain.stopped'] },
    });
    lazy.socket.pause();
    const before = process.memoryUsage().rss;
    let sent = 0;
    while (rig.server.clientCount === 2 && sent < 1_000_000) {
      for (let burst = 0; burst < 1000; burst += 1) events.publish(started);
      sent += 1000;
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    }
    expect(rig.server.clientCount).toBe(1);
    expect(sent).toBeLessThan(50_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
    expect(await attentive.ask(ping(2))).toMatchObject({ id: 2 });
  });

  it('cuts a subscriber when too many messages wait', async () => {
    const events = fakeEvents();
    const rig = await startServer({ events: events.source, limits: { queueMessages: 100 } });
    const lazy = await rig.raw();
    await lazy.ask({ jsonrpc: '2.0', id: 1, method: 'event.subscribe' });
    lazy.socket.pause();
    for (let count = 0; count < 3000; count += 1) events.publish(started);
    await until(() => rig.server.clientCount === 0);
  });

  it('begins no further request while a client does not take its answers, and goes on when it does', async () => {
    let served = 0;
    const handlers = fakeHandlers({
      'domain.xml': () => {
        served += 1;
        return Promise.resolve({ xml: 'x'.repeat(1024 * 1024) });
      },
    });
    const raw = await (await startServer({ handlers })).raw();
    raw.socket.pause();
    for (let id = 0; id < 50; id += 1)
      raw.sendLine({ jsonrpc: '2.0', id, method: 'domain.xml', params: { domain: 'a' } });
    await until(() => served >= 2);
    await sleep(50);
    expect(served).toBeLessThanOrEqual(7);
    raw.socket.resume();
    await until(() => raw.waiting === 50);
  });

  it('cuts a connection that says nothing, but not one that has spoken', async () => {
    const rig = await startServer({ limits: { firstMessageMs: 50 } });
    const spoken = await rig.raw();
    await spoken.ask(ping(1));
    const silent = await rig.raw();
    const babbling = await rig.raw();
    babbling.send('nonsense\n');
    await Promise.all([silent.closed, babbling.closed]);
    expect(await spoken.ask(ping(2))).toMatchObject({ id: 2 });
  });

  it('aborts what a client waits for when it leaves, also when it had half-closed before', async () => {
    const slow = slowHandlers();
    const rig = await startServer({ handlers: slow.handlers });
    const leaving = await rig.raw();
    leaving.sendLine(waitCall(1));
    await until(() => slow.state.begun === 1);
    leaving.socket.destroy();
    await until(() => slow.state.aborted === 1);
    const half = await rig.raw();
    half.socket.end(`${JSON.stringify(waitCall(1))}\n`);
    await until(() => slow.state.begun === 2);
    await sleep(50);
    expect(slow.state.aborted).toBe(1);
    half.socket.destroy();
    await until(() => slow.state.aborted === 2);
    slow.releaseAll();
  });

  it('notices that a client has left whose socket it does not read', async () => {
    const slow = slowHandlers();
    const rig = await startServer({ handlers: slow.handlers });
    const raw = await rig.raw();
    for (let id = 0; id < 10; id += 1) raw.sendLine(waitCall(id));
    await until(() => slow.state.begun === 5);
    raw.socket.destroy();
    await until(() => slow.state.aborted === 5 && rig.server.clientCount === 0);
    expect(slow.state.begun).toBe(5);
    slow.releaseAll();
  });

  it('answers a client that half-closes while its request is in work', async () => {
    const slow = slowHandlers();
    const raw = await (await startServer({ handlers: slow.handlers })).raw();
    raw.socket.end(`${JSON.stringify(waitCall(4))}\n`);
    await until(() => slow.state.begun === 1);
    await sleep(20);
    slow.releaseAll();
    expect(await raw.next()).toMatchObject({ id: 4, result: {} });
    await raw.closed;
  });

  it('refuses a client too many with an error, and takes one when another has left', async () => {
    const rig = await startServer({
      maxClients: 3,
      peerOf: () => ({ uid: process.getuid?.() ?? 0, gid: 0, pid: 1 }),
      mode: 'system',
    });
    const clients = [await rig.raw(), await rig.raw(), await rig.raw()];
    for (const client of clients) await client.ask(ping(1));
    if (process.getuid?.() === 0) {
      // Root has a reserve: ten more.
      for (let count = 0; count < 10; count += 1) await (await rig.raw()).ask(ping(1));
    }
    const refused = await rig.raw();
    expect(errorOf(await refused.next()).data['code']).toBe('request.busy');
    await refused.closed;
  });

  it('keeps places for root, and cuts silent strangers first', async () => {
    let uid = 1000;
    const rig = await startServer({ maxClients: 2, mode: 'system', peerOf: () => ({ uid, gid: 0, pid: 1 }) });
    const silent = await rig.raw();
    const first = await rig.raw();
    await first.ask(ping(1));
    const second = await rig.raw();
    await second.ask(ping(1));
    await silent.closed;
    expect(errorOf(await (await rig.raw()).next()).data['code']).toBe('request.busy');
    uid = 0;
    expect(await (await rig.raw()).ask(ping(1))).toMatchObject({ id: 1 });
    uid = 1000;
    expect(errorOf(await (await rig.raw()).next()).data['code']).toBe('request.busy');
  });

  it('takes only its own user and root in a session', async () => {
    let uid = process.getuid?.() ?? 0;
    const rig = await startServer({ peerOf: () => ({ uid, gid: 0, pid: 1 }) });
    expect(await (await rig.raw()).ask(ping(1))).toMatchObject({ id: 1 });
    uid = 4242;
    expect(errorOf(await (await rig.raw()).next()).data['code']).toBe('access.denied');
  });

  it.each(['requests', 'a batch'])(
    'lets others in between %s of a client that sends a hundred at once',
    async (kind) => {
      let answered = 0;
      let late: number | undefined;
      const handlers = fakeHandlers({
        // Busy for some milliseconds each, and then there at once.
        'daemon.ping': () => {
          const until = performance.now() + 3;
          while (performance.now() < until);
          answered += 1;
          return Promise.resolve({});
        },
        'domain.wait': (() => {
          late = answered;
          return Promise.resolve({});
        }) as unknown as Handlers['domain.wait'],
      });
      const rig = await startServer({ handlers });
      const [greedy, other] = [await rig.raw(), await rig.raw()];
      const hundred = Array.from({ length: 100 }, (_, id) => ping(id));
      if (kind === 'requests') greedy.send(hundred.map((one) => `${JSON.stringify(one)}\n`).join(''));
      else greedy.sendLine(hundred);
      other.sendLine(waitCall(1));
      await until(() => answered === 100);
      expect(late).toBeLessThan(50);
    },
  );

  it('knows its peer by SO_PEERCRED', async () => {
    const peers: unknown[] = [];
    const handlers = fakeHandlers({
      'daemon.ping': (_, { peer }) => {
        peers.push(peer);
        return Promise.resolve({});
      },
    });
    const raw = await (await startServer({ handlers })).raw();
    await raw.ask(ping(1));
    expect(peers).toEqual([{ uid: process.getuid?.(), gid: process.getgid?.(), pid: process.pid }]);
  });

  it('survives a thousand clients that come and go at random points', async () => {
    const rig = await startServer();
    const text = `${JSON.stringify(ping(1))}\n`;
    for (let round = 0; round < 100; round += 1) {
      const clients = await Promise.all(Array.from({ length: 10 }, () => RawClient.open(rig.path)));
      clients.forEach((client, index) => {
        client.send(text.slice(0, (index * 7 + round) % (text.length + 1)));
        client.socket.destroy();
      });
    }
    await until(() => rig.server.clientCount === 0);
    expect(await (await rig.raw()).ask(ping(1))).toMatchObject({ id: 1 });
  });
});

describe('the end of the daemon', () => {
  it('answers what is in work, refuses what is new, and closes', async () => {
    const slow = slowHandlers();
    const rig = await startServer({ handlers: slow.handlers });
    const raw = await rig.raw();
    raw.sendLine(waitCall(1));
    await until(() => slow.state.begun === 1);
    const closed = rig.server.close(5000);
    raw.sendLine(ping(2));
    expect(errorOf(await raw.next()).data['code']).toBe('daemon.stopping');
    slow.releaseAll();
    expect(await raw.next()).toMatchObject({ id: 1, result: {} });
    await closed;
    await raw.closed;
  });

  it('does not wait for ever for what is in work', async () => {
    const slow = slowHandlers();
    const rig = await startServer({ handlers: slow.handlers });
    const raw = await rig.raw();
    raw.sendLine(waitCall(1));
    await until(() => slow.state.begun === 1);
    const startedAt = performance.now();
    await rig.server.close(100);
    expect(performance.now() - startedAt).toBeLessThan(2000);
    expect(slow.state.aborted).toBe(1);
    slow.releaseAll();
  });
});
