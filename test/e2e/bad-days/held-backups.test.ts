/** Backups in the middle of which a signal holds QEMU: they go on with it, and calling them off is told of in time, and obeyed. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { eventually, qemuProcesses, type TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { outcome, signal, startImpatient } from './impatient.ts';

const run = promisify(execFile);

describeWith(['root', 'qemu-system-x86_64', 'qemu-img', 'qemu-io'], 'a backup whose QEMU is held', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  const path = (name: string) => join(daemon.root, name);
  const image = (name: string) => path(`${name}.qcow2`);

  beforeAll(async () => {
    daemon = await startImpatient();
    client = await daemon.connect();
    for (const name of ['push', 'pull']) {
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image(name), '8M']);
      execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -q -P 7 1M 3M', image(name)]);
      const xml = `<domain type='qemu'><name>${name}</name><memory unit='MiB'>16</memory><os><type machine='pc'>hvm</type></os>
        <devices><disk type='file'><driver name='qemu' type='qcow2'/><source file='${image(name)}'/>
        <target dev='vda' bus='virtio'/></disk></devices></domain>`;
      await client.call('domain.define', { xml });
      await client.call('domain.start', { domain: name });
    }
  });
  afterAll(async () => {
    all('SIGCONT');
    await client?.close();
    await daemon?.remove();
  });

  const all = (name: NodeJS.Signals) => {
    for (const pid of qemuProcesses(daemon.root)) signal(pid, name);
  };
  const backups = async () => (await client.call('backup.list', { directory: path('store') })).backups;
  const litter = () => readdirSync(path('store/push')).filter((name) => name.startsWith('.'));
  const inWork = async () => (await client.call('job.list', {})).jobs.filter(({ job }) => job === 'backup');

  /** Both in the middle, and held there. */
  async function begin() {
    const xml = `<domainbackup mode='pull'><server transport='unix' socket='${path('nbd')}'/>
      <disks><disk name='vda' type='file'><scratch file='${path('scratch')}'/></disk></disks></domainbackup>`;
    await client.call('backup.begin', { domain: 'pull', xml });
    const slow = { domain: 'push', directory: path('store'), mode: 'full', bytesPerSecond: 1 << 20 } as const;
    const pushed = outcome(client.call('backup.create', slow));
    await eventually('a backup in the middle', async () =>
      (await inWork()).some(({ done }) => (done ?? 0) > 0),
    );
    expect(await inWork()).toHaveLength(2);
    all('SIGSTOP');
    return { pushed };
  }
  /** Nothing of a backup is left in QEMU. */
  async function expectClean(domain: string): Promise<void> {
    const ask = (command: string, args = {}) =>
      client.call('domain.monitor-command', { domain, command, arguments: args });
    expect((await ask('query-jobs')).return).toEqual([]);
    expect((await ask('query-named-block-nodes', { flat: true })).return).toHaveLength(2);
    expect((await ask('query-block-exports')).return).toEqual([]);
  }
  const compare = (one: string, other: string, format: string) =>
    execFileSync('qemu-img', ['compare', '-U', '-f', 'qcow2', '-F', format, one, other], {
      encoding: 'utf8',
    });

  it('goes on with it; what was pushed and what is read are whole', async () => {
    const { pushed } = await begin();
    const url = `nbd+unix:///vda?socket=${path('nbd')}`;
    const read = run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', url, path('pulled.raw')]);
    await sleep(500);
    expect(await client.call('domain.get', { domain: 'push' })).toMatchObject({ state: 'running' });
    all('SIGCONT');
    await read;
    expect(await client.call('backup.cancel', { domain: 'pull' })).toEqual({ outcome: 'completed' });
    expect(compare(image('pull'), path('pulled.raw'), 'raw')).toContain('identical');
    expect(await pushed).toBe('done');
    const [made] = await backups();
    expect((await client.call('backup.verify', { path: made?.path ?? '' })).good).toBe(true);
    expect(compare(image('push'), join(made?.path ?? '', 'vda.qcow2'), 'qcow2')).toContain('identical');
  });

  it('is called off when it goes on, and whoever asks meanwhile is told each time', async () => {
    const { pushed } = await begin();
    const cancel = (domain: string) => outcome(client.call('backup.cancel', { domain }));
    const held = { code: 'qmp.timeout' };
    for (const _ of [1, 2])
      expect(await Promise.all([cancel('push'), cancel('pull')])).toMatchObject([held, held]);
    expect(await inWork()).toHaveLength(2);
    all('SIGCONT');
    expect(await pushed).toMatchObject({ code: 'operation.aborted' });
    await eventually('the end of both', async () => (await inWork()).length === 0);
    expect([existsSync(path('nbd')), existsSync(path('scratch')), litter()]).toEqual([false, false, []]);
    expect(await backups()).toHaveLength(1);
    for (const domain of ['push', 'pull']) await expectClean(domain);
  });
});
