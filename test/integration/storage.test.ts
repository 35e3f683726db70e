/** Storage with the real tools: qemu-img, mounts of a loop device and of a full tmpfs, LVM, partitions, many volumes. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { qemuImgTools } from '../../src/storage/qemu-img-tools.ts';
import { hostTools } from '../../src/storage/tools.ts';
import { describeWith } from '../support/needs.ts';
import { run, scratch } from '../support/scratch.ts';
import { dirPool, storageRig } from '../support/storage-rig.ts';

const real = { images: qemuImgTools, tools: hostTools };

/** A block device of that size, for as long as the test lasts. */
function loopDevice(directory: string, bytes: number): string {
  const file = join(directory, 'loop.img');
  writeFileSync(file, '');
  truncateSync(file, bytes);
  const device = run('losetup', '--find', '--show', file).trim();
  onTestFinished(() => void spawnSync('losetup', ['--detach', device]));
  return device;
}

async function dirRig() {
  const rig = storageRig(real);
  const path = rig.place('p');
  const { pool } = await rig.storage.definitions.define(dirPool('p', path), 'strict');
  await rig.storage.lifecycle.start(pool);
  return { ...rig, pool, path };
}

const described = (name: string, rest: string) => `<volume><name>${name}</name>${rest}</volume>`;
const strict = { mode: 'strict', preallocateMetadata: false } as const;

describeWith(['qemu-img'], 'volumes of a directory', () => {
  it.each([
    ['raw', '<capacity>1049088</capacity><allocation>0</allocation>', ''],
    ['raw', '<capacity unit="MiB">2</capacity>', ''],
    ['qcow2', '<capacity unit="MiB">64</capacity>', '<compat>0.10</compat>'],
    [
      'qcow2',
      '<capacity unit="MiB">64</capacity>',
      '<compat>1.1</compat><clusterSize unit="KiB">128</clusterSize><features><lazy_refcounts/><extended_l2/></features>',
    ],
    ['vmdk', '<capacity unit="MiB">64</capacity>', ''],
    ['vdi', '<capacity unit="MiB">64</capacity>', ''],
    ['qed', '<capacity unit="MiB">64</capacity>', ''],
  ])('of format %s with %s are what qemu-img says they are', async (format, size, options) => {
    const { storage, pool, path } = await dirRig();
    const xml = described('v', `${size}<target><format type='${format}'/>${options}</target>`);
    const { volume } = await storage.volumeCreation.createXml(pool, xml, strict);
    const info = JSON.parse(
      run('qemu-img', 'info', '-f', format, '--output=json', join(path, 'v')),
    ) as Record<string, unknown>;
    expect(volume.capacityBytes).toBe(info['virtual-size']);
    expect(volume.format).toBe(format);
    if (format === 'qcow2') run('qemu-img', 'check', '-f', 'qcow2', join(path, 'v'));
    if (format === 'raw' && !size.includes('allocation'))
      expect(volume.allocationBytes).toBeGreaterThanOrEqual(volume.capacityBytes);
    const { compat, clusterSizeBytes, lazyRefcounts, extendedL2 } = volume;
    if (options.includes('extended')) {
      expect({ compat, clusterSizeBytes, lazyRefcounts, extendedL2 }).toEqual({
        compat: '1.1',
        clusterSizeBytes: 131_072,
        lazyRefcounts: true,
        extendedL2: true,
      });
    }
  });

  it('that are VHDX tell the size that lies deep inside', async () => {
    const { storage, pool, path } = await dirRig();
    run('qemu-img', 'create', '-q', '-f', 'vhdx', join(path, 'disk.vhdx'), '48M');
    await storage.lifecycle.refresh(pool);
    expect(storage.volumes.find(pool, 'disk.vhdx')).toMatchObject({
      format: 'vhd',
      capacityBytes: 48 * 1024 * 1024,
    });
  });

  it('are copied with all that lies below, and changed in size with the right rest', async () => {
    const { storage, pool, path } = await dirRig();
    const base = Buffer.alloc(1024 * 1024, 'base');
    writeFileSync(join(path, 'base.img'), base);
    await storage.lifecycle.refresh(pool);
    const below = `<backingStore><path>${path}/base.img</path><format type='raw'/></backingStore>`;
    const top = await storage.volumeCreation.createXml(
      pool,
      described('top', `<target><format type='qcow2'/></target>${below}`),
      strict,
    );
    expect(top.volume).toMatchObject({
      capacityBytes: base.length,
      backing: { path: join(path, 'base.img'), format: 'raw' },
    });
    const copied = await storage.volumeCreation.clone({ pool, volume: top.volume }, pool, {
      name: 'flat',
      capacityBytes: 2 * base.length,
      target: { format: { type: 'raw' } },
    });
    expect(copied.volume.capacityBytes).toBe(2 * base.length);
    expect(readFileSync(join(path, 'flat')).equals(Buffer.concat([base, Buffer.alloc(base.length)]))).toBe(
      true,
    );
    const wish = { relative: 'no', allocate: false, shrink: true } as const;
    await storage.volumeChanges.resize(
      { pool, volume: top.volume },
      { ...wish, capacityBytes: base.length / 2 },
    );
    const grown = await storage.volumeChanges.resize(
      { pool, volume: top.volume },
      { ...wish, capacityBytes: base.length },
    );
    expect(grown.capacityBytes).toBe(base.length);
    // What was cut off does not come back from below.
    const read = await storage.volumeCreation.clone({ pool, volume: grown }, pool, {
      name: 'read',
      target: { format: { type: 'raw' } },
    });
    const bytes = readFileSync(read.volume.path);
    expect(bytes.subarray(0, base.length / 2).equals(base.subarray(0, base.length / 2))).toBe(true);
    expect(bytes.subarray(base.length / 2).every((byte) => byte === 0)).toBe(true);
    expect(readdirSync(path).sort()).toEqual(['base.img', 'flat', 'read', 'top']);
  });

  it('are called off half-way without litter', async () => {
    const { storage, pool, path, events } = await dirRig();
    writeFileSync(join(path, 'big.img'), Buffer.alloc(64 * 1024 * 1024, 7));
    await storage.lifecycle.refresh(pool);
    const volume = storage.volumes.find(pool, 'big.img');
    const wipe = storage.volumeChanges.wipe({ pool, volume }, 'pfitzner33');
    const failed = expect(wipe).rejects.toMatchObject({ code: 'operation.aborted' });
    await expect
      .poll(() => events.find((event) => event.event === 'job.started' && event.job === 'wipe'))
      .toBeDefined();
    const started = events.find((event) => event.event === 'job.started' && event.job === 'wipe');
    storage.jobs.cancel(started?.event === 'job.started' ? started.id : '');
    await failed;
    expect(storage.volumes.find(pool, 'big.img').capacityBytes).toBe(64 * 1024 * 1024);
  });
});

