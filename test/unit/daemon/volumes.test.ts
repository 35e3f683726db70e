/** Volumes over real directories: of which format each is, making, changing and deleting them. */
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { qcow2 } from '../../support/qcow2-header.ts';
import { namesOf, put, started } from '../../support/storage-files.ts';
import { dirPool, plainImages, type StorageRig, storageRig } from '../../support/storage-rig.ts';

const raw = (name: string, bytes = 4096) => ({
  name,
  capacityBytes: bytes,
  allocationBytes: 0,
  target: { format: { type: 'raw' as const } },
});

describe('formats', () => {
  it('are learnt once: a guest that writes a header into its raw disk changes nothing, also across a restart', async () => {
    const rig = storageRig();
    const { pool, path } = await started(rig);
    await rig.storage.volumeCreation.create(pool, raw('disk.img', 1024));
    put(join(path, 'found.img'), Buffer.alloc(2048));
    await rig.storage.lifecycle.refresh(pool);
    for (const name of ['disk.img', 'found.img']) put(join(path, name), qcow2({ backing: 'found.img' }));
    await rig.storage.lifecycle.refresh(pool);
    const formats = (one: StorageRig) =>
      one.storage.volumes
        .list(one.storage.find('p'))
        .map(({ name, format, backing }) => [name, format, backing]);
    const wanted = [
      ['disk.img', 'raw', undefined],
      ['found.img', 'raw', undefined],
    ];
    expect(formats(rig)).toEqual(wanted);
    rig.storage.detach();
    const again = storageRig({ directory: rig.directory });
    await again.storage.bringUp(join(rig.directory, 'marker'));
    expect(formats(again)).toEqual(wanted);
    // Renamed by hand, and the pool defined anew: still the same file in the same place.
    renameSync(join(path, 'disk.img'), join(path, 'renamed.qcow2'));
    const other = again.storage.find('p');
    await again.storage.lifecycle.stop(other);
    await again.storage.definitions.undefine(other);
    await again.storage.definitions.define(dirPool('p', path), 'strict');
    await again.storage.lifecycle.start(again.storage.find('p'));
    expect(formats(again)).toEqual([
      ['found.img', 'raw', undefined],
      ['renamed.qcow2', 'raw', undefined],
    ]);
  });

  it('of a file without content are open to LUKS, whose header comes late, and to nothing else', async () => {
    const rig = storageRig();
    const { pool, path } = await started(rig);
    const luks = Buffer.alloc(4096);
    luks.write('LUKS\xba\xbe\0\x01', 0, 'latin1');
    for (const name of ['luks', 'qcow2', 'used', 'written']) put(join(path, name), Buffer.alloc(4096));
    await rig.storage.lifecycle.refresh(pool);
    const formats = () =>
      Object.fromEntries(rig.storage.volumes.list(pool).map(({ name, format }) => [name, format]));
    const allRaw = { luks: 'raw', qcow2: 'raw', used: 'raw', written: 'raw' };
    expect(formats()).toEqual(allRaw);
    rig.disks.push({
      domain: { uuid: 'u', name: 'web' },
      isActive: true,
      as: 'disk vda',
      paths: [join(path, 'used')],
      format: 'raw',
    });
    put(join(path, 'qcow2'), qcow2());
    put(join(path, 'written'), Buffer.alloc(4096, 1));
    await rig.storage.lifecycle.refresh(pool);
    for (const name of ['luks', 'qcow2', 'used', 'written']) put(join(path, name), luks);
    await rig.storage.lifecycle.refresh(pool);
    const wanted = { ...allRaw, luks: 'luks' };
    expect(formats()).toEqual(wanted);
    // Whoever opens it says the same, and it stays.
    for (const name of ['luks', 'used']) put(join(path, name), qcow2());
    await rig.storage.lifecycle.refresh(pool);
    expect(formats()).toEqual(wanted);
  });

  it("are those of a domain's definition where one uses the file", async () => {
    const rig = storageRig();
    const path = rig.place('p');
    put(join(path, 'disk.img'), qcow2());
    rig.disks.push({
      domain: { uuid: 'u', name: 'web' },
      isActive: false,
      as: 'disk vda',
      paths: [join(path, 'disk.img')],
      format: 'raw',
    });
    const { pool } = await started(rig);
    expect(rig.storage.volumes.find(pool, 'disk.img').format).toBe('raw');
  });

  it('of a file that names another one outside are raw until somebody says otherwise', async () => {
    const rig = storageRig();
    const path = rig.place('p');
    put(join(path, 'a.qcow2'), qcow2({ backing: '/etc/shadow' }));
    const { pool } = await started(rig);
    const found = { pool, volume: rig.storage.volumes.find(pool, 'a.qcow2') };
    expect(found.volume).toMatchObject({
      format: 'raw',
      problem: expect.stringContaining('/etc/shadow') as string,
    });
    await expect(
      rig.storage.volumeCreation.clone(found, pool, { name: 'b', target: {} }),
    ).rejects.toMatchObject({
      code: 'definition.unsupported',
    });
    await rig.storage.volumeChanges.setFormat(found, 'qcow2');
    expect(rig.storage.volumes.find(pool, 'a.qcow2')).toMatchObject({
      format: 'qcow2',
      capacityBytes: 1_073_741_824,
      backing: { path: '/etc/shadow' },
    });
    // It is what somebody said; the file below it is still not opened.
    const told = { pool, volume: rig.storage.volumes.find(pool, 'a.qcow2') };
    await expect(rig.storage.volumeCreation.clone(told, pool, { name: 'b', target: {} })).rejects.toThrow(
      /in no active pool/,
    );
  });
});

