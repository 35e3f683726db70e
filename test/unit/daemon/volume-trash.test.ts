/** Deleted volumes: kept for some days, brought back, taken away; and a trash that somebody else has put there. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { dirPool, storageRig } from '../../support/storage-rig.ts';

const DAY_MS = 24 * 3600 * 1000;

async function withVolume(name = 'v.qcow2') {
  const rig = storageRig();
  const path = rig.place('p');
  const { pool } = await rig.storage.definitions.define(dirPool('p', path), 'strict');
  await rig.storage.lifecycle.start(pool);
  const make = async () => {
    const target = { format: { type: 'raw' as const } };
    await rig.storage.volumeCreation.create(pool, { name, capacityBytes: 4096, allocationBytes: 0, target });
    return { pool, volume: rig.storage.volumes.find(pool, name) };
  };
  const names = () => rig.storage.volumes.list(pool).map((volume) => volume.name);
  return { ...rig, path, pool, make, names, trash: rig.storage.trash };
}

describe('a deleted volume', () => {
  it('comes back with its name, bytes and format', async () => {
    const rig = await withVolume();
    const found = await rig.make();
    writeFileSync(found.volume.path, 'bytes');
    const kept = await rig.storage.volumeChanges.delete(found, { keep: true });
    expect(kept).toMatchObject({ name: 'v.qcow2', format: 'raw', pool: 'p' });
    expect((kept?.untilMs ?? 0) - (kept?.deletedAtMs ?? 0)).toBe(7 * DAY_MS);
    expect(rig.names()).toEqual([]);
    expect(existsSync(found.volume.path)).toBe(false);
    expect(await rig.trash.list([rig.pool])).toMatchObject([{ id: kept?.id, name: 'v.qcow2' }]);
    const back = await rig.trash.restore(rig.pool, 'v.qcow2');
    // The name does not make it qcow2: its format is what it was.
    expect(back).toMatchObject({ name: 'v.qcow2', format: 'raw' });
    expect(readFileSync(back.path, 'utf8')).toBe('bytes');
    expect(await rig.trash.list([rig.pool])).toEqual([]);
    expect(readdirSync(join(rig.path, '.vireo-trash'))).toEqual([]);
  });

  it('does not come back over another of its name, but under a new one; the last one counts', async () => {
    const rig = await withVolume();
    for (const text of ['first', 'second']) {
      const found = await rig.make();
      writeFileSync(found.volume.path, text);
      await rig.storage.volumeChanges.delete(found, { keep: true });
      await new Promise((done) => setTimeout(done, 2));
    }
    await rig.make();
    await expect(rig.trash.restore(rig.pool, 'v.qcow2')).rejects.toMatchObject({ code: 'volume.exists' });
    const back = await rig.trash.restore(rig.pool, 'v.qcow2', 'old');
    expect(readFileSync(back.path, 'utf8')).toBe('second');
    const [first] = await rig.trash.list([rig.pool]);
    const earlier = await rig.trash.restore(rig.pool, first?.id ?? '', 'older');
    expect(readFileSync(earlier.path, 'utf8')).toBe('first');
    await expect(rig.trash.restore(rig.pool, '../v')).rejects.toMatchObject({ code: 'volume.not-found' });
  });

  it('is gone for good after its time, or when the trash is emptied', async () => {
    const rig = await withVolume();
    await rig.storage.volumeChanges.delete(await rig.make(), { keep: true });
    await rig.trash.purge(Date.now() + 6 * DAY_MS);
    expect(await rig.trash.list([rig.pool])).toHaveLength(1);
    await rig.trash.purge(Date.now() + 8 * DAY_MS);
    expect(await rig.trash.list([rig.pool])).toEqual([]);
    await rig.storage.volumeChanges.delete(await rig.make(), { keep: true });
    expect(await rig.trash.empty(rig.pool)).toHaveLength(1);
    expect(readdirSync(join(rig.path, '.vireo-trash'))).toEqual([]);
  });

  it('is gone at once without the wish to keep it, as on the protocol of libvirt', async () => {
    const rig = await withVolume();
    expect(await rig.storage.volumeChanges.delete(await rig.make())).toBeUndefined();
    expect(readdirSync(rig.path)).toEqual([]);
  });

  it('keeps its pool from being deleted until the trash is empty', async () => {
    const rig = await withVolume();
    await rig.storage.volumeChanges.delete(await rig.make(), { keep: true });
    await rig.storage.lifecycle.stop(rig.pool);
    await expect(rig.storage.lifecycle.delete(rig.pool)).rejects.toMatchObject({ code: 'file.exists' });
    await rig.storage.lifecycle.start(rig.pool);
    await rig.trash.empty(rig.pool);
    await rig.storage.lifecycle.stop(rig.pool);
    await rig.storage.lifecycle.delete(rig.pool);
    expect(existsSync(rig.path)).toBe(false);
  });

  it('is still there after a restart', async () => {
    const rig = await withVolume();
    await rig.storage.volumeChanges.delete(await rig.make(), { keep: true });
    const again = storageRig({ directory: rig.directory });
    const pool = again.storage.find('p');
    await again.storage.lifecycle.recover();
    expect(await again.storage.trash.list([pool])).toHaveLength(1);
    await again.storage.trash.restore(pool, 'v.qcow2');
    expect(again.storage.volumes.list(pool)).toHaveLength(1);
  });

  it('is not put through a link, or where others may write', async () => {
    const rig = await withVolume();
    const elsewhere = join(rig.directory, 'elsewhere');
    mkdirSync(elsewhere);
    symlinkSync(elsewhere, join(rig.path, '.vireo-trash'));
    const found = await rig.make();
    await expect(rig.storage.volumeChanges.delete(found, { keep: true })).rejects.toMatchObject({
      code: expect.stringMatching(/^file\./) as string,
    });
    expect(readdirSync(elsewhere)).toEqual([]);
    expect(rig.names()).toEqual(['v.qcow2']);
    const open = await withVolume();
    mkdirSync(join(open.path, '.vireo-trash'));
    chmodSync(join(open.path, '.vireo-trash'), 0o777);
    await expect(open.storage.volumeChanges.delete(await open.make(), { keep: true })).rejects.toMatchObject({
      code: 'file.denied',
    });
  });

  it('with a record that is broken is left alone and not listed', async () => {
    const rig = await withVolume();
    const kept = await rig.storage.volumeChanges.delete(await rig.make(), { keep: true });
    const record = join(rig.path, '.vireo-trash', `${kept?.id}.json`);
    writeFileSync(record, readFileSync(record, 'utf8').replace('v.qcow2', '../../etc/cron.d/x'));
    expect(await rig.trash.list([rig.pool])).toEqual([]);
    await expect(rig.trash.restore(rig.pool, kept?.id ?? '')).rejects.toMatchObject({
      code: 'volume.not-found',
    });
  });
});

describe('who depends on a volume', () => {
  const use = (paths: string[], as = 'disk vda', more = {}) => ({
    ...{ domain: { uuid: 'u', name: 'web' }, isActive: false, paths, format: 'raw' as const, as, ...more },
  });

  it('is told by path, by another name of the file, by volume, and for what', async () => {
    const rig = await withVolume('v');
    const found = await rig.make();
    const link = join(rig.directory, 'link');
    symlinkSync(found.volume.path, link);
    rig.disks.push(use([found.volume.path]), use(['/nowhere', link], 'disk vdb'), use([link], 'nvram'));
    rig.disks.push(use([], 'cdrom sda', { volume: { pool: 'p', name: 'v' } }));
    rig.disks.push({ ...use(['/other']), domain: { uuid: 'o', name: 'other' } });
    expect(await rig.storage.volumes.users(found)).toEqual([
      {
        type: 'domain',
        name: 'web',
        isActive: false,
        as: ['disk vda', 'below disk vdb', 'nvram', 'cdrom sda'],
        needsBytes: false,
      },
    ]);
    for (const options of [{}, { keep: true }])
      await expect(rig.storage.volumeChanges.delete(found, options)).rejects.toThrow(
        /domain 'web' \(disk vda, below disk vdb, nvram, cdrom sda\)/,
      );
  });
});
