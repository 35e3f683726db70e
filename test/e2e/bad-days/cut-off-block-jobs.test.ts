/**
 * Jobs on images that are cut off in the middle: by a daemon or a QEMU that is killed, a QEMU that a signal holds, a full disk.
 * The guest's disk has all that it had, and the definitions name it.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { eventually, qemuProcesses, type TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { outcome, signal, startImpatient } from './impatient.ts';

/** Bytes a second, so few that a job is in the middle for as long as it takes. */
const SLOW = 64 << 10;
const kinds = ['pull', 'commit', 'active', 'copy'] as const;
type Kind = (typeof kinds)[number];
const isSwitching = (kind: Kind) => kind === 'active' || kind === 'copy';

describeWith(['root', 'qemu-system-x86_64', 'qemu-img', 'mount'], 'jobs on images', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let disks = '';
  let content = '';

  beforeAll(async () => {
    daemon = await startImpatient();
    client = await daemon.connect();
    disks = join(daemon.root, 'disks');
    mkdirSync(disks);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128m', 'disks', disks]);
    makeChain('pull');
    for (const kind of kinds.slice(1))
      for (const layer of layers) {
        execFileSync('cp', [image('pull', layer), image(kind, layer)]);
        if (layer !== 'base')
          execFileSync('qemu-img', [
            ...['rebase', '-u', '-f', 'qcow2', '-F', 'qcow2'],
            ...['-b', image(kind, layer === 'top' ? 'mid' : 'base'), image(kind, layer)],
          ]);
      }
    content = hashOf(image('pull', 'top'));
    for (const kind of kinds) {
      const xml = `<domain type='qemu'><name>${kind}</name><memory unit='MiB'>16</memory><os><type machine='pc'>hvm</type></os>
        <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${image(kind, 'top')}'/>
        <target dev='vda' bus='virtio'/></disk></devices></domain>`;
      await client.call('domain.define', { xml });
      await start(kind);
    }
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.end('SIGKILL');
    for (const pid of qemuProcesses(daemon.root)) signal(pid, 'SIGKILL');
    execFileSync('umount', ['-l', disks]);
    await daemon?.remove();
  });

  const layers = ['base', 'mid', 'top'] as const;
  const image = (kind: Kind, layer: string) => join(disks, `${kind}-${layer}`);

  function makeChain(kind: Kind): void {
    for (const [at, layer] of layers.entries()) {
      const below = at === 0 ? [] : ['-b', image(kind, layers[at - 1] ?? ''), '-F', 'qcow2'];
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...below, image(kind, layer), '16M']);
      execFileSync('qemu-io', ['-c', `write -q -P ${65 + at} ${at * 3}M 6M`, image(kind, layer)]);
    }
  }

  /** Of what a guest reads; the image is of one that does not run. */
  function hashOf(file: string): string {
    const raw = join(daemon.root, 'raw');
    execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', file, raw]);
    const hash = createHash('sha256').update(readFileSync(raw)).digest('hex');
    rmSync(raw);
    return hash;
  }

  // They run: under a guest that is paused QEMU 7.2 keeps its lock on the base of a merge that was called off.
  const start = (kind: Kind) => client.call('domain.start', { domain: kind });
  const onAll = <T>(work: (kind: Kind) => Promise<T>) => Promise.all(kinds.map(work));
  const pidOf = async (kind: Kind) => (await client.call('domain.get', { domain: kind })).pid ?? 0;
  const jobsOf = async (kind: Kind) => (await client.call('domain.disk.jobs', { domain: kind })).jobs;
  const sources = async (kind: Kind, inactive: boolean) => {
    const { xml } = await client.call('domain.xml', { domain: kind, inactive });
    return [...xml.matchAll(/<source file='([^']+)'/g)].map(([, file]) => file);
  };
  const whole = (kind: Kind) => layers.map((layer) => image(kind, layer)).toReversed();

  function begin(kind: Kind, bytesPerSecond: number, copy = 'copy'): Promise<unknown> {
    const disk = { domain: kind, disk: 'vda', bytesPerSecond };
    switch (kind) {
      case 'pull':
        return client.call('domain.disk.pull', disk);
      case 'commit':
        return client.call('domain.disk.commit', {
          ...{ ...disk, top: image(kind, 'mid'), base: image(kind, 'base') },
        });
      case 'active':
        return client.call('domain.disk.commit', disk);
      case 'copy':
        return client.call('domain.disk.copy', { ...disk, destination: { file: image(kind, copy) } });
    }
  }
  const untilReady = (kind: Kind) =>
    client.call('domain.disk.wait-job', { domain: kind, disk: 'vda', until: 'ready' });

  /** Each disk is on its own images, and says so; there is no job. */
  async function nothingHasChanged(): Promise<void> {
    await eventually('no jobs', async () => (await client.call('job.list', {})).jobs.length === 0);
    for (const kind of kinds) {
      expect(await jobsOf(kind)).toEqual([]);
      expect(await sources(kind, false)).toEqual(whole(kind));
      expect(await sources(kind, true)).toEqual([image(kind, 'top')]);
    }
  }

  it('without room fail clearly, and can be begun again', async () => {
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${join(disks, 'ballast')} bs=4k 2>/dev/null || true`]);
    await onAll(async (kind) => {
      const failed = outcome(begin(kind, 0).then(() => untilReady(kind)));
      expect(String(await failed)).toMatch(/no space left/i);
    });
    rmSync(join(disks, 'ballast'));
    await nothingHasChanged();
  });

  it('go with a QEMU that is killed: its images are as good as before', async () => {
    await onAll((kind) => begin(kind, SLOW, 'lost'));
    for (const kind of kinds) signal(await pidOf(kind), 'SIGKILL');
    await onAll((kind) =>
      eventually(
        'its end',
        async () => (await client.call('domain.get', { domain: kind })).state === 'shutoff',
      ),
    );
    for (const kind of kinds) {
      expect(await sources(kind, true)).toEqual([image(kind, 'top')]);
      expect(hashOf(image(kind, 'top'))).toBe(content);
    }
    await onAll(start);
    await nothingHasChanged();
  });

  it('of a QEMU that is held: calls say so in time, and it obeys when it goes on', async () => {
    // Copies that are ready end without an error when they are called off: that is no switch.
    await onAll(async (kind) => {
      await begin(kind, isSwitching(kind) ? 0 : SLOW, 'held');
      if (isSwitching(kind)) await untilReady(kind);
    });
    for (const kind of kinds) signal(await pidOf(kind), 'SIGSTOP');
    await onAll(async (kind) => {
      const cancel = client.call('domain.disk.end-job', { domain: kind, disk: 'vda' });
      expect(await outcome(cancel)).toMatchObject({ code: 'qmp.timeout' });
    });
    for (const kind of kinds) signal(await pidOf(kind), 'SIGCONT');
    await nothingHasChanged();
  });

  it('are found again by another daemon, and end as they should', async () => {
    await onAll((kind) => begin(kind, SLOW, 'other'));
    await client.close();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    await onAll(async (kind) => {
      expect(await jobsOf(kind)).toHaveLength(1);
      await client.call('domain.disk.set-job-speed', { domain: kind, disk: 'vda', bytesPerSecond: 0 });
      await untilReady(kind);
      if (isSwitching(kind))
        await client.call('domain.disk.end-job', { domain: kind, disk: 'vda', pivot: true });
    });
    const left: Readonly<Record<Kind, readonly string[]>> = {
      pull: ['top'],
      commit: ['top', 'base'],
      active: ['base'],
      copy: ['other'],
    };
    for (const kind of kinds) {
      const images = left[kind].map((layer) => image(kind, layer));
      await eventually(
        `the images of ${kind}`,
        async () => (await sources(kind, false)).join() === images.join(),
      );
      await client.call('domain.destroy', { domain: kind });
      const [top = ''] = images;
      expect(await sources(kind, true)).toEqual([top]);
      expect(hashOf(top)).toBe(content);
    }
    await eventually('no jobs', async () => (await client.call('job.list', {})).jobs.length === 0);
  });
});
