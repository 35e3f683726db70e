/** Jobs as clients see them, and what becomes of them when daemons die: a start called off, autostart cut short. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { writeBadQemu } from '../support/bad-qemu.ts';
import { eventually, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { idleXml, leftovers } from './bad-days/domains.ts';

const real = '/usr/bin/qemu-system-x86_64';

describeWith(['root', real], 'jobs', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  const directory = mkdtempSync(join(tmpdir(), 'vireo-jobs-'));

  beforeEach(async () => {
    const root = mkdtempSync(join(tmpdir(), 'vireo-'));
    mkdirSync(join(root, 'etc/vireo'), { recursive: true });
    writeFileSync(join(root, 'etc/vireo/vireod.toml'), '[network]\ndefine_default = false\n');
    daemon = await TestDaemon.start({ root });
    client = await daemon.connect();
  });
  afterEach(() => daemon.remove());
  afterAll(() => rmSync(directory, { recursive: true }));

  it('a start that hangs is called off, and nothing of it is left', async () => {
    const program = writeBadQemu(directory, real);
    program.fail('never answers cont');
    const xml = idleXml('bad', { devices: `<emulator>${program.path}</emulator><serial type='null'/>` });
    await client.call('domain.define', { xml });
    const stream = await client.subscribe({ events: ['job.ended'] });
    const other = await daemon.connect();
    const start = other.call('domain.start', { domain: 'bad' }).catch((error: unknown) => error);
    const jobs = async () => (await client.call('job.list', {})).jobs;
    await eventually('the start waits', async () => (await jobs())[0]?.step === 'waiting for QEMU');
    const [job] = await jobs();
    expect(job).toMatchObject({ job: 'start', object: { type: 'domain', name: 'bad' }, cancellable: true });
    const askedAt = performance.now();
    expect(await client.call('job.cancel', { id: job?.id ?? '' })).toMatchObject({ cancelling: true });
    expect(await start).toMatchObject({ code: 'operation.aborted' });
    expect(performance.now() - askedAt).toBeLessThan(5000);
    expect(await jobs()).toEqual([]);
    for await (const event of stream) {
      expect(event).toMatchObject({ id: job?.id, error: { code: 'operation.aborted' } });
      break;
    }
    expect((await client.call('domain.get', { domain: 'bad' })).state).toBe('shutoff');
    expect(qemuProcesses(daemon.root)).toEqual([]);
    expect(leftovers(daemon.root)).toEqual([]);
  });

  it('autostart that a crash cut short is finished by the next daemon, and nothing is started twice', async () => {
    const names = ['a', 'b', 'c', 'd'];
    for (const name of names) {
      await client.call('domain.define', { xml: idleXml(name) });
      await client.call('domain.set-autostart', { domain: name, autostart: true });
    }
    const running = async () =>
      (await client.call('domain.list', { active: true })).domains.map(({ name }) => name);
    // As at boot: nothing was started yet in this life of the host.
    await daemon.end();
    rmSync(join(daemon.root, 'run/vireo/autostarted'));
    daemon = await TestDaemon.start({ root: daemon.root });
    client = await daemon.connect();
    await eventually('the first guest runs', async () => (await running()).length > 0);
    await daemon.end('SIGKILL');
    daemon = await TestDaemon.start({ root: daemon.root });
    client = await daemon.connect();
    await eventually('all run', async () => (await running()).length === names.length, 30_000);
    await client.call('domain.destroy', { domain: 'b' });
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    expect(await running()).toEqual(['a', 'c', 'd']);
    expect(qemuProcesses(daemon.root)).toHaveLength(3);
  });
});
