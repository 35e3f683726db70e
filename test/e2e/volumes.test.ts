/** Volumes with a real daemon: large transfers, broken ones, a daemon killed in the middle of work, guests on volumes. */
import { createHash, randomBytes as randomBytesOf } from 'node:crypto';
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import type { MethodName } from '../../src/api/index.ts';
import { downloadVolume, uploadVolume } from '../../src/api/volume-streams.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { bootSector, littleLinux, startScript, writeImage } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';
import { scratch } from '../support/scratch.ts';

const MIB = 1024 * 1024;

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

const imagesOf = (daemon: TestDaemon) => join(daemon.root, 'var/lib/libvirt/images');

/** All that is in the directory of the pool but the trash. */
const all = (daemon: TestDaemon) =>
  readdirSync(imagesOf(daemon))
    .filter((name) => name !== '.vireo-trash')
    .sort();

async function send(client: VireoClient, volume: string, file: string, more = {}, signal?: AbortSignal) {
  const handle = await open(file, 'r');
  try {
    const from = { handle, start: 0, length: statSync(file).size };
    const params = { pool: 'default', volume, ...more };
    return await uploadVolume(client, { from, params }, signal ? { signal } : {});
  } finally {
    await handle.close();
  }
}

async function fetchTo(client: VireoClient, volume: string, file: string): Promise<string> {
  const handle = await open(file, 'wx+');
  try {
    const to = { handle, start: 0 };
    return (await downloadVolume(client, { to, params: { pool: 'default', volume } })).sha256;
  } finally {
    await handle.close();
  }
}

/** Memory of a process that is its own, in MiB. */
function residentMib(pid: number): number {
  const line = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1] ?? 0) / 1024;
}

describeWith(['root'], 'a transfer', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    await client.call('pool.list'); // Waits until the pools are up.
  });
  afterAll(async () => {
    await client.close();
    await daemon.remove();
  });

  it('of 256 MiB arrives as it was sent, there and back, in steady memory', async () => {
    const directory = scratch();
    const file = join(directory, 'big');
    writeFileSync(file, randomBytesOf(256 * MIB));
    const sum = sha256(file);
    await send(client, 'warm.img', file);
    await fetchTo(client, 'warm.img', join(directory, 'warm'));
    const before = residentMib(daemon.child.pid ?? 0);
    let most = 0;
    const timer = setInterval(() => {
      most = Math.max(most, residentMib(daemon.child.pid ?? 0));
    }, 20);
    expect((await send(client, 'big.img', file)).sha256).toBe(sum);
    expect(sha256(join(imagesOf(daemon), 'big.img'))).toBe(sum);
    expect(await fetchTo(client, 'big.img', join(directory, 'back'))).toBe(sum);
    clearInterval(timer);
    expect(sha256(join(directory, 'back'))).toBe(sum);
    expect(most - before).toBeLessThan(96);
  });

  it('of a file with holes takes no space for them on either side', async () => {
    const directory = scratch();
    const file = join(directory, 'sparse');
    writeFileSync(file, randomBytesOf(MIB));
    truncateSync(file, 2 * 1024 * MIB);
    await send(client, 'sparse.img', file, { sparse: true });
    const back = join(directory, 'back');
    await fetchTo(client, 'sparse.img', back);
    for (const path of [join(imagesOf(daemon), 'sparse.img'), back]) {
      const { size, blocks } = statSync(path);
      expect([size, blocks * 512 < 2 * MIB]).toEqual([2 * 1024 * MIB, true]);
    }
  });

  it('that its client leaves goes on later, also with the next daemon', async () => {
    const directory = scratch();
    const file = join(directory, 'big');
    writeFileSync(file, randomBytesOf(64 * MIB));
    const { result, stream } = await client.upgrade('volume.upload', {
      ...{ pool: 'default', volume: 'late.img', length: 64 * MIB, resumable: true },
    });
    const bytes = readFileSync(file);
    await new Promise<void>((done) => stream.write(bytes.subarray(0, 40 * MIB), () => done()));
    await eventually('the bytes have come', async () => {
      const { jobs } = await client.call('job.list', { name: 'late.img' });
      return jobs[0]?.done === 40 * MIB;
    });
    await client.close();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    expect(
      (await client.call('volume.list', { pool: 'default' })).volumes.map(({ name }) => name),
    ).not.toContain('late.img');
    const end = await send(client, 'late.img', file, { resumable: true, resume: result.resume ?? '' });
    expect(end.bytes).toBe(24 * MIB);
    expect(end.sha256).toBe(sha256(file));
    expect(sha256(join(imagesOf(daemon), 'late.img'))).toBe(sha256(file));
  });

  it('that is called off by its client leaves nothing', async () => {
    const file = join(scratch(), 'big');
    writeFileSync(file, Buffer.alloc(128 * MIB));
    const abort = new AbortController();
    const sending = send(client, 'off.img', file, {}, abort.signal);
    setTimeout(() => abort.abort(), 20);
    await expect(sending).rejects.toThrow();
    await eventually(
      'the upload has ended',
      async () => (await client.call('job.list', {})).jobs.length === 0,
    );
    expect(all(daemon).filter((name) => name.includes('off') || name.startsWith('.'))).toEqual([]);
  });
});

