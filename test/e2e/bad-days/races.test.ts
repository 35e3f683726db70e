/** Two clients at once on one domain: one wins, the other hears why, and what is left is whole. */
import { randomUUID } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { isVirtError } from '../../../src/base/errors.ts';
import { eventually, qemuProcesses, TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { idleXml, leftovers } from './domains.ts';

/** How a call ended: 'ok' or its error code; anything but a VirtError fails the test. */
async function outcome(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'ok';
  } catch (error) {
    if (!isVirtError(error)) throw error;
    expect(error.reason).not.toBe('');
    return error.code;
  }
}

describeWith(['root', 'qemu-system-x86_64'], 'two clients at once', () => {
  let daemon: TestDaemon;
  let a: VireoClient;
  let b: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start({ args: ['--log-level', 'warn'] });
    [a, b] = [await daemon.connect(), await daemon.connect()];
  });
  afterAll(() => daemon.remove());
  afterEach(async () => {
    for (const domain of (await a.call('domain.list')).domains) {
      if (domain.active) await a.call('domain.destroy', { domain: domain.uuid });
      if (domain.persistent) await a.call('domain.undefine', { domain: domain.uuid });
    }
    await eventually('nothing is left', () => leftovers(daemon.root).length === 0);
    expect(qemuProcesses(daemon.root)).toEqual([]);
    expect(readdirSync(join(daemon.root, 'etc/vireo/domains'))).toEqual([]);
    expect(daemon.stderr.join('')).not.toContain('a bug');
  });

  const define = (client: VireoClient, name = 'web', title = 't') =>
    client.call('domain.define', { xml: idleXml(name, { domain: `<title>${title}</title>` }) });
  const start = (client: VireoClient) => client.call('domain.start', { domain: 'web', paused: true });
  const destroy = (client: VireoClient) => client.call('domain.destroy', { domain: 'web' });
  const undefine = (client: VireoClient) => client.call('domain.undefine', { domain: 'web' });
  const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

  it('start it: one QEMU, and the other is told that it runs', async () => {
    await define(a);
    for (let round = 0; round < 5; round++) {
      const ends = await Promise.all([a, b, a, b].map((client) => outcome(start(client))));
      expect(ends.sort()).toEqual(['domain.active', 'domain.active', 'domain.active', 'ok']);
      expect(qemuProcesses(daemon.root)).toHaveLength(1);
      const stops = await Promise.all([a, b].map((client) => outcome(destroy(client))));
      expect(stops).toContain('ok');
      expect(stops.every((end) => end === 'ok' || end === 'domain.inactive')).toBe(true);
      expect(qemuProcesses(daemon.root)).toEqual([]);
    }
  });

  it('create it: one is there, one is refused', async () => {
    const xml = idleXml('web');
    const ends = await Promise.all(
      [a, b].map((client) => outcome(client.call('domain.create-xml', { xml, paused: true }))),
    );
    expect(ends.sort()).toEqual(['domain.exists', 'ok']);
    expect(qemuProcesses(daemon.root)).toHaveLength(1);
    expect((await a.call('domain.list')).domains).toHaveLength(1);
  });

  it('start and destroy it at any distance in time: it runs or it is off, and everybody knows which', async () => {
    await define(a);
    for (let delay = 0; delay < 60; delay += 4) {
      const starting = outcome(start(a));
      await pause(delay);
      const ended = await outcome(destroy(b));
      const started = await starting;
      expect(['ok', 'domain.inactive'], `destroy after ${delay} ms`).toContain(ended);
      expect(['ok', 'operation.aborted', 'domain.start-failed'], `start, ${delay} ms`).toContain(started);
      const { active } = await b.call('domain.get', { domain: 'web' });
      expect(qemuProcesses(daemon.root), `${delay} ms: ${started}, ${ended}`).toHaveLength(active ? 1 : 0);
      if (ended === 'ok') expect(active).toBe(false);
      if (active) await destroy(a);
    }
  });

  it('define and undefine it: an acknowledged definition is there, in the list and on disk', async () => {
    for (let round = 0; round < 40; round++) {
      await define(a);
      const [gone, defined] = await Promise.all([
        outcome(undefine(a)),
        (async () => {
          await pause(round % 4);
          return outcome(define(b, 'web', `r${round}`));
        })(),
      ]);
      expect(gone).toBe('ok');
      const { domains } = await a.call('domain.list');
      const files = readdirSync(join(daemon.root, 'etc/vireo/domains'));
      if (defined === 'ok') expect(files.length, `round ${round}`).toBe(domains.length);
      else expect(defined).toBe('domain.not-found');
      expect(await outcome(a.call('domain.get', { domain: 'web' }))).toBe(
        domains.length === 1 ? 'ok' : 'domain.not-found',
      );
    }
  });

  it('start and undefine it: it runs as a transient one, or the start finds it gone', async () => {
    for (let round = 0; round < 8; round++) {
      await define(a);
      const [started, gone] = await Promise.all([outcome(start(a)), outcome(undefine(b))]);
      expect(gone).toBe('ok');
      expect(['ok', 'domain.not-found']).toContain(started);
      const { domains } = await a.call('domain.list');
      expect(domains.map(({ active, persistent }) => [active, persistent])).toEqual(
        started === 'ok' ? [[true, false]] : [],
      );
      if (started === 'ok') await destroy(a);
    }
  });

  it('define a transient guest while it ends: the definition that was acknowledged stays', async () => {
    for (let round = 0; round < 15; round++) {
      await a.call('domain.create-xml', { xml: idleXml('web'), paused: true });
      const { xml } = await a.call('domain.xml', { domain: 'web', inactive: true });
      const ending = outcome(destroy(a));
      await pause(round);
      const defined = await outcome(b.call('domain.define', { xml }));
      expect(await ending).toBe('ok');
      expect(defined).toBe('ok');
      expect((await a.call('domain.get', { domain: 'web' })).persistent, `round ${round}`).toBe(true);
      await undefine(b);
    }
  });

  it('give two domains one name: one gets it', async () => {
    await define(a, 'one');
    await define(a, 'two');
    const ends = await Promise.all([
      outcome(a.call('domain.rename', { domain: 'one', name: 'same' })),
      outcome(b.call('domain.rename', { domain: 'two', name: 'same' })),
      outcome(b.call('domain.define', { xml: idleXml('same', { domain: `<uuid>${randomUUID()}</uuid>` }) })),
    ]);
    expect(ends.filter((end) => end === 'ok')).toHaveLength(1);
    expect(ends.filter((end) => end === 'domain.exists')).toHaveLength(2);
    const before = (await a.call('domain.list')).domains.map(({ name, uuid }) => [name, uuid]);
    await a[Symbol.asyncDispose]();
    await b[Symbol.asyncDispose]();
    daemon = await daemon.crashAndRestart();
    [a, b] = [await daemon.connect(), await daemon.connect()];
    expect((await a.call('domain.list')).domains.map(({ name, uuid }) => [name, uuid])).toEqual(before);
  });
});
