/** Pools over libvirt's protocol, on the real storage service and real files. */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nextEvent } from './rig.ts';
import { rigWithPool, rigWithVolume } from './storage-rig.ts';

describe('pools', () => {
  it('are listed by every filter, as a count when that is asked, and by the old calls', async () => {
    const { client, pool, rig } = await rigWithPool();
    const other = join(rig.directory, 'other');
    const xml = `<pool type='fs'><name>other</name><source><device path='/dev/vg/x'/></source><target><path>${other}</path></target></pool>`;
    await client.call('storagePoolDefineXml', { xml, flags: 0 });
    await client.call('storagePoolSetAutostart', { pool, autostart: 1 });
    const names = async (flags: number) =>
      (await client.call('connectListAllStoragePools', { needResults: 1, flags })).pools
        .map(({ name }) => name)
        .join();
    const all = 'images,other';
    const expected = [
      'other',
      'images',
      all,
      '',
      'images',
      'other',
      'images',
      'other',
      ...Array(12).fill(''),
    ];
    for (const [bit, list] of expected.entries()) expect([bit, await names(1 << bit)]).toEqual([bit, list]);
    expect(await names(0)).toBe(all);
    expect(await names((1 << 6) | (1 << 7))).toBe(all);
    await expect(names(1 << 20)).rejects.toThrow(
      /unsupported flags \(0x100000\).*virConnectListAllStoragePools/,
    );
    expect(await client.call('connectListAllStoragePools', { needResults: 0, flags: 0 })).toEqual({
      pools: [],
      ret: 2,
    });
    expect(await client.call('connectNumOfStoragePools', undefined)).toEqual({ num: 1 });
    expect(await client.call('connectListStoragePools', { maxnames: 9 })).toEqual({ names: ['images'] });
    expect(await client.call('connectNumOfDefinedStoragePools', undefined)).toEqual({ num: 1 });
    expect(await client.call('connectListDefinedStoragePools', { maxnames: 9 })).toEqual({
      names: ['other'],
    });
  });

  it('are found by name, uuid, volume and path, and missed in words that clients know', async () => {
    const { client, pool, vol, path } = await rigWithVolume();
    expect(await client.call('storagePoolLookupByName', { name: 'images' })).toEqual({ pool });
    expect(await client.call('storagePoolLookupByUuid', { uuid: pool.uuid })).toEqual({ pool });
    expect(await client.call('storagePoolLookupByVolume', { vol })).toEqual({ pool });
    expect(await client.call('storagePoolLookupByTargetPath', { path: `${path}//` })).toEqual({ pool });
    await expect(client.call('storagePoolLookupByName', { name: 'x' })).rejects.toThrow(
      "49: Storage pool not found: no storage pool with matching name 'x'",
    );
    // A uuid is no name.
    await expect(client.call('storagePoolLookupByName', { name: pool.uuid })).rejects.toThrow('49: ');
    await expect(client.call('storagePoolLookupByTargetPath', { path: '/x' })).rejects.toThrow(
      "49: Storage pool not found: no storage pool with matching target path '/x'",
    );
    const gone = { name: 'old', uuid: '11111111-2222-4333-8444-555555555555' };
    await expect(client.call('storagePoolIsActive', { pool: gone })).rejects.toThrow(`'${gone.uuid}' (old)`);
  });

  it('tell whether they are active when a start that is in work has ended', async () => {
    const { rig, client, pool } = await rigWithPool();
    await client.call('storagePoolDestroy', { pool });
    const found = rig.engine.storage.find('images');
    const gate = Promise.withResolvers<void>();
    const before = found.jobs.run('build', () => gate.promise, { waitMs: 1000 });
    const starting = client.call('storagePoolCreate', { pool, flags: 0 });
    const other = await rig.open();
    const asked = other.call('storagePoolIsActive', { pool });
    expect(await other.call('storagePoolIsPersistent', { pool })).toEqual({ persistent: 1 });
    gate.resolve();
    expect(await asked).toEqual({ active: 1 });
    await Promise.all([before, starting]);
  });

  it('live: defined, built, started, refreshed, stopped, deleted, undefined, each where it may be', async () => {
    const { client, pool, path } = await rigWithPool();
    expect(existsSync(path)).toBe(true);
    expect(await client.call('storagePoolIsActive', { pool })).toEqual({ active: 1 });
    expect(await client.call('storagePoolIsPersistent', { pool })).toEqual({ persistent: 1 });
    const info = await client.call('storagePoolGetInfo', { pool });
    expect(info.state).toBe(2);
    expect(Number(info.capacity)).toBeGreaterThan(0);
    const stillActive = "55: Requested operation is not valid: storage pool 'images' is still active";
    await expect(client.call('storagePoolUndefine', { pool })).rejects.toThrow(stillActive);
    await expect(client.call('storagePoolDelete', { pool, flags: 0 })).rejects.toThrow(stillActive);
    await expect(client.call('storagePoolCreate', { pool, flags: 0 })).rejects.toThrow('is already active');
    writeFileSync(join(path, 'by-hand'), 'x');
    await client.call('storagePoolRefresh', { pool, flags: 0 });
    expect(await client.call('storagePoolListVolumes', { pool, maxnames: 9 })).toEqual({
      names: ['by-hand'],
    });
    expect(await client.call('storagePoolNumOfVolumes', { pool })).toEqual({ num: 1 });
    await client.call('storagePoolDestroy', { pool });
    expect((await client.call('storagePoolGetInfo', { pool })).state).toBe(0);
    await expect(client.call('storagePoolNumOfVolumes', { pool })).rejects.toThrow(
      "storage pool 'images' is not active",
    );
    await expect(client.call('storagePoolDelete', { pool, flags: 1 })).rejects.toThrow('unsupported flags');
    await expect(client.call('storagePoolBuild', { pool, flags: 12 })).rejects.toThrow('mutually exclusive');
    await client.call('storagePoolUndefine', { pool });
    await expect(client.call('storagePoolIsActive', { pool })).rejects.toThrow('49: ');
    expect(readdirSync(path)).toContain('by-hand');
  });

  it('are shown as stored or as they run, and checked strictly when that is asked', async () => {
    const { client, pool, path, xml } = await rigWithPool();
    const shown = async (flags: number) => (await client.call('storagePoolGetXmlDesc', { pool, flags })).xml;
    expect(await shown(0)).toContain(`<path>${path}</path>`);
    expect(await shown(0)).not.toContain("<capacity unit='bytes'>0<");
    expect(await shown(1)).toContain("<capacity unit='bytes'>0<");
    const odd = xml.replace('</name>', `</name><uuid>${pool.uuid}</uuid><odd/>`);
    await expect(client.call('storagePoolDefineXml', { xml: odd, flags: 1 })).rejects.toThrow(/^27: .*odd/);
    expect(await client.call('storagePoolDefineXml', { xml: odd, flags: 0 })).toEqual({ pool });
    const { capabilities } = await client.call('connectGetStoragePoolCapabilities', { flags: 0 });
    expect(capabilities).toContain("<pool type='dir' supported='yes'>");
    await expect(
      client.call('connectFindStoragePoolSources', { type: 'odd', srcSpec: null, flags: 0 }),
    ).rejects.toThrow('67: unsupported configuration: unknown storage pool type odd');
  });

  it('may be transient: then they have no autostart and are gone when they stop', async () => {
    const { client, rig } = await rigWithPool();
    const xml = `<pool type='dir'><name>t</name><target><path>${join(rig.directory, 't')}</path></target></pool>`;
    const { pool } = await client.call('storagePoolCreateXml', { xml, flags: 1 });
    expect(await client.call('storagePoolIsPersistent', { pool })).toEqual({ persistent: 0 });
    expect(await client.call('storagePoolGetAutostart', { pool })).toEqual({ autostart: 0 });
    await expect(client.call('storagePoolSetAutostart', { pool, autostart: 1 })).rejects.toThrow(
      '8: invalid argument: pool has no config file',
    );
    await client.call('storagePoolDestroy', { pool });
    await expect(client.call('storagePoolLookupByName', { name: 't' })).rejects.toThrow('49: ');
  });

  it('tell of their lives by events, of one pool or of all', async () => {
    const { client, pool } = await rigWithPool();
    const register = (eventId: number, of: typeof pool | null) =>
      client.call('connectStoragePoolEventRegisterAny', { eventId, pool: of });
    const { callbackId } = await register(0, pool);
    const refresh = await register(1, null);
    await client.call('storagePoolRefresh', { pool, flags: 0 });
    expect(await nextEvent(client, 'storagePoolEventRefresh')).toEqual({
      callbackId: refresh.callbackId,
      pool,
    });
    await client.call('storagePoolDestroy', { pool });
    await client.call('storagePoolBuild', { pool, flags: 0 });
    await client.call('storagePoolCreate', { pool, flags: 0 });
    for (const event of [3, 4, 2])
      expect(await nextEvent(client, 'storagePoolEventLifecycle')).toEqual({
        ...{ callbackId, pool, event },
        detail: 0,
      });
    await client.call('connectStoragePoolEventDeregisterAny', { callbackId });
  });

  it('can only be looked at on a read-only connection', async () => {
    const { rig, pool, vol } = await rigWithVolume();
    const reader = await rig.open(1);
    expect((await reader.call('storagePoolGetInfo', { pool })).state).toBe(2);
    expect((await reader.call('storageVolGetPath', { vol })).name).toBe(vol.key);
    const refused = [
      () => reader.call('storagePoolDestroy', { pool }),
      () => reader.call('storagePoolRefresh', { pool, flags: 0 }),
      () => reader.call('storageVolDelete', { vol, flags: 0 }),
      () => reader.call('storageVolDownload', { vol, offset: 0, length: 0, flags: 0 }),
      () => reader.call('storageVolUpload', { vol, offset: 0, length: 0, flags: 0 }),
      () => reader.call('connectFindStoragePoolSources', { type: 'logical', srcSpec: null, flags: 0 }),
    ];
    for (const call of refused) await expect(call()).rejects.toThrow('29: operation forbidden: read only');
  });
});
