/** Who depends on a volume, when one file has several names: links in the way of a pool, hard links, relative names. */
import { linkSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { qcow2 } from '../../support/qcow2-header.ts';
import { put } from '../../support/storage-files.ts';
import { dirPool, type StorageRig, storageRig } from '../../support/storage-rig.ts';

async function poolAt(rig: StorageRig, name: string, path: string) {
  const { pool } = await rig.storage.definitions.define(dirPool(name, path), 'strict');
  await rig.storage.lifecycle.start(pool);
  return { pool, of: (volume: string) => ({ pool, volume: rig.storage.volumes.find(pool, volume) }) };
}

const formatOf = (rig: StorageRig, pool: string, name: string) =>
  rig.storage.volumes.find(rig.storage.find(pool), name).format;

describe('an image that is known by another name', () => {
  it('is found by where a pool really is, when the pool is named through a link', async () => {
    const rig = storageRig();
    const real = rig.place('real');
    symlinkSync('real', join(rig.directory, 'link'));
    put(join(real, 'base.img'), Buffer.alloc(4096));
    put(join(real, 'top.qcow2'), qcow2({ backing: join(real, 'base.img') }));
    const { of } = await poolAt(rig, 'p', join(rig.directory, 'link'));
    expect(formatOf(rig, 'p', 'top.qcow2')).toBe('qcow2');
    await expect(rig.storage.volumeChanges.delete(of('base.img'))).rejects.toThrow(
      "volume 'p/top.qcow2' depends on it",
    );
    expect(rig.storage.volumes.imageOf(of('top.qcow2').volume)).toMatchObject({
      backing: { path: join(rig.directory, 'link/base.img') },
    });
    expect(rig.storage.volumes.withPath(join(real, 'base.img'))?.volume.name).toBe('base.img');
  });

  it('is found in a directory beside its own, as `../` says from where that really is', async () => {
    const rig = storageRig();
    put(join(rig.place('bases'), 'base.img'), Buffer.alloc(4096));
    const tops = rig.place('tops');
    put(join(tops, 'top.qcow2'), qcow2({ backing: '../bases/base.img' }));
    put(join(tops, 'lost.qcow2'), qcow2({ backing: '../../bases/base.img' }));
    put(join(tops, 'odd.qcow2'), qcow2({ backing: 'x/../base.img' }));
    symlinkSync('tops', join(rig.directory, 'link'));
    const { of } = await poolAt(rig, 'bases', join(rig.directory, 'bases'));
    await poolAt(rig, 'tops', join(rig.directory, 'link'));
    expect(formatOf(rig, 'tops', 'top.qcow2')).toBe('qcow2');
    expect(formatOf(rig, 'tops', 'lost.qcow2')).toBe('raw');
    expect(formatOf(rig, 'tops', 'odd.qcow2')).toBe('raw');
    await expect(rig.storage.volumeChanges.delete(of('base.img'))).rejects.toThrow(
      "volume 'tops/top.qcow2' depends on it",
    );
  });

  it('is not written through a hard link or a link while others lie on it', async () => {
    const rig = storageRig();
    const path = rig.place('p');
    put(join(path, 'base.img'), Buffer.alloc(4096));
    put(join(path, 'top.qcow2'), qcow2({ backing: 'base.img' }));
    put(join(path, 'over.qcow2'), qcow2({ backing: 'link.img' }));
    linkSync(join(path, 'base.img'), join(path, 'hard.img'));
    symlinkSync('base.img', join(path, 'link.img'));
    const { of } = await poolAt(rig, 'p', path);
    for (const name of ['base.img', 'hard.img', 'link.img']) {
      const refusal = "volume 'p/top.qcow2', volume 'p/over.qcow2' depend on it";
      const users = await rig.storage.volumes.users(of(name));
      expect(users.map((user) => user.name).sort()).toEqual(['over.qcow2', 'top.qcow2']);
      if (name === 'base.img')
        await expect(rig.storage.volumeChanges.delete(of(name))).rejects.toThrow(refusal);
    }
  });
});
