/** Storage through the real daemon: the pool of the first start, crashes in the middle of work, formats that stay. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { qcow2 } from '../support/qcow2-header.ts';

async function daemon(mode: 'system' | 'session') {
  const first = await TestDaemon.start({ mode });
  const running = { daemon: first };
  onTestFinished(() => running.daemon.remove());
  return running;
}

describeWith(['root', 'qemu-img'], 'storage', () => {
  it.each(['system', 'session'] as const)('has a pool of the first start in %s mode, once', async (mode) => {
    const running = await daemon(mode);
    const images = join(running.daemon.root, 'var/lib/libvirt/images');
    let client = await running.daemon.connect();
    const { pools } = await client.call('pool.list', {});
    expect(pools).toMatchObject([
      { name: 'default', active: true, autostart: true, path: images, volumes: 0 },
    ]);
    await client.call('volume.create', { pool: 'default', name: 'a.qcow2', capacityBytes: 2 ** 30 });
    await expect(client.call('pool.stop', { pool: 'default' })).resolves.toEqual({});
    await client.call('pool.undefine', { pool: 'default' });
    await client.close();
    running.daemon = await running.daemon.crashAndRestart();
    client = await running.daemon.connect();
    expect((await client.call('pool.list', {})).pools).toEqual([]);
    expect(readdirSync(images)).toEqual(['a.qcow2']);
    await client.close();
  });

  it('loses nothing and leaves nothing when the daemon is killed in the middle of a copy', async () => {
    const running = await daemon('system');
    const images = join(running.daemon.root, 'var/lib/libvirt/images');
    let client = await running.daemon.connect();
    writeFileSync(join(images, 'big.img'), Buffer.alloc(256 * 1024 * 1024, 'bytes'));
    await client.call('pool.refresh', { pool: 'default' });
    const copy = client
      .call('volume.clone', { pool: 'default', volume: 'big.img', name: 'copy.qcow2', format: 'qcow2' })
      .catch(() => undefined); // It dies with its daemon.
    await eventually('the copy has begun', () =>
      readdirSync(images).some((name) => name.startsWith('.vireo-tmp-')),
    );
    running.daemon = await running.daemon.crashAndRestart();
    await copy;
    client = await running.daemon.connect();
    const { volumes } = await client.call('volume.list', { pool: 'default' });
    expect(volumes.map(({ name }) => name)).toEqual(['big.img']);
    expect(readdirSync(images)).toEqual(['big.img']);
    await client.close();
  });

  it('never takes a raw volume for what a guest wrote into it', async () => {
    const running = await daemon('system');
    let client = await running.daemon.connect();
    const { volume } = await client.call('volume.create', {
      ...{ pool: 'default', name: 'disk.img', format: 'raw' },
      capacityBytes: 1024 * 1024,
    });
    const evil = qcow2({ backing: '/etc/shadow' });
    writeFileSync(volume.path, evil, { flag: 'r+' });
    running.daemon = await running.daemon.crashAndRestart();
    client = await running.daemon.connect();
    await client.call('pool.refresh', { pool: 'default' });
    const ref = { pool: 'default', volume: 'disk.img' };
    expect(await client.call('volume.get', ref)).toMatchObject({ format: 'raw', backing: null });
    await client.call('volume.clone', { ...ref, name: 'copy.img' });
    await client.call('volume.resize', { ...ref, capacityBytes: 2 * 1024 * 1024 });
    const copied = readFileSync(volume.path.replace('disk.img', 'copy.img'));
    expect(copied.length).toBe(1024 * 1024);
    expect(copied.subarray(0, evil.length).equals(evil)).toBe(true);
    expect(existsSync(volume.path)).toBe(true);
    await client.close();
  });

  it('tells who uses a volume, and keeps it', async () => {
    const running = await daemon('system');
    const client = await running.daemon.connect();
    const { volume } = await client.call('volume.create', {
      pool: 'default',
      name: 'web.qcow2',
      capacityBytes: 2 ** 20,
    });
    const disk = `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${volume.path}'/><target dev='vda' bus='virtio'/></disk>`;
    await client.call('domain.define', {
      xml: `<domain type='qemu'><name>web</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>${disk}</devices></domain>`,
    });
    const ref = { pool: 'default', volume: 'web.qcow2' };
    expect((await client.call('volume.get', ref)).usedBy).toEqual([
      { type: 'domain', name: 'web', pool: null, active: false, as: ['disk vda'] },
    ]);
    await expect(client.call('volume.delete', ref)).rejects.toMatchObject({ code: 'volume.in-use' });
    await client.call('domain.undefine', { domain: 'web' });
    await client.call('volume.delete', ref);
    expect(existsSync(volume.path)).toBe(false);
    await client.close();
  });
});
