/**
 * Bad days of snapshots: the daemon or QEMU killed in the middle, a full disk, a QEMU that answers nothing. Each time there is
 * the old state or the new one, whole; what is left of the work is gone, and the guest finds on its disk what it wrote.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { CountingGuests, countingLinux } from '../support/counting-guest.ts';
import { eventually, qemuProcesses, TestDaemon, withoutDefaultNetwork } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

describeWith(['root', 'busybox', 'qemu-system-x86_64', 'qemu-img'], 'snapshots on bad days', () => {
  const name = 'hurt';
  let daemon: TestDaemon;
  let client: VireoClient;
  let guests: CountingGuests;
  let memory: string;

  beforeAll(async () => {
    const root = mkdtempSync(join(tmpdir(), 'vireo-'));
    withoutDefaultNetwork(root);
    appendFileSync(join(root, 'etc/vireo/vireod.toml'), '\n[qemu]\ncommand_timeout_seconds = 2\n');
    daemon = await TestDaemon.start({ root });
    guests = new CountingGuests(daemon.root, await countingLinux(`${daemon.root}/linux`));
    client = await daemon.connect();
    memory = guests.path('memory');
    mkdirSync(memory);
    const image = guests.makeImage('hurt.qcow2');
    await client.call('domain.define', { xml: guests.domainXml(name, image) });
    await client.call('domain.start', { domain: name });
    await guests.next(name, 100_000);
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const names = async () =>
    (await client.call('snapshot.list', { domain: name })).snapshots.map((one) => one.name);
  const overlay = (snapshot: string) => guests.path(`hurt.${snapshot}`);
  /** All of it, or nothing. */
  async function expectWhole(snapshot: string): Promise<void> {
    const isThere = (await names()).includes(snapshot);
    expect(readdirSync(memory).filter((file) => file.includes(`${snapshot}.mem`))).toEqual(
      isThere ? [`${snapshot}.mem`] : [],
    );
    expect(existsSync(overlay(snapshot))).toBe(isThere);
    for (const inactive of [false, true]) {
      const { xml } = await client.call('domain.xml', { domain: name, inactive });
      expect(xml.includes(`'${overlay(snapshot)}'`)).toBe(isThere);
    }
  }
  /** The guest says two more things, each of which fits what came before it. */
  async function expectGoesOn(): Promise<void> {
    const last = await guests.next(name);
    await guests.expectOnFrom(name, last);
  }
  const createWithMemory = (snapshot: string) =>
    client.call('snapshot.create', { domain: name, name: snapshot, memoryPath: `${memory}/${snapshot}.mem` });
  const restart = async () => {
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
  };

  it('made while the daemon dies', async () => {
    const made = createWithMemory('cut').catch((error: unknown) => error);
    // In the middle of it, or soon after on a fast machine.
    await eventually('it has begun', () => readdirSync(memory).some((file) => file.includes('cut.mem')));
    await restart();
    await made;
    await expectWhole('cut');
    expect(await client.call('domain.get', { domain: name })).toMatchObject({ state: 'running' });
    await expectGoesOn();
  });

  it('whose memory does not fit on the disk', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'vireo-test', memory]);
    try {
      await expect(createWithMemory('full')).rejects.toMatchObject({ code: 'file.no-space' });
      await expectWhole('full');
    } finally {
      execFileSync('umount', [memory]);
    }
    await expectGoesOn();
  });

  it('made while QEMU does not answer: an error in time, and the truth afterwards', async () => {
    const [pid = 0] = qemuProcesses(daemon.root);
    process.kill(pid, 'SIGSTOP');
    const started = performance.now();
    try {
      await expect(
        client.call('snapshot.create', { domain: name, name: 'mute', diskOnly: true }),
      ).rejects.toMatchObject({ code: 'qmp.timeout' });
      expect(performance.now() - started).toBeLessThan(30_000);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    // Whatever was open is settled before the next one is made.
    await client.call('snapshot.create', { domain: name, name: 'after', diskOnly: true });
    await expectWhole('mute');
    await expectGoesOn();
  });

  it('merged under the guest while the daemon dies', async () => {
    const gone = client.call('snapshot.delete', { domain: name, snapshot: 'after' }).catch(() => undefined);
    await eventually('it has begun', async () => {
      const { jobs } = await client.call('job.list', {});
      return jobs.some(({ job }) => job === 'block commit') || !(await names()).includes('after');
    });
    await restart();
    await gone;
    await eventually('it is deleted', async () => !(await names()).includes('after'), 30_000);
    await eventually('its image is gone', () => !existsSync(overlay('after')), 30_000);
    const { xml } = await client.call('domain.xml', { domain: name, inactive: true });
    expect(xml).not.toContain(overlay('after'));
    await expectGoesOn();
  });

  it('made while QEMU dies: the domain is off, its disk has what was written', async () => {
    const made = createWithMemory('dead').then(
      () => undefined,
      (error: unknown) => error,
    );
    await eventually('it has begun', () => readdirSync(memory).some((file) => file.includes('dead.mem')));
    for (const pid of qemuProcesses(daemon.root)) process.kill(pid, 'SIGKILL');
    await made;
    await eventually('it is off', async () => {
      const { state } = await client.call('domain.get', { domain: name });
      return state === 'shutoff';
    });
    await expectWhole('dead');
    const { xml } = await client.call('domain.xml', { domain: name });
    const top = /<source file='([^']+)'/.exec(xml)?.[1] ?? '';
    // Fails on an image that is damaged; blocks that were given out and not used yet are none.
    expect(() => execFileSync('qemu-img', ['check', '-q', '-r', 'leaks', top])).not.toThrow();
    expect(guests.diskHash(top)).toMatch(/^[0-9a-f]{16}$/);
  });
});