describeWith(['root', 'qemu-img'], 'a daemon that is killed', () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    const client = await daemon.connect();
    const file = join(daemon.root, 'big');
    writeFileSync(file, randomBytesOf(256 * MIB));
    await send(client, 'base.img', file);
    await client.call('volume.create', { pool: 'default', name: 'disk.qcow2', capacityBytes: 64 * MIB });
    await client.close();
  });
  afterAll(() => daemon.remove());

  /** Kills it when that job has begun and some of it is done. */
  async function killDuring(job: string, start: (client: VireoClient) => Promise<unknown>): Promise<void> {
    const client = await daemon.connect();
    const events = await client.subscribe({ events: ['job.started'] });
    const work = start(client).catch((error: unknown) => error);
    for await (const event of events) if (event.event === 'job.started' && event.job === job) break;
    await new Promise((done) => setTimeout(done, 15));
    daemon = await daemon.crashAndRestart();
    await work;
    await client.close();
  }

  const call =
    (method: MethodName, params: object) =>
    (client: VireoClient): Promise<unknown> =>
      client.call(method, params);

  it.each<[string, (client: VireoClient) => Promise<unknown>]>([
    ['clone', call('volume.clone', { pool: 'default', volume: 'base.img', name: 'copy.img' })],
    [
      'clone',
      call('volume.clone', { pool: 'default', volume: 'base.img', name: 'copy.qcow2', format: 'qcow2' }),
    ],
    ['upload', (client) => send(client, 'new.img', join(daemon.root, 'big'))],
    ['upload', (client) => send(client, 'base.img', join(daemon.root, 'big'), { overwrite: true })],
    [
      'create',
      call('volume.create', {
        pool: 'default',
        name: 'full.img',
        format: 'raw',
        ...{ capacityBytes: 512 * MIB, allocationBytes: 512 * MIB },
      }),
    ],
  ])('in the middle of %s leaves what was, and no half volume', async (job, start) => {
    const before = all(daemon);
    const sum = sha256(join(imagesOf(daemon), 'base.img'));
    await killDuring(job, start);
    const client = await daemon.connect();
    onTestFinished(() => client.close());
    const { volumes } = await client.call('volume.list', { pool: 'default' });
    const added = volumes.map(({ name }) => name).filter((name) => !before.includes(name));
    // It may have been done just then: then it is whole.
    for (const name of added) {
      const full = await client.call('volume.get', { pool: 'default', volume: name });
      expect(full.capacityBytes).toBe(name === 'full.img' ? 512 * MIB : 256 * MIB);
      await client.call('volume.delete', { pool: 'default', volume: name, now: true });
    }
    expect(all(daemon)).toEqual(before);
    expect(sha256(join(imagesOf(daemon), 'base.img'))).toBe(sum);
  });

  it.each<[string, object]>([
    ['resize', { volume: 'disk.qcow2', capacityBytes: 256 * MIB, allocate: true }],
    ['wipe', { volume: 'disk.qcow2', algorithm: 'random' }],
  ])('in the middle of %s leaves a volume that can be used', async (job, params) => {
    await killDuring(job, call(`volume.${job}` as MethodName, { pool: 'default', ...params }));
    const client = await daemon.connect();
    onTestFinished(() => client.close());
    const disk = await client.call('volume.get', { pool: 'default', volume: 'disk.qcow2' });
    expect(disk.format).toBe('qcow2');
    if (job === 'resize') expect([64 * MIB, 256 * MIB]).toContain(disk.capacityBytes);
    expect(all(daemon).filter((name) => name.startsWith('.'))).toEqual([]);
  });
});

