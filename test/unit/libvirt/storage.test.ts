/** Pools and volumes over libvirt's protocol, on the real storage service and real files. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { errorBody, messageStatus, messageType, streamHole } from '../../../src/libvirt/protocol/message.ts';
import { type RemoteArgs, remoteProcedures } from '../../../src/libvirt/protocol/programs.ts';
import { decodeAll, encodeAll } from '../../../src/libvirt/xdr/xdr.ts';
import { type LibvirtClient, messageBytes } from '../../support/libvirt-client.ts';
import { nextEvent, startRig } from './rig.ts';

const MIB = 1024 * 1024;

const volumeXml = (name: string, bytes = MIB, format = 'raw') =>
  `<volume><name>${name}</name><capacity>${bytes}</capacity><target><format type='${format}'/></target></volume>`;

async function rigWithPool() {
  const rig = await startRig({ readOnlySocket: true });
  const client = await rig.open();
  const path = join(rig.directory, 'images');
  const xml = `<pool type='dir'><name>images</name><target><path>${path}</path></target></pool>`;
  const { pool } = await client.call('storagePoolDefineXml', { xml, flags: 0 });
  await client.call('storagePoolCreate', { pool, flags: 1 });
  return { rig, client, pool, path, xml };
}

async function rigWithVolume(bytes = MIB) {
  const rig = await rigWithPool();
  const { vol } = await rig.client.call('storageVolCreateXml', {
    pool: rig.pool,
    xml: volumeXml('disk', bytes),
    flags: 0,
  });
  return { ...rig, vol, file: join(rig.path, 'disk') };
}

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

describe('volumes', () => {
  it('are found by name, key and path, and missed in words that clients know', async () => {
    const { client, pool, vol, file } = await rigWithVolume();
    expect(vol).toEqual({ pool: 'images', name: 'disk', key: file });
    expect(await client.call('storageVolLookupByName', { pool, name: 'disk' })).toEqual({ vol });
    expect(await client.call('storageVolLookupByKey', { key: file })).toEqual({ vol });
    expect(await client.call('storageVolLookupByPath', { path: file })).toEqual({ vol });
    expect(await client.call('storagePoolListAllVolumes', { pool, needResults: 1, flags: 0 })).toEqual({
      vols: [vol],
      ret: 1,
    });
    await expect(client.call('storageVolLookupByName', { pool, name: 'x' })).rejects.toThrow(
      "50: Storage volume not found: no storage vol with matching name 'x'",
    );
    await expect(client.call('storageVolLookupByPath', { path: '/x' })).rejects.toThrow(
      "50: Storage volume not found: no storage vol with matching path '/x'",
    );
    await expect(client.call('storageVolLookupByKey', { key: '/x' })).rejects.toThrow(
      '50: Storage volume not found: no storage vol with matching key /x',
    );
  });

  it('are made, copied, resized, wiped and deleted for good', async () => {
    const { client, pool, vol, path, file } = await rigWithVolume();
    await expect(
      client.call('storageVolCreateXml', { pool, xml: volumeXml('disk'), flags: 0 }),
    ).rejects.toThrow("90: storage volume 'disk' exists already");
    const { xml } = await client.call('storageVolGetXmlDesc', { vol, flags: 0 });
    const copy = await client.call('storageVolCreateXmlFrom', {
      ...{ pool, clonevol: vol, flags: 0 },
      xml: xml.replace('>disk<', '>copy<'),
    });
    expect(copy.vol).toEqual({ pool: 'images', name: 'copy', key: join(path, 'copy') });
    await expect(
      client.call('storageVolCreateXmlFrom', { pool, clonevol: vol, xml, flags: 8 }),
    ).rejects.toThrow('unsupported flags (0x8)');
    await client.call('storageVolResize', { vol, capacity: 2 * MIB, flags: 0 });
    await client.call('storageVolResize', { vol, capacity: MIB, flags: 2 });
    expect((await client.call('storageVolGetInfo', { vol })).capacity).toBe(3 * MIB);
    await client.call('storageVolResize', { vol, capacity: 2 * MIB, flags: 6 });
    expect(statSync(file).size).toBe(MIB);
    await expect(client.call('storageVolResize', { vol, capacity: 1, flags: 0 })).rejects.toThrow('8: ');
    writeFileSync(file, Buffer.alloc(MIB, 'x'));
    await client.call('storageVolWipe', { vol, flags: 0 });
    expect(readFileSync(file).every((byte) => byte === 0)).toBe(true);
    await client.call('storageVolWipePattern', { vol, algorithm: 8, flags: 0 });
    expect(readFileSync(file).some((byte) => byte !== 0)).toBe(true);
    await expect(client.call('storageVolWipePattern', { vol, algorithm: 99, flags: 0 })).rejects.toThrow(
      '8: ',
    );
    await expect(client.call('storageVolDelete', { vol, flags: 2 })).rejects.toThrow(
      'unsupported flags (0x2)',
    );
    await client.call('storageVolDelete', { vol, flags: 0 });
    await client.call('storageVolDelete', { vol: copy.vol, flags: 1 });
    expect(readdirSync(path)).toEqual([]);
  });

  it('are told as they are at this moment, with the length of the file when that is asked', async () => {
    const { client, vol, file } = await rigWithVolume();
    writeFileSync(file, Buffer.alloc(3 * MIB, 'x'));
    const info = await client.call('storageVolGetInfo', { vol });
    expect(info).toMatchObject({ type: 0, capacity: 3 * MIB });
    const physical = await client.call('storageVolGetInfoFlags', { vol, flags: 1 });
    expect(physical.allocation).toBe(3 * MIB);
    await expect(client.call('storageVolGetInfoFlags', { vol, flags: 2 })).rejects.toThrow('8: ');
  });
});

/** A stream that was opened, with packets on it. */
async function streamOf(
  client: LibvirtClient,
  name: 'storageVolUpload' | 'storageVolDownload',
  args: RemoteArgs<'storageVolUpload' | 'storageVolDownload'>,
) {
  const serial = client.send(name, args);
  await client.reply(name, serial);
  const { number: procedure } = remoteProcedures[name];
  const hole = (length: number) => {
    const header = { procedure, type: messageType.streamHole, serial, status: messageStatus.continue };
    client.write(messageBytes(header, encodeAll(streamHole, { length, flags: 0 })));
  };
  const send = (status: number, data?: Uint8Array) => client.sendStream(name, serial, status, data);
  const next = () =>
    client.next(({ header }) => header.serial === serial && header.type !== messageType.reply);
  return { serial, hole, send, next };
}

