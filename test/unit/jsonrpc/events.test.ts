/** Subscriptions: filters, order, numbers, and their end. */
import { describe, expect, it } from 'vitest';
import type { PublishedEvent } from '../../../src/api/index.ts';
import {
  EventFanout,
  matchesFilter,
  Subscriptions,
} from '../../../src/daemon/frontends/jsonrpc/subscriptions.ts';
import { fakeEvents, fakeHandlers, ping, someDomain, started, startServer } from './support.ts';

const other = { uuid: 'ffffffff-4f50-4a61-8b72-93a4b5c6d7e8', name: 'db', id: null };
const stopped: PublishedEvent = { event: 'domain.stopped', domain: other, reason: 'shutdown' };
const jobEnded: PublishedEvent = {
  event: 'job.ended',
  id: 'x-1',
  object: { type: 'domain', uuid: someDomain.uuid, name: someDomain.name, pool: null },
  domain: someDomain,
  job: 'start',
  step: null,
  done: null,
  total: null,
  unit: null,
  durationMs: 3,
  error: null,
};
const renamed: PublishedEvent = { event: 'domain.renamed', domain: someDomain, previousName: 'old' };
const quarantined: PublishedEvent = {
  event: 'domain.quarantined',
  file: '/q',
  reason: 'torn',
  name: null,
  uuid: other.uuid,
};

const networkStarted: PublishedEvent = {
  event: 'network.started',
  network: { uuid: '11111111-4f50-4a61-8b72-93a4b5c6d7e8', name: 'web' },
};

describe('a filter', () => {
  it.each([
    [{}, [started, networkStarted]],
    [{ events: ['network.*' as const] }, [networkStarted]],
    [{ domains: ['web'] }, [started]],
    [{ networks: ['web'] }, [networkStarted]],
    [{ networks: ['11111111-4F50-4A61-8B72-93A4B5C6D7E8'] }, [networkStarted]],
    [{ networks: ['web'], domains: ['web'] }, [started, networkStarted]],
    [{ networks: ['other'], domains: ['other'] }, []],
  ])('%j tells networks and domains of one name apart', (filter, expected) => {
    expect([started, networkStarted].filter((event) => matchesFilter(event, filter))).toEqual(expected);
  });

  it.each([
    [{}, [started, stopped, jobEnded, renamed, quarantined]],
    [{ events: ['domain.started' as const] }, [started]],
    [{ events: ['job.*' as const] }, [jobEnded]],
    [{ events: ['domain.*' as const] }, [started, stopped, renamed, quarantined]],
    [{ domains: ['web'] }, [started, jobEnded, renamed]],
    [{ domains: ['old'] }, [renamed]],
    [{ domains: [someDomain.uuid.toUpperCase()] }, [started, jobEnded, renamed]],
    [{ domains: [{ id: 3 }] }, [started, jobEnded, renamed]],
    [{ domains: [other.uuid] }, [stopped, quarantined]],
    [{ domains: ['db'], events: ['job.*' as const] }, []],
  ])('%j lets the right events through', (filter, expected) => {
    const all = [started, stopped, jobEnded, renamed, quarantined];
    expect(all.filter((event) => matchesFilter(event, filter))).toEqual(expected);
  });
});

describe('subscriptions', () => {
  it('are limited in number', () => {
    const subscriptions = new Subscriptions();
    for (let count = 0; count < 100; count += 1) subscriptions.add({});
    expect(() => subscriptions.add({})).toThrow(expect.objectContaining({ code: 'request.too-large' }));
  });

  it('format an event once for all', () => {
    const bus = fakeEvents();
    const fanout = new EventFanout(bus.source);
    const seen: unknown[] = [];
    fanout.add((ready) => seen.push(ready));
    fanout.add((ready) => seen.push(ready));
    bus.publish(started);
    expect(seen[0]).toBe(seen[1]);
    fanout.close();
    bus.publish(started);
    expect(seen).toHaveLength(2);
  });
});

describe('notifications', () => {
  it('carry subscription, number, time and payload, after the answer to the subscription', async () => {
    const bus = fakeEvents();
    const raw = await (await startServer({ events: bus.source })).raw();
    expect(await raw.ask({ jsonrpc: '2.0', id: 1, method: 'event.subscribe' })).toMatchObject({
      result: { subscription: 's1' },
    });
    bus.publish(started);
    bus.publish(stopped);
    expect(await raw.next()).toEqual({
      jsonrpc: '2.0',
      method: 'event',
      params: {
        subscription: 's1',
        event: 'domain.started',
        sequence: 1,
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as string,
        domain: someDomain,
        reason: 'booted',
      },
    });
    expect(await raw.next()).toMatchObject({ params: { event: 'domain.stopped', sequence: 2 } });
  });

  it('refuse a name that is no event', async () => {
    const raw = await (await startServer()).raw();
    const answer = await raw.ask({
      jsonrpc: '2.0',
      id: 1,
      method: 'event.subscribe',
      params: { events: ['domain.exploded'] },
    });
    expect(answer).toMatchObject({ error: { code: -32_602 } });
  });

  it('reach an async iterator of the client, which ends its subscription when it is left', async () => {
    const bus = fakeEvents();
    const ended: string[] = [];
    const handlers = fakeHandlers({
      'event.unsubscribe': ({ subscription }, { connection }) => {
        ended.push(subscription);
        connection.unsubscribe(subscription);
        return Promise.resolve({});
      },
    });
    const client = await (await startServer({ events: bus.source, handlers })).client();
    const stream = await client.subscribe({ domains: ['web'] });
    for (const event of [started, stopped, jobEnded]) bus.publish(event);
    const names: string[] = [];
    for await (const notification of stream) {
      names.push(notification.event);
      if (names.length === 2) break;
    }
    expect(names).toEqual(['domain.started', 'job.ended']);
    expect(ended).toEqual(['s1']);
    await client.close();
  });

  it('end with an error when the daemon goes', async () => {
    const rig = await startServer();
    const client = await rig.client();
    const stream = await client.subscribe();
    const failed = expect(stream.next()).rejects.toMatchObject({ code: 'daemon.unreachable' });
    await rig.server.close(10);
    await failed;
    await client.close();
  });

  it('do not disturb answers', async () => {
    const bus = fakeEvents();
    const raw = await (await startServer({ events: bus.source })).raw();
    await raw.ask({ jsonrpc: '2.0', id: 1, method: 'event.subscribe', params: { events: ['job.*'] } });
    bus.publish(started);
    expect(await raw.ask(ping(2))).toMatchObject({ id: 2 });
  });
});