describeWith(['root', 'qemu-system-x86_64', '/bin/busybox'], 'a guest on a volume', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    await client.call('pool.list'); // Waits until the pools are up.
  });
  afterAll(async () => {
    await client.close();
    await daemon.remove();
  });

  const script = startScript(`#!/bin/busybox sh
dd if=/dev/urandom of=/dev/vda bs=1M count=3 seek=1 2>/dev/null
sync; echo 3 > /proc/sys/vm/drop_caches
echo "DISK-SUM $(sha256sum /dev/vda | cut -d' ' -f1)"
poweroff -f
`);
  const logOf = () => {
    const files = readdirSync(join(daemon.root, 'var/log/vireo'), { recursive: true, encoding: 'utf8' });
    const file = files.find((name) => name.endsWith('writer-console.log'));
    return file === undefined ? '' : readFileSync(join(daemon.root, 'var/log/vireo', file), 'latin1');
  };

  it('writes and reads its disk, and the volume has what it read', async () => {
    const { kernel, initrd } = await littleLinux(daemon.root, [script]);
    const made = await client.call('domain.create', {
      ...{
        name: 'writer',
        memoryBytes: 128 * MIB,
        virtType: 'qemu',
        kernel,
        initrd,
        cmdline: 'console=ttyS0 no_timer_check',
      },
      networks: [],
      disks: [{ pool: 'default', createBytes: 8 * MIB, format: 'raw' }],
      start: true,
    });
    expect(made.domain.name).toBe('writer');
    const { xml } = await client.call('domain.xml', { domain: 'writer' });
    expect(xml).toMatch(/<disk type='volume'[^]*<source pool='default' volume='writer.img' index='1'\/>/);
    const volume = { pool: 'default', volume: 'writer.img' };
    const { usedBy } = await client.call('volume.get', volume);
    expect(usedBy).toMatchObject([{ name: 'writer', active: true, as: ['disk vda'] }]);
    await expect(client.call('volume.wipe', volume)).rejects.toMatchObject({ code: 'volume.in-use' });
    await expect(
      client.call('volume.resize', { ...volume, capacityBytes: MIB, shrink: true }),
    ).rejects.toMatchObject({
      code: 'volume.in-use',
    });
    await client.call('domain.wait', { domain: 'writer', until: 'shutoff', timeoutMs: 120_000 });
    const sum = /DISK-SUM ([0-9a-f]{64})/.exec(logOf())?.[1];
    expect(sha256(join(imagesOf(daemon), 'writer.img'))).toBe(sum);
    await expect(client.call('volume.delete', volume)).rejects.toThrow(/domain 'writer' \(disk vda\)/);
    const { removed } = await client.call('domain.undefine', { domain: 'writer', removeStorage: true });
    expect(removed).toMatchObject([{ ...volume, trash: { name: 'writer.img' } }]);
    await client.call('volume.restore', volume);
    expect(sha256(join(imagesOf(daemon), 'writer.img'))).toBe(sum);
  }, 180_000);

  it('keeps a second guest off its disk, by name, unless both share it or only read', async () => {
    const path = join(imagesOf(daemon), 'shared.img');
    writeImage(path, bootSector.writes);
    const disk = (source: string, rest: string) =>
      `<disk type='${source.startsWith('pool') ? 'volume' : 'file'}'><driver name='qemu' type='raw'/><source ${source}/><target dev='vda' bus='virtio'/>${rest}</disk>`;
    const start = (name: string, source: string, rest = '') =>
      client.call('domain.create-xml', {
        xml: `<domain type='qemu'><name>${name}</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>${disk(source, rest)}</devices></domain>`,
      });
    await start('one', "pool='default' volume='shared.img'");
    await expect(start('two', `file='${path}'`)).rejects.toMatchObject({
      code: 'domain.start-failed',
      reason: `domain 'one' runs and uses ${path}`,
    });
    await client.call('domain.destroy', { domain: 'one' });
    for (const rest of ['<shareable/>', '<readonly/>']) {
      await start('one', "pool='default' volume='shared.img'", rest);
      await start('two', `file='${path}'`, rest);
      for (const domain of ['one', 'two']) await client.call('domain.destroy', { domain });
    }
  });

  it.each([
    ["pool='none' volume='v'", 'pool.not-found', /disk\[0\].*volume 'none\/v'.*no storage pool/],
    ["pool='default' volume='none'", 'volume.not-found', /volume 'default\/none'/],
  ])('does not start on %s', async (source, code, reason) => {
    const xml = `<domain type='qemu'><name>lost</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices><disk type='volume'><source ${source}/><target dev='vda' bus='virtio'/></disk></devices></domain>`;
    await client.call('domain.define', { xml });
    onTestFinished(async () => void (await client.call('domain.undefine', { domain: 'lost' })));
    await expect(client.call('domain.start', { domain: 'lost' })).rejects.toMatchObject({
      code,
      reason: expect.stringMatching(reason) as string,
    });
  });

  it('is not defined with a volume that QEMU would connect to by itself', async () => {
    const source = "pool='default' volume='shared.img' mode='direct'";
    const xml = `<domain type='qemu'><name>lost</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices><disk type='volume'><source ${source}/><target dev='vda' bus='virtio'/></disk></devices></domain>`;
    await expect(client.call('domain.define', { xml })).rejects.toThrow(/disk\[0\].*mode 'direct'/);
  });

  it('boots from layers and media that are volumes, each in the format of its pool', async () => {
    writeImage(join(imagesOf(daemon), 'base.img'), bootSector.powersOff);
    await client.call('pool.refresh', { pool: 'default' });
    await client.call('volume.set-format', { pool: 'default', volume: 'base.img', format: 'raw' });
    await client.call('volume.create', { pool: 'default', name: 'top.qcow2', backing: 'base.img' });
    const xml = `<domain type='qemu'><name>layered</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>
      <disk type='volume'><source pool='default' volume='top.qcow2'/><backingStore type='volume'><format type='raw'/><source pool='default' volume='base.img'/><backingStore/></backingStore><target dev='hda' bus='ide'/></disk>
      <disk type='volume' device='cdrom'><source pool='default' volume='base.img'/><target dev='hdc' bus='ide'/><readonly/></disk>
      <disk type='volume' device='cdrom'><source pool='default' volume='gone.iso' startupPolicy='optional'/><target dev='hdd' bus='ide'/><readonly/></disk></devices></domain>`;
    await client.call('domain.define', { xml });
    await client.call('domain.start', { domain: 'layered', paused: true });
    const { xml: live } = await client.call('domain.xml', { domain: 'layered' });
    expect(live).toMatch(
      /<backingStore type='volume' index='2'>[^]*<source pool='default' volume='base.img'\/>/,
    );
    expect(live).toMatch(
      /<driver name='qemu' type='qcow2'\/>[^]*<source pool='default' volume='top.qcow2' index='1'\/>/,
    );
    const { usedBy } = await client.call('volume.get', { pool: 'default', volume: 'base.img' });
    expect(usedBy).toMatchObject([
      { type: 'domain', name: 'layered', active: true, as: ['below disk hda', 'cdrom hdc'] },
      { type: 'volume', name: 'top.qcow2' },
    ]);
    await client.call('domain.resume', { domain: 'layered' });
    await client.call('domain.wait', { domain: 'layered', until: 'shutoff', timeoutMs: 30_000 });
  });
});