/** All that comes until there is no more: bytes, and holes by their length. */
async function received(stream: Awaited<ReturnType<typeof streamOf>>): Promise<(Buffer | number)[]> {
  const parts: (Buffer | number)[] = [];
  for (;;) {
    const { header, body } = await stream.next();
    if (header.status === messageStatus.error) throw new Error(decodeAll(errorBody, body).message ?? '');
    if (header.type === messageType.streamHole) parts.push(Number(decodeAll(streamHole, body).length));
    else if (body.length === 0) break;
    else parts.push(body);
  }
  stream.send(messageStatus.ok);
  expect((await stream.next()).header.status).toBe(messageStatus.ok);
  return parts;
}

describe('bytes of volumes', () => {
  it('are uploaded in place and downloaded, as a whole and in parts', async () => {
    const { client, vol, file } = await rigWithVolume(2 * MIB);
    const up = await streamOf(client, 'storageVolUpload', { vol, offset: MIB, length: 0, flags: 0 });
    const data = Buffer.from('some bytes');
    up.send(messageStatus.continue, data);
    up.send(messageStatus.ok);
    expect((await up.next()).header.status).toBe(messageStatus.ok);
    expect(readFileSync(file).subarray(MIB, MIB + data.length)).toEqual(data);
    expect(statSync(file).size).toBe(2 * MIB);
    const range = { vol, offset: MIB + 5, length: 5, flags: 0 };
    const part = await streamOf(client, 'storageVolDownload', range);
    expect(Buffer.concat((await received(part)) as Buffer[]).toString()).toBe('bytes');
    const all = await streamOf(client, 'storageVolDownload', { vol, offset: 0, length: 0, flags: 0 });
    expect(Buffer.concat((await received(all)) as Buffer[])).toEqual(readFileSync(file));
    await expect(streamOf(client, 'storageVolDownload', { ...range, offset: 3 * MIB })).rejects.toThrow(
      '8: ',
    );
  });

  it('have holes in both directions when the client can do with them', async () => {
    const { client, vol, file } = await rigWithVolume(4 * MIB);
    writeFileSync(file, Buffer.alloc(4 * MIB, 'x'));
    const up = await streamOf(client, 'storageVolUpload', { vol, offset: 0, length: 4 * MIB, flags: 1 });
    up.hole(MIB);
    up.send(messageStatus.continue, Buffer.alloc(65_536, 'd'));
    up.hole(3 * MIB - 65_536);
    up.send(messageStatus.ok);
    expect((await up.next()).header.status).toBe(messageStatus.ok);
    const expected = Buffer.alloc(4 * MIB);
    expected.fill('d', MIB, MIB + 65_536);
    expect(readFileSync(file).equals(expected)).toBe(true);
    const down = await streamOf(client, 'storageVolDownload', { vol, offset: 0, length: 0, flags: 1 });
    const parts = await received(down);
    expect(parts.filter((part) => typeof part === 'number')).not.toEqual([]);
    const whole = parts.map((part) => (typeof part === 'number' ? Buffer.alloc(part) : part));
    expect(Buffer.concat(whole).equals(expected)).toBe(true);
  });

  it('are refused where they have no place, and a hole that nobody asked for', async () => {
    const { client, vol } = await rigWithVolume();
    const refused = async (length: number, act: (stream: Awaited<ReturnType<typeof streamOf>>) => void) => {
      const stream = await streamOf(client, 'storageVolUpload', { vol, offset: 0, length, flags: 0 });
      act(stream);
      const { header, body } = await stream.next();
      expect(header.status).toBe(messageStatus.error);
      return decodeAll(errorBody, body).message;
    };
    const tooMuch = Buffer.alloc(200_000);
    expect(await refused(100, ({ send }) => send(messageStatus.continue, tooMuch))).toContain('100 bytes');
    const much = ({ send }: Awaited<ReturnType<typeof streamOf>>) => {
      for (let sent = 0; sent <= MIB; sent += tooMuch.length) send(messageStatus.continue, tooMuch);
    };
    expect(await refused(0, much)).toContain(`more than ${MIB} bytes came`);
    expect(await refused(0, ({ hole }) => hole(5))).toContain('takes no holes');
  });

  it('that break off leave the volume free, and an image as it was', async () => {
    const { client, rig, pool, path } = await rigWithPool();
    const { vol } = await client.call('storageVolCreateXml', { pool, xml: volumeXml('q'), flags: 0 });
    const before = readFileSync(join(path, 'q'));
    const up = await streamOf(client, 'storageVolUpload', { vol, offset: 0, length: 0, flags: 0 });
    up.send(messageStatus.error);
    expect((await up.next()).header.status).toBe(messageStatus.ok);
    expect(readFileSync(join(path, 'q'))).toEqual(before);
    // Another client that just leaves.
    const second = await rig.open();
    await streamOf(second, 'storageVolUpload', { vol, offset: 0, length: 0, flags: 0 });
    second.close();
    await vi.waitFor(() => client.call('storageVolDelete', { vol, flags: 0 }));
    expect(readdirSync(path)).toEqual([]);
  });

  it('are all there when as many came as were announced, though the client never finishes its stream', async () => {
    const { client, vol, file } = await rigWithVolume(2 * MIB);
    const bytes = Buffer.alloc(2 * MIB, 'whole');
    const sendAll = async () => {
      const up = await streamOf(client, 'storageVolUpload', { vol, offset: 0, length: 2 * MIB, flags: 0 });
      for (let at = 0; at < bytes.length; at += 131_072)
        up.send(messageStatus.continue, bytes.subarray(at, at + 131_072));
      return up;
    };
    const first = await sendAll();
    first.send(messageStatus.continue, Buffer.from('x'));
    const { header, body } = await first.next();
    expect(header.status).toBe(messageStatus.error);
    expect(decodeAll(errorBody, body).message).toContain('more came than');
    const second = await sendAll();
    second.send(messageStatus.error);
    expect((await second.next()).header.status).toBe(messageStatus.ok);
    // vagrant-libvirt starts a guest on it next; a volume in work would be refused.
    await sendAll();
    await client.call('storageVolGetInfo', { vol });
    expect(readFileSync(file).equals(bytes)).toBe(true);
    await client.call('storageVolDelete', { vol, flags: 0 });
  });

  it('wait for a client that does not read', async () => {
    const { client, vol, file } = await rigWithVolume(32 * MIB);
    writeFileSync(file, Buffer.alloc(32 * MIB, 'x'));
    const serial = client.send('storageVolDownload', { vol, offset: 0, length: 0, flags: 0 });
    await client.reply('storageVolDownload', serial);
    client.socket.pause();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(client.socket.bytesRead).toBeLessThan(16 * MIB);
    client.socket.resume();
    await client.next(({ header, body }) => header.type === messageType.stream && body.length === 0);
    expect(client.socket.bytesRead).toBeGreaterThan(32 * MIB);
  });
});
