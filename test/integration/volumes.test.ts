/** Volumes on a file system that is full, and images that rights keep the daemon from. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { endFrame, frameHeader } from '../../src/base/sparse-frames.ts';
import { qemuImgTools } from '../../src/storage/qemu-img-tools.ts';
import { hostTools } from '../../src/storage/tools.ts';
import { describeWith } from '../support/needs.ts';
import { run } from '../support/scratch.ts';
import { dirPool, storageRig } from '../support/storage-rig.ts';

const MIB = 1024 * 1024;
const plain = { sparse: false, overwrite: false, resumable: false, checksum: true } as const;

describeWith(['root', 'mount', 'qemu-img'], 'a pool that is full', () => {
  async function smallPool() {
    const rig = storageRig({ images: qemuImgTools, tools: hostTools });
    const path = rig.place('small');
    run('mount', '-t', 'tmpfs', '-o', 'size=8m', 'vireo-test', path);
    onTestFinished(() => void spawnSync('umount', [path]));
    const { pool } = await rig.storage.definitions.define(dirPool('p', path), 'strict');
    await rig.storage.lifecycle.start(pool);
    return { ...rig, pool, path };
  }

  it('refuses an upload that cannot fit before it begins', async () => {
    const { storage, pool } = await smallPool();
    await expect(
      storage.volumeTransfers.upload(pool, 'v', { ...plain, length: 9 * MIB }),
    ).rejects.toMatchObject({
      code: 'file.no-space',
    });
  });

  it.each([false, true])('tells an upload that fills it up (resumable: %s)', async (resumable) => {
    const { storage, pool, path } = await smallPool();
    writeFileSync(join(path, 'mine'), Buffer.alloc(4 * MIB, 1));
    const wish = { ...plain, sparse: true, length: 16 * MIB, resumable };
    const { stream, finished, resume } = await storage.volumeTransfers.upload(pool, 'v', wish);
    const failed = expect(finished).rejects.toMatchObject({ code: 'file.no-space' });
    stream.resume();
    for (let i = 0; i < 16; i++)
      stream.write(Buffer.concat([frameHeader('data', MIB), Buffer.alloc(MIB, i)]));
    stream.end(endFrame(undefined));
    await failed;
    expect(storage.volumes.list(pool).map(({ name }) => name)).not.toContain('v');
    if (!resumable) {
      expect(readdirSync(path)).toEqual(['mine']);
      return;
    }
    // With more space the rest follows.
    run('mount', '-o', 'remount,size=32m', path);
    const again = await storage.volumeTransfers.upload(pool, 'v', { ...wish, resume });
    const rest = 16 * MIB - again.offset;
    again.stream.resume();
    again.stream.end(Buffer.concat([frameHeader('data', rest), Buffer.alloc(rest, 9), endFrame(undefined)]));
    expect((await again.finished).volume.physicalBytes).toBe(16 * MIB);
    expect(readdirSync(path).sort()).toEqual(['mine', 'v']);
  });

  it('in place keeps the volume, and says so', async () => {
    const { storage, pool, path } = await smallPool();
    await storage.volumeCreation.create(pool, {
      ...{ name: 'v', capacityBytes: 16 * MIB, allocationBytes: 0 },
      target: { format: { type: 'raw' } },
    });
    writeFileSync(join(path, 'mine'), Buffer.alloc(4 * MIB, 1));
    const { stream, finished } = await storage.volumeTransfers.upload(pool, 'v', {
      ...{ ...plain, offset: 0, length: 16 * MIB },
    });
    const failed = expect(finished).rejects.toMatchObject({ code: 'file.no-space' });
    stream.resume().end(Buffer.alloc(16 * MIB, 3));
    await failed;
    await storage.lifecycle.refresh(pool);
    expect(storage.volumes.find(pool, 'v').capacityBytes).toBe(16 * MIB);
  });

  it('needs no room to wipe a volume, or to take one out of the trash', async () => {
    const { storage, pool, path } = await smallPool();
    for (const name of ['a', 'b']) writeFileSync(join(path, name), Buffer.alloc(MIB, 7));
    await storage.lifecycle.refresh(pool);
    await storage.volumeChanges.delete({ pool, volume: storage.volumes.find(pool, 'a') }, { keep: true });
    spawnSync('dd', ['if=/dev/zero', `of=${path}/full`, 'bs=64k']);
    await storage.lifecycle.refresh(pool);
    await storage.volumeChanges.wipe({ pool, volume: storage.volumes.find(pool, 'b') }, 'zero');
    expect(readFileSync(join(path, 'b')).equals(Buffer.alloc(MIB))).toBe(true);
    await storage.trash.restore(pool, 'a');
    expect(readFileSync(join(path, 'a')).equals(Buffer.alloc(MIB, 7))).toBe(true);
    expect(readdirSync(path).sort()).toEqual(expect.arrayContaining(['a', 'b', 'full']));
  });

  it('keeps a qcow2 volume sound that cannot grow', async () => {
    const { storage, pool, path } = await smallPool();
    const found = async (name: string) => {
      await storage.lifecycle.refresh(pool);
      return { pool, volume: storage.volumes.find(pool, name) };
    };
    await storage.volumeCreation.create(pool, {
      ...{ name: 'v', capacityBytes: 4 * MIB, allocationBytes: 0 },
      target: { format: { type: 'qcow2' } },
    });
    spawnSync('dd', ['if=/dev/zero', `of=${path}/full`, 'bs=64k']);
    const wish = { relative: 'no', allocate: true, shrink: false } as const;
    await expect(
      storage.volumeChanges.resize(await found('v'), { ...wish, capacityBytes: 64 * MIB }),
    ).rejects.toMatchObject({ code: 'file.no-space' });
    run('qemu-img', 'check', '-q', '-f', 'qcow2', join(path, 'v'));
    expect((await found('v')).volume.capacityBytes).toBe(4 * MIB);
    await storage.volumeChanges.delete(await found('full'));
    await storage.volumeChanges.resize(await found('v'), {
      ...wish,
      allocate: false,
      capacityBytes: 64 * MIB,
    });
    run('qemu-img', 'check', '-q', '-f', 'qcow2', join(path, 'v'));
  });

  it('deletes for good when there is no room for the record of the trash', async () => {
    const { storage, pool, path } = await smallPool();
    writeFileSync(join(path, 'full'), Buffer.alloc(64));
    spawnSync('dd', ['if=/dev/zero', `of=${path}/full`, 'bs=64k']);
    await storage.lifecycle.refresh(pool);
    const found = { pool, volume: storage.volumes.find(pool, 'full') };
    await expect(storage.volumeChanges.delete(found, { keep: true })).rejects.toMatchObject({
      code: 'file.no-space',
      hint: 'delete for good (--now)',
    });
    expect(readdirSync(path)).toContain('full');
    await storage.volumeChanges.delete(found);
    expect(storage.volumes.list(pool)).toEqual([]);
  });
});

describeWith(['root', 'setpriv'], 'an image that rights keep the daemon from', () => {
  /** What a daemon of uid 65534 is told when it opens the path. */
  function told(path: string): { code: string; reason: string; hint: string } {
    const source = `import { openForReading } from ${JSON.stringify(join(import.meta.dirname, '../../src/drivers/qemu/descriptors.ts'))};
await openForReading({ path: ${JSON.stringify(path)}, purpose: 'devices.disk[0].source' }).then(
  () => console.log('{}'), ({ code, reason, hint }) => console.log(JSON.stringify({ code, reason, hint })));`;
    const args = [
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      process.execPath,
      '--input-type=module',
      '-e',
      source,
    ];
    const { stdout, stderr } = spawnSync('setpriv', args, { encoding: 'utf8' });
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout) as ReturnType<typeof told>;
  }

  it('is told with the first directory on the way, or the file, and the repair', () => {
    const directory = mkdtempSync(join(tmpdir(), 'vireo-rights-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    chmodSync(directory, 0o755);
    const home = join(directory, "o'home");
    mkdirSync(join(home, 'images'), { recursive: true, mode: 0o755 });
    const image = join(home, 'images/web.img');
    writeFileSync(image, '', { mode: 0o600 });
    expect(told(image)).toEqual({
      code: 'file.denied',
      reason: `${image}: the daemon (uid 65534) may not read ${image} (owner 0:0, mode 0600)`,
      hint: `chmod o+r '${image.replace("'", "'\\''")}'`,
    });
    chmodSync(home, 0o700);
    expect(told(image)).toMatchObject({
      reason: `${image}: the daemon (uid 65534) may not pass through the directory ${home} (owner 0:0, mode 0700)`,
      hint: `chmod o+x '${home.replace("'", "'\\''")}'`,
    });
    chmodSync(home, 0o711);
    chmodSync(image, 0o604);
    expect(told(image)).toEqual({});
  });
});
