/**
 * A QEMU that a signal holds right in the middle of a snapshot's making, return and deletion: an error in time, the truth when it
 * goes on, and a guest that can be ended meanwhile. A frozen file system has QEMU wait in the middle, however fast it is.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { eventually, qemuProcesses, type TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { outcome, signal, startImpatient } from './impatient.ts';

const needs = [
  'root',
  'qemu-system-x86_64',
  'qemu-img',
  'qemu-io',
  'mkfs.ext4',
  'fsfreeze',
  '/dev/loop-control',
];

describeWith(needs, 'snapshots of a QEMU that is held', () => {
  const domain = 'held';
  let daemon: TestDaemon;
  let client: VireoClient;
  let place: string;
  let image: string;
  let isFrozen = false;

  beforeAll(async () => {
    daemon = await startImpatient();
    client = await daemon.connect();
    const file = join(daemon.root, 'ext4');
    place = join(daemon.root, 'place');
    mkdirSync(place);
    execFileSync('truncate', ['-s', '64M', file]);
    execFileSync('mkfs.ext4', ['-q', '-F', file]);
    execFileSync('mount', ['-o', 'loop', file, place]);
    image = join(place, 'disk.qcow2');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '1M']);
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -q -P 1 64k 64k', image]);
    const xml = `<domain type='qemu'><name>${domain}</name><memory unit='MiB'>16</memory><os><type machine='pc'>hvm</type></os>
      <devices><disk type='file'><driver name='qemu' type='qcow2'/><source file='${image}'/><target dev='vda' bus='virtio'/></disk>
      </devices></domain>`;
    await client.call('domain.define', { xml });
    await client.call('domain.start', { domain });
    await client.call('snapshot.create', { domain, name: 'first' });
  });
  afterEach(() => {
    if (isFrozen) freeze(false);
    for (const pid of qemuProcesses(daemon.root)) signal(pid, 'SIGCONT');
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.end('SIGKILL');
    for (const pid of qemuProcesses(daemon.root)) signal(pid, 'SIGKILL');
    await eventually('no QEMU', () => qemuProcesses(daemon.root).length === 0);
    execFileSync('umount', ['-l', place]);
    await daemon?.remove();
  });

  function freeze(on: boolean): void {
    execFileSync('fsfreeze', [on ? '-f' : '-u', place]);
    isFrozen = on;
  }
  const state = async () => (await client.call('domain.get', { domain })).state;
  const running = () => eventually('the guest to run', async () => (await state()) === 'running');
  const snapshots = () => client.call('snapshot.list', { domain });
  const names = async () => (await snapshots()).snapshots.map(({ name }) => name);
  const tags = () =>
    (
      JSON.parse(execFileSync('qemu-img', ['info', '-U', '--output=json', image], { encoding: 'utf8' })) as {
        snapshots?: { name: string }[];
      }
    ).snapshots?.map(({ name }) => name) ?? [];
  const nothingPending = async () => {
    const { uuid } = await client.call('domain.get', { domain });
    const file = join(daemon.root, 'var/lib/vireo/snapshots', uuid, 'state.json');
    const pending = () => (JSON.parse(readFileSync(file, 'utf8')) as { pending?: unknown }).pending;
    await eventually('its end', () => pending() === undefined, 60_000);
  };
  const revert = () => client.call('snapshot.revert', { domain, snapshot: 'first' });

  /** What was written before it all is there; the image is sound. */
  function expectDiskGood(): void {
    execFileSync('qemu-img', ['check', '-q', '-r', 'leaks', image]);
    const read = execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'read -P 1 64k 64k', image], {
      encoding: 'utf8',
    });
    expect(read).not.toMatch(/failed/);
  }

  /** One of QEMU's threads waits for the disk (proc(5): D). */
  function waitsForDisk(pid: number): boolean {
    return readdirSync(`/proc/${pid}/task`).some((task) => {
      const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, 'latin1');
      return stat.slice(stat.lastIndexOf(')') + 2).startsWith('D');
    });
  }

  /** Begins that, and has QEMU get a signal when it is in the middle; how the call ended. */
  async function signalled(
    name: 'SIGSTOP' | 'SIGKILL',
    work: () => Promise<unknown>,
  ): Promise<{ readonly pid: number; readonly error: unknown }> {
    const [pid = 0] = qemuProcesses(daemon.root);
    // It has written all it had.
    await client.call('domain.suspend', { domain });
    await client.call('domain.resume', { domain });
    freeze(true);
    const call = outcome(work());
    await eventually('QEMU in the middle', () => waitsForDisk(pid));
    signal(pid, name);
    freeze(false);
    return { pid, error: await call };
  }
  const heldIn = (work: () => Promise<unknown>) => signalled('SIGSTOP', work);
  const held = {
    code: 'qmp.timeout',
    reason: expect.stringContaining('stopped by a signal') as string,
  };

  it('a return is told of, and comes to its end when QEMU goes on; nobody has the guest run before', async () => {
    const { pid, error } = await heldIn(revert);
    expect(error).toMatchObject({ ...held, hint: expect.stringContaining(`kill -CONT ${pid}`) as string });
    expect(await client.call('domain.get', { domain })).toMatchObject({ state: 'paused', job: null });
    await expect(client.call('domain.resume', { domain })).rejects.toMatchObject({
      code: 'domain.state',
      reason: expect.stringContaining("'first' is not at its end") as string,
    });
    signal(pid, 'SIGCONT');
    await running();
    await nothingPending();
    expect((await snapshots()).current).toBe('first');
    expect(qemuProcesses(daemon.root)).toEqual([pid]);
  });

  it('a snapshot that was not made is nowhere; the guest runs on', async () => {
    const { pid, error } = await heldIn(() => client.call('snapshot.create', { domain, name: 'second' }));
    expect(error).toMatchObject(held);
    signal(pid, 'SIGCONT');
    await nothingPending();
    await running();
    expect(await names()).toEqual(['first']);
    expect(tags()).toEqual(['first']);
  });

  it('a guest that is held in its return can be ended, and starts on the disks of the snapshot', async () => {
    const { error } = await heldIn(revert);
    expect(error).toMatchObject(held);
    const began = performance.now();
    await client.call('domain.destroy', { domain });
    expect(performance.now() - began).toBeLessThan(15_000);
    expect(qemuProcesses(daemon.root)).toEqual([]);
    await nothingPending();
    expectDiskGood();
    await client.call('domain.start', { domain });
  });

  it('a deletion is finished when QEMU goes on', async () => {
    const { pid, error } = await heldIn(() => client.call('snapshot.delete', { domain, snapshot: 'first' }));
    expect(error).toMatchObject(held);
    signal(pid, 'SIGCONT');
    await eventually('it is gone', async () => (await names()).length === 0, 60_000);
    expect(tags()).toEqual([]);
    expect(await state()).toBe('running');
  });

  it('a QEMU that dies in the middle leaves no part of one, and the disk as it was', async () => {
    const make = () => client.call('snapshot.create', { domain, name: 'last' });
    const { error } = await signalled('SIGKILL', make);
    expect(error).toMatchObject({ code: 'qmp.closed' });
    await eventually('its end', async () => (await state()) === 'shutoff');
    await nothingPending();
    expect([await names(), tags()]).toEqual([[], []]);
    expectDiskGood();
  });

  it('a deletion whose QEMU dies in the middle is done or not, and what is said is what is there', async () => {
    await client.call('domain.start', { domain });
    await client.call('snapshot.create', { domain, name: 'doomed' });
    const { error } = await signalled('SIGKILL', () =>
      client.call('snapshot.delete', { domain, snapshot: 'doomed' }),
    );
    expect(error).toMatchObject({ code: 'qmp.closed' });
    await eventually('its end', async () => (await state()) === 'shutoff');
    await nothingPending();
    expect(await names()).toEqual(tags());
    for (const snapshot of await names()) await client.call('snapshot.delete', { domain, snapshot });
    expect([await names(), tags()]).toEqual([[], []]);
    expectDiskGood();
  });
});