describeWith(['root', 'qemu-img', 'mount'], 'a file system that is full', () => {
  it('keeps what was there and nothing that was half made', async () => {
    const rig = storageRig(real);
    const path = rig.place('small');
    run('mount', '-t', 'tmpfs', '-o', 'size=8m', 'vireo-test', path);
    onTestFinished(() => void spawnSync('umount', [path]));
    const { pool } = await rig.storage.definitions.define(dirPool('p', path), 'strict');
    await rig.storage.lifecycle.start(pool);
    writeFileSync(join(path, 'mine.img'), Buffer.alloc(5 * 1024 * 1024, 1));
    await rig.storage.lifecycle.refresh(pool);
    const source = { pool, volume: rig.storage.volumes.find(pool, 'mine.img') };
    const noSpace = { code: 'file.no-space' };
    const qcow2 = { name: 'copy.qcow2', target: { format: { type: 'qcow2' as const } } };
    await expect(rig.storage.volumeCreation.clone(source, pool, qcow2)).rejects.toMatchObject(noSpace);
    await expect(
      rig.storage.volumeCreation.createXml(pool, described('a', '<capacity unit="MiB">7</capacity>'), strict),
    ).rejects.toMatchObject(noSpace);
    const grow = { capacityBytes: 64 * 1024 * 1024, relative: 'no', allocate: true, shrink: false } as const;
    await expect(rig.storage.volumeChanges.resize(source, grow)).rejects.toMatchObject(noSpace);
    expect(statSync(join(path, 'mine.img')).size).toBe(5 * 1024 * 1024);
    expect(readdirSync(path)).toEqual(['mine.img']);
    // And it goes on when there is space again.
    run('mount', '-o', 'remount,size=32m', path);
    await rig.storage.volumeCreation.clone(source, pool, qcow2);
    run('qemu-img', 'check', '-f', 'qcow2', join(path, 'copy.qcow2'));
  });
});

describeWith(
  ['root', 'losetup', 'mkfs.ext4', 'blkid', '/dev/loop-control'],
  'a pool on a block device',
  () => {
    it('is built, mounted with nothing that volumes do not need, found again, and unmounted', async () => {
      const directory = scratch();
      const device = loopDevice(directory, 32 * 1024 * 1024);
      const rig = storageRig(real);
      const target = join(rig.directory, 'mnt');
      const xml = `<pool type='fs'><name>p</name><source><device path='${device}'/><format type='ext4'/></source><target><path>${target}</path></target></pool>`;
      const { pool } = await rig.storage.definitions.define(xml, 'strict');
      onTestFinished(() => void spawnSync('umount', ['--quiet', target]));
      await rig.storage.lifecycle.build(pool, { noOverwrite: true });
      await expect(rig.storage.lifecycle.build(pool, { noOverwrite: true })).rejects.toMatchObject({
        code: 'pool.built',
      });
      await rig.storage.lifecycle.start(pool);
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).toMatch(
        new RegExp(`${target} rw,nosuid,nodev,noexec`),
      );
      await rig.storage.volumeCreation.createXml(
        pool,
        described('a', '<capacity unit="MiB">1</capacity>'),
        strict,
      );
      rig.storage.detach();
      const again = storageRig({ ...real, directory: rig.directory });
      await again.storage.bringUp(join(rig.directory, 'marker'));
      const found = again.storage.find('p');
      expect(again.storage.volumes.list(found).map(({ name }) => name)).toEqual(['a']);
      await again.storage.lifecycle.stop(found);
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(target);
    });
  },
);

