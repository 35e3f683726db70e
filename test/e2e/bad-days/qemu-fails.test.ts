/** QEMU missing, dying or hanging at each step of a start and in the middle of its life. */
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { type Failure, lastWords, writeBadQemu } from '../../support/bad-qemu.ts';
import { commandLine, eventually, qemuProcesses, TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { collect, idleXml, leftovers } from './domains.ts';

const real = '/usr/bin/qemu-system-x86_64';

/** Processes of the program in QEMU's place. */
function programs(directory: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => commandLine(pid).some((word) => word.startsWith(`${directory}/`)));
}

describeWith(['root', real], 'a QEMU that fails', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let directory: string;
  let program: ReturnType<typeof writeBadQemu>;
  /** What a start takes here and now, with no QEMU to wait for. */
  let daemonStartMs = 0;
  beforeAll(async () => {
    const root = mkdtempSync(join(tmpdir(), 'vireo-'));
    mkdirSync(join(root, 'etc/vireo'), { recursive: true });
    writeFileSync(
      join(root, 'etc/vireo/vireod.toml'),
      '[qemu]\nstart_timeout_seconds = 3\ncommand_timeout_seconds = 2\nstop_grace_seconds = 5\n[network]\ndefine_default = false\n',
    );
    directory = mkdtempSync(join(tmpdir(), 'vireo-bad-'));
    program = writeBadQemu(directory, real);
    const startedAt = performance.now();
    daemon = await TestDaemon.start({ root });
    daemonStartMs = performance.now() - startedAt;
    client = await daemon.connect();
    await client.call('domain.define', { xml: badXml('bad') });
    await client.call('domain.define', { xml: idleXml('other') });
    await client.call('domain.start', { domain: 'other' });
  });
  afterAll(async () => {
    await daemon.remove();
    rmSync(directory, { recursive: true });
  });
  afterEach(async () => {
    expect((await client.call('domain.get', { domain: 'other' })).state).toBe('running');
  });

  const badXml = (name: string) =>
    idleXml(name, { devices: `<emulator>${program.path}</emulator><serial type='null'/>` });
  const others = () => qemuProcesses(daemon.root);

  const failures: readonly [Failure, boolean][] = [
    ['ends at once', true],
    ['never greets', false],
    ['ends after the greeting', true],
    ['ends at cont', true],
    ['refuses cont', true],
    ['never answers cont', false],
    ['greets with noise', false],
    ['floods', false],
  ];
  it.each(failures)('and %s: a clear error in bounded time, and nothing is left', async (failure, speaks) => {
    program.fail(failure);
    const seen = await collect(client);
    const startedAt = performance.now();
    const error = await client.call('domain.start', { domain: 'bad' }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(performance.now() - startedAt).toBeLessThan(8000);
    expect(error).toMatchObject({ code: 'domain.start-failed' });
    if (speaks) expect(String(error)).toContain(lastWords);
    expect(await client.call('domain.get', { domain: 'bad' })).toMatchObject({
      state: 'shutoff',
      reason: 'failed',
      active: false,
      job: null,
    });
    expect(others()).toHaveLength(1);
    expect(programs(directory)).toEqual([]);
    expect(leftovers(daemon.root)).toHaveLength(2);
    expect(seen.filter(({ event }) => event.startsWith('domain.'))).toEqual([]);
    await expect(client.call('domain.create-xml', { xml: badXml('bad2') })).rejects.toMatchObject({
      code: 'domain.start-failed',
    });
    await expect(client.call('domain.get', { domain: 'bad2' })).rejects.toMatchObject({
      code: 'domain.not-found',
    });
  });

  it('is called off by destroy while it hangs in its start', async () => {
    program.fail('never greets');
    const starting = client.call('domain.start', { domain: 'bad' }).then(
      () => undefined,
      (error: unknown) => error,
    );
    await eventually(
      'the start',
      async () => (await client.call('domain.job', { domain: 'bad' })).job?.name === 'start',
    );
    await eventually('the process', () => programs(directory).length > 0);
    const startedAt = performance.now();
    await client.call('domain.destroy', { domain: 'bad' });
    expect(performance.now() - startedAt).toBeLessThan(2000);
    expect(await starting).toMatchObject({ code: 'operation.aborted' });
    expect(programs(directory)).toEqual([]);
    expect(leftovers(daemon.root)).toHaveLength(2);
  });

  it('or is not there, or no QEMU at all: the error names the path', async () => {
    await client.call('domain.define', { xml: badXml('good') });
    renameSync(program.path, `${program.path}.away`);
    await expect(client.call('domain.start', { domain: 'good' })).rejects.toMatchObject({
      code: 'qemu.missing',
      message: expect.stringContaining(program.path),
    });
    await expect(client.call('domain.define', { xml: badXml('fresh') })).rejects.toMatchObject({
      code: 'qemu.missing',
    });
    writeFileSync(program.path, '#!/bin/sh\necho "no QEMU here" >&2\nexit 3\n', { mode: 0o755 });
    await expect(client.call('domain.start', { domain: 'good' })).rejects.toMatchObject({
      code: 'qemu.probe-failed',
      message: expect.stringContaining('no QEMU here'),
    });
    rmSync(program.path);
    renameSync(`${program.path}.away`, program.path);
    await client.call('domain.start', { domain: 'good', paused: true });
    await client.call('domain.destroy', { domain: 'good' });
  });

  it('stops by a signal: queries answer at once, others are served, and destroy ends it within 15 s', async () => {
    await client.call('domain.define', { xml: idleXml('hung') });
    await client.call('domain.start', { domain: 'hung' });
    const { pid } = await client.call('domain.get', { domain: 'hung' });
    process.kill(pid ?? 0, 'SIGSTOP');
    const suspending = client.call('domain.suspend', { domain: 'hung' }).then(
      () => undefined,
      (error: unknown) => error,
    );
    const other = await daemon.connect();
    for (let round = 0; round < 20; round++) {
      const startedAt = performance.now();
      await other.call('domain.get', { domain: 'hung' });
      await other.call('domain.list');
      await other.call('domain.xml', { domain: 'hung' });
      expect(performance.now() - startedAt).toBeLessThan(500);
    }
    await other.call('domain.suspend', { domain: 'other' });
    await other.call('domain.resume', { domain: 'other' });
    expect(await suspending).toMatchObject({ code: 'qmp.timeout' });
    const startedAt = performance.now();
    await other.call('domain.destroy', { domain: 'hung' });
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    expect(await other.call('domain.get', { domain: 'hung' })).toMatchObject({
      state: 'shutoff',
      reason: 'destroyed',
    });
    expect(others()).toHaveLength(1);
  });

  it('stops by a signal: a restart of the daemon waits no longer than 6 s for it, and takes it over when it goes on', async () => {
    await client.call('domain.define', { xml: idleXml('hung') });
    await client.call('domain.start', { domain: 'hung' });
    const { pid } = await client.call('domain.get', { domain: 'hung' });
    process.kill(pid ?? 0, 'SIGSTOP');
    await client[Symbol.asyncDispose]();
    await daemon.end('SIGKILL');
    const startedAt = performance.now();
    daemon = await TestDaemon.start({ root: daemon.root });
    expect(performance.now() - startedAt).toBeLessThan(6000 + 2 * daemonStartMs);
    client = await daemon.connect();
    expect(await client.call('domain.get', { domain: 'hung' })).toMatchObject({ active: true, pid });
    process.kill(pid ?? 0, 'SIGCONT');
    await eventually(
      'it runs again',
      async () => (await client.call('domain.get', { domain: 'hung' })).state === 'running',
    );
    await client.call('domain.suspend', { domain: 'hung' });
    await client.call('domain.destroy', { domain: 'hung' });
  });

  it.each(['SIGKILL', 'SIGSEGV', 'SIGABRT'] as const)(
    'dies of %s: within 2 s it is shut off as crashed, with events, and nothing is left',
    async (signal) => {
      await client.call('domain.define', { xml: idleXml('dies') });
      await client.call('domain.start', { domain: 'dies' });
      const { pid } = await client.call('domain.get', { domain: 'dies' });
      const seen = await collect(client);
      process.kill(pid ?? 0, signal);
      const startedAt = performance.now();
      await client.call('domain.wait', { domain: 'dies', until: 'shutoff', timeoutMs: 2000 });
      expect(performance.now() - startedAt).toBeLessThan(2000);
      expect(await client.call('domain.get', { domain: 'dies' })).toMatchObject({
        state: 'shutoff',
        reason: 'crashed',
      });
      await eventually('the events', () => seen.some(({ event }) => event === 'domain.stopped'), 2000);
      expect(seen.filter(({ event }) => event.startsWith('domain.')).map(({ event }) => event)).toEqual([
        'domain.crashed',
        'domain.stopped',
      ]);
      expect(leftovers(daemon.root)).toHaveLength(2);
      expect(others()).toHaveLength(1);
      await client.call('domain.start', { domain: 'dies', paused: true });
      await client.call('domain.destroy', { domain: 'dies' });
    },
  );

  it('dies as a child of an earlier daemon, after a restart: noticed as fast', async () => {
    await client.call('domain.define', { xml: idleXml('dies') });
    await client.call('domain.start', { domain: 'dies' });
    await client[Symbol.asyncDispose]();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    const { pid } = await client.call('domain.get', { domain: 'dies' });
    process.kill(pid ?? 0, 'SIGKILL');
    await client.call('domain.wait', { domain: 'dies', until: 'shutoff', timeoutMs: 2000 });
    expect(await client.call('domain.get', { domain: 'dies' })).toMatchObject({ reason: 'crashed' });
  });
});