describe('volumes', () => {
  it('are made, found by path and key, resized, overwritten and deleted', async () => {
    const rig = storageRig();
    const { pool, path } = await started(rig);
    const { volume, warnings } = await rig.storage.volumeCreation.create(pool, raw('a', 8192));
    expect([volume.capacityBytes, volume.permissions?.mode, warnings]).toEqual([8192, 0o600, []]);
    expect(rig.storage.volumes.findByPath(`${path}//a`).volume.name).toBe('a');
    expect(rig.storage.volumes.findByKey(`${path}/a`).volume.name).toBe('a');
    const found = { pool, volume };
    const wish = { relative: 'no', allocate: false, shrink: false } as const;
    await expect(
      rig.storage.volumeChanges.resize(found, { ...wish, capacityBytes: 4096 }),
    ).rejects.toMatchObject({ code: 'request.invalid' });
    expect(
      (await rig.storage.volumeChanges.resize(found, { ...wish, relative: 'more', capacityBytes: 100 }))
        .capacityBytes,
    ).toBe(8292);
    expect(
      (await rig.storage.volumeChanges.resize(found, { ...wish, shrink: true, capacityBytes: 4096 }))
        .capacityBytes,
    ).toBe(4096);
    // Holes hold nothing, and stay.
    writeFileSync(join(path, 'a'), Buffer.alloc(4096, 'secret'));
    await rig.storage.volumeChanges.wipe(found, 'bsi');
    expect(readFileSync(join(path, 'a')).every((byte) => byte === 0x7f)).toBe(true);
    await rig.storage.volumeChanges.delete(found);
    expect(namesOf(rig)).toEqual([]);
    expect(() => rig.storage.volumes.find(pool, 'a')).toThrow(/no storage volume/);
  });

  it.each(['../up', 'a/b', '.hidden', '..', 'a\u0007', ' ', 'x'.repeat(256)])(
    'are not called %j',
    async (name) => {
      const rig = storageRig();
      const { pool } = await started(rig);
      const xml = `<volume><name>${name.replace('\u0007', '&#7;')}</name><capacity>1</capacity></volume>`;
      const options = { mode: 'strict', preallocateMetadata: false } as const;
      await expect(rig.storage.volumeCreation.createXml(pool, xml, options)).rejects.toThrow();
      expect(readdirSync(rig.directory).sort()).toEqual(['definitions', 'formats', 'headers', 'p', 'status']);
    },
  );

  it('never take the place of a file, a link or a FIFO', async () => {
    const rig = storageRig();
    const { pool, path } = await started(rig);
    put(join(path, 'file'), 'mine');
    symlinkSync(join(path, 'nowhere'), join(path, 'dangling'));
    for (const name of ['file', 'dangling'])
      await expect(rig.storage.volumeCreation.create(pool, raw(name))).rejects.toMatchObject({
        code: 'volume.exists',
      });
    expect(existsSync(join(path, 'nowhere'))).toBe(false);
    expect(readdirSync(path).sort()).toEqual(['dangling', 'file']);
  });

  it('are copied by the description of the original, which says what that takes: whole blocks', async () => {
    const rig = storageRig();
    const path = rig.place('p');
    put(join(path, 'a'), Buffer.alloc(5000, 1));
    const { pool } = await started(rig);
    const volume = rig.storage.volumes.find(pool, 'a');
    expect(volume.allocationBytes).toBeGreaterThan(volume.capacityBytes);
    const xml = rig.storage.volumes.xml(volume).replace('<name>a<', '<name>b<');
    await rig.storage.volumeCreation.cloneXml({ pool, volume }, pool, xml, 'lenient');
    expect(rig.storage.volumes.list(pool).map(({ name }) => name)).toEqual(['a', 'b']);
  });

  it('that fail or are called off leave nothing', async () => {
    const failing = {
      ...plainImages,
      create: async (path: string) => {
        writeFileSync(path, 'half');
        throw new Error('broken');
      },
    };
    const rig = storageRig({ images: failing });
    const { pool, path } = await started(rig);
    await expect(rig.storage.volumeCreation.create(pool, raw('a'))).rejects.toThrow();
    expect(readdirSync(path)).toEqual([]);
  });

  it('that others depend on are kept, and the others are named', async () => {
    const rig = storageRig();
    const path = rig.place('p');
    put(join(path, 'base.img'), Buffer.alloc(4096));
    put(join(path, 'top.qcow2'), qcow2({ backing: 'base.img' }));
    const { pool } = await started(rig);
    const base = { pool, volume: rig.storage.volumes.find(pool, 'base.img') };
    rig.disks.push({
      domain: { uuid: 'u', name: 'web' },
      isActive: true,
      as: 'disk vda',
      paths: [join(path, 'top.qcow2')],
      format: 'qcow2',
    });
    await expect(rig.storage.volumeChanges.delete(base)).rejects.toThrow(
      "domain 'web' (running, below disk vda), volume 'p/top.qcow2' depend on it",
    );
    const top = { pool, volume: rig.storage.volumes.find(pool, 'top.qcow2') };
    await expect(rig.storage.volumeChanges.delete(top)).rejects.toThrow(
      "domain 'web' (running, disk vda) depends on it",
    );
    await expect(
      rig.storage.volumeCreation.clone(top, pool, { name: 'c', target: {} }),
    ).rejects.toMatchObject({
      code: 'volume.in-use',
    });
    await expect(rig.storage.volumeChanges.delete(top, { evenOfStopped: true })).rejects.toThrow('running');
    expect(await rig.storage.volumes.users(base)).toEqual([
      { type: 'domain', name: 'web', isActive: true, as: ['below disk vda'], needsBytes: true },
      {
        type: 'volume',
        name: 'top.qcow2',
        pool: 'p',
        isActive: false,
        as: ['image on top'],
        needsBytes: true,
      },
    ]);
  });

  it('tell what their headers say, where there is one', async () => {
    const rig = storageRig();
    const path = rig.place('p');
    put(join(path, 'raw.img'), Buffer.alloc(4096));
    put(join(path, 'base.img'), Buffer.alloc(4096));
    put(join(path, 'top.qcow2'), qcow2({ backing: 'base.img' }));
    const { pool } = await started(rig);
    const { volumes } = rig.storage;
    expect(await volumes.header(volumes.find(pool, 'raw.img'))).toBeUndefined();
    const top = volumes.find(pool, 'top.qcow2');
    const header = await volumes.header(top);
    expect(header).toMatchObject({ clusterBytes: 65_536, refcountBits: 1, backing: { name: 'base.img' } });
    rmSync(top.path);
    expect(await volumes.header(top)).toBeUndefined();
  });

  it('that a snapshot needs are neither deleted nor overwritten, even of a stopped domain', async () => {
    const rig = storageRig();
    const path = rig.place('p');
    for (const name of ['base.img', 'own.img']) put(join(path, name), Buffer.alloc(4096));
    const { pool } = await started(rig);
    const base = { pool, volume: rig.storage.volumes.find(pool, 'base.img') };
    const own = { pool, volume: rig.storage.volumes.find(pool, 'own.img') };
    const stopped = { domain: { uuid: 'u', name: 'web' }, isActive: false, format: 'raw' as const };
    const snapshot = { ...stopped, as: "snapshot 'one' of disk vda", isSnapshot: true as const };
    rig.disks.push(
      { ...snapshot, paths: [base.volume.path] },
      // Inside the image of the domain's own disk: it goes with that.
      { ...stopped, as: 'disk vdb', paths: [own.volume.path] },
      { ...snapshot, as: "snapshot 'one' of disk vdb", paths: [own.volume.path] },
    );
    const needs = "domain 'web' (snapshot 'one' of disk vda) depends on it";
    const { volumeChanges } = rig.storage;
    await expect(volumeChanges.delete(base, { evenOfStopped: true })).rejects.toThrow(needs);
    await expect(volumeChanges.wipe(base, 'zero')).rejects.toThrow(needs);
    await expect(volumeChanges.delete(own)).rejects.toThrow("disk vdb, snapshot 'one' of disk vdb");
    await volumeChanges.delete(own, { evenOfStopped: true });
    expect(readdirSync(path)).toEqual(['base.img']);
  });

  it('of a stopped domain are deleted where that is asked for', async () => {
    const rig = storageRig();
    const path = rig.place('p');
    put(join(path, 'a.img'), Buffer.alloc(4096));
    const { pool } = await started(rig);
    const found = { pool, volume: rig.storage.volumes.find(pool, 'a.img') };
    const domain = { uuid: 'u', name: 'web' };
    rig.disks.push({ domain, isActive: false, as: 'disk vda', paths: [join(path, 'a.img')], format: 'raw' });
    await expect(rig.storage.volumeChanges.delete(found)).rejects.toMatchObject({ code: 'volume.in-use' });
    await rig.storage.volumeChanges.delete(found, { evenOfStopped: true });
    expect(readdirSync(path)).toEqual([]);
  });

  it('need the space that is to be taken, and warn of what is only promised', async () => {
    const rig = storageRig();
    const { pool } = await started(rig);
    const huge = Number.MAX_SAFE_INTEGER;
    await expect(
      rig.storage.volumeCreation.create(pool, { ...raw('a', huge), allocationBytes: huge }),
    ).rejects.toMatchObject({ code: 'file.no-space' });
    const thin = await rig.storage.volumeCreation.create(pool, { ...raw('b', 2 ** 43) });
    expect(thin.warnings).toHaveLength(1);
    truncateSync(thin.volume.path, 0);
  });

  it('of a copy are what the domain below says, and nothing of a pool that stops meanwhile', async () => {
    const gate = Promise.withResolvers<void>();
    const slow = {
      ...plainImages,
      copy: async (...args: Parameters<typeof plainImages.copy>) => {
        await gate.promise;
        await plainImages.copy(...args);
      },
    };
    const rig = storageRig({ images: slow });
    const { pool } = await started(rig);
    const { volume } = await rig.storage.volumeCreation.create(pool, raw('a'));
    const copy = rig.storage.volumeCreation.clone({ pool, volume }, pool, { name: 'b', target: {} });
    await expect
      .poll(() => rig.events.some((event) => event.event === 'job.started' && event.job === 'clone from'))
      .toBe(true);
    await expect(rig.storage.lifecycle.stop(pool)).rejects.toMatchObject({ code: 'pool.busy' });
    gate.resolve();
    await copy;
    expect(namesOf(rig)).toEqual(['a', 'b']);
    await rig.storage.lifecycle.stop(pool);
  });
});