describeWith(['root', 'losetup', 'lvm', 'blkid', '/dev/loop-control'], 'a volume group', () => {
  // Logical volumes need device-mapper in the kernel, which not every test machine has; the group itself does not.
  it('is built on a device, found, and taken away again', async () => {
    const device = loopDevice(scratch(), 32 * 1024 * 1024);
    const rig = storageRig(real);
    const name = `vireo-test-${process.pid}`;
    onTestFinished(() => void spawnSync('lvm', ['vgremove', '--force', name]));
    const xml = `<pool type='logical'><name>p</name><source><name>${name}</name><device path='${device}'/></source></pool>`;
    const { pool } = await rig.storage.definitions.define(xml, 'strict');
    await expect(rig.storage.lifecycle.start(pool)).rejects.toMatchObject({ code: 'pool.failed' });
    await rig.storage.lifecycle.build(pool, {});
    await rig.storage.lifecycle.start(pool);
    expect(pool.live?.space.capacityBytes).toBe(28 * 1024 * 1024);
    expect(await rig.storage.findSources('logical', undefined)).toContain(`<name>${name}</name>`);
    await rig.storage.lifecycle.stop(pool);
    await rig.storage.lifecycle.delete(pool);
    expect(await rig.storage.findSources('logical', undefined)).not.toContain(name);
  });
});

describeWith(['root', 'losetup', 'sfdisk', 'blkid', '/dev/loop-control'], 'a disk with partitions', () => {
  it('gets its table, and partitions by the names that the kernel gives', async () => {
    const device = loopDevice(scratch(), 32 * 1024 * 1024);
    const rig = storageRig(real);
    const xml = `<pool type='disk'><name>p</name><source><device path='${device}'/><format type='gpt'/></source><target><path>/dev</path></target></pool>`;
    const { pool } = await rig.storage.definitions.define(xml, 'strict');
    await expect(rig.storage.lifecycle.start(pool)).rejects.toMatchObject({ code: 'pool.failed' });
    await rig.storage.lifecycle.build(pool, {});
    await rig.storage.lifecycle.start(pool);
    const name = `${device.slice('/dev/'.length)}p1`;
    const size = '<capacity unit="MiB">4</capacity>';
    await expect(
      rig.storage.volumeCreation.createXml(pool, described('other', size), strict),
    ).rejects.toThrow(name);
    const { volume } = await rig.storage.volumeCreation.createXml(pool, described(name, size), strict);
    expect(volume).toMatchObject({
      capacityBytes: 4 * 1024 * 1024,
      format: 'linux',
      path: join('/dev', name),
    });
    await rig.storage.volumeChanges.delete({ pool, volume });
    expect(rig.storage.volumes.list(pool)).toEqual([]);
  });
});

/** How long work takes, and the most computing that it does without a pause in which others would be answered. */
async function measured(work: () => Promise<unknown>): Promise<{ tookMs: number; busyMs: number }> {
  const computedMs = () => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1000;
  };
  let last = computedMs();
  let busyMs = 0;
  const timer = setInterval(() => {
    const now = computedMs();
    busyMs = Math.max(busyMs, now - last);
    last = now;
  }, 1);
  const before = performance.now();
  try {
    await work();
    return { tookMs: performance.now() - before, busyMs };
  } finally {
    clearInterval(timer);
  }
}

describeWith([], 'ten thousand volumes', () => {
  it('are read again within a second, and others are answered meanwhile', async () => {
    const rig = storageRig(real);
    const path = rig.place('many');
    const then = new Date(Date.now() - 60_000);
    for (let i = 0; i < 10_000; i++) {
      writeFileSync(join(path, `v${i}`), 'x');
      utimesSync(join(path, `v${i}`), then, then);
    }
    const { pool } = await rig.storage.definitions.define(dirPool('p', path), 'strict');
    await rig.storage.lifecycle.start(pool);
    await rig.storage.lifecycle.refresh(pool);
    // What a refresh takes when nobody else has the machine: the best of some. What others take of the processor in
    // between, nobody here can help; so the pauses are counted in computing time of this thread.
    const runs: { readonly tookMs: number; readonly busyMs: number }[] = [];
    for (let i = 0; i < 5 && !runs.some(({ tookMs }) => tookMs < 1000); i++)
      runs.push(await measured(() => rig.storage.lifecycle.refresh(pool)));
    expect(rig.storage.volumes.list(pool)).toHaveLength(10_000);
    expect(Math.min(...runs.map(({ tookMs }) => tookMs))).toBeLessThan(1000);
    expect(Math.max(...runs.map(({ busyMs }) => busyMs))).toBeLessThan(50);
  });
});
