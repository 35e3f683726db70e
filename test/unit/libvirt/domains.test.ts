/** Domains, events and streams over libvirt's protocol, on the real domain service. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import {
  errorBody,
  messageStatus,
  messageType,
  STREAM_PACKET_BYTES,
  streamHole,
} from '../../../src/libvirt/protocol/message.ts';
import { type RemoteMessageName, remoteProcedures } from '../../../src/libvirt/protocol/programs.ts';
import { decodeAll, encodeAll, type Xdr } from '../../../src/libvirt/xdr/xdr.ts';
import { type LibvirtClient, messageBytes } from '../../support/libvirt-client.ts';
import { guestXml, startRig } from './rig.ts';

async function running(name = 'web') {
  const rig = await startRig();
  const client = await rig.open();
  const { dom } = await client.call('domainCreateXml', { xmlDesc: guestXml(name), flags: 0 });
  return { rig, client, dom };
}

async function nextEvent(client: LibvirtClient, name: RemoteMessageName): Promise<unknown> {
  const { number, body } = remoteProcedures[name];
  const packet = await client.next(
    ({ header }) => header.type === messageType.message && header.procedure === number,
  );
  return decodeAll(body as Xdr<unknown>, packet.body);
}

describe('domains', () => {
  it('are listed by every filter, as a count when that is asked, and by the old calls', async () => {
    const { client, dom } = await running();
    await client.call('domainDefineXml', { xml: guestXml('idle') });
    const names = async (flags: number) =>
      (await client.call('connectListAllDomains', { needResults: 1, flags })).domains.map(({ name }) => name);
    expect(await names(0)).toEqual(['idle', 'web']);
    const expected = ['web', 'idle', 'idle', 'web', 'web', '', 'idle', '', '', 'idle,web', '', 'idle,web'];
    for (const [bit, list] of expected.entries()) expect((await names(1 << bit)).join()).toBe(list);
    // Both of a pair are all, and pairs go together.
    expect(await names(3)).toEqual(['idle', 'web']);
    expect(await names(1 | 4)).toEqual([]);
    expect(await client.call('connectListAllDomains', { needResults: 0, flags: 0 })).toEqual({
      domains: [],
      ret: 2,
    });
    await expect(names(1 << 16)).rejects.toThrow(
      '8: unsupported flags (0x10000) in function virConnectListAllDomains',
    );
    expect(await client.call('connectListDomains', { maxids: 10 })).toEqual({ ids: [dom.id] });
    expect(await client.call('connectListDefinedDomains', { maxnames: 10 })).toEqual({ names: ['idle'] });
    expect(await client.call('connectNumOfDomains', undefined)).toEqual({ num: 1 });
  });

  it('are found by uuid whatever else a client remembers, and missed in words that clients know', async () => {
    const { client, dom } = await running();
    const stale = { ...dom, name: 'old name', id: 99 };
    expect(await client.call('domainGetState', { dom: stale, flags: 0 })).toEqual({ state: 1, reason: 1 });
    expect((await client.call('domainLookupByName', { name: 'web' })).dom).toEqual(dom);
    expect((await client.call('domainLookupById', { id: dom.id })).dom).toEqual(dom);
    await expect(client.call('domainLookupByName', { name: 'x' })).rejects.toThrow(
      "42: Domain not found: no domain with matching name 'x'",
    );
    const gone = { ...dom, uuid: '00000000-0000-0000-0000-000000000000' };
    await expect(client.call('domainGetInfo', { dom: gone })).rejects.toThrow(
      "42: Domain not found: no domain with matching uuid '00000000-0000-0000-0000-000000000000' (web)",
    );
  });

  it('tell their states and refuse what does not fit them', async () => {
    const { client, dom, rig } = await running();
    const { driver } = rig;
    await client.call('domainSuspend', { dom });
    expect(await client.call('domainGetState', { dom, flags: 0 })).toEqual({ state: 3, reason: 1 });
    await client.call('domainResume', { dom });
    await expect(client.call('domainUndefine', { dom })).rejects.toThrow(
      /^55: Requested operation is not valid/,
    );
    await expect(client.call('domainDestroyFlags', { dom, flags: 4 })).rejects.toThrow(
      'unsupported flags (0x4)',
    );
    expect(driver.removedLogs).toEqual([]);
    await client.call('domainDestroyFlags', { dom, flags: 2 });
    expect(driver.removedLogs).toEqual(['web']);
    await expect(client.call('domainGetState', { dom, flags: 0 })).rejects.toThrow(/^42: /);
  });

  it('are checked for what is not known when the client wants that', async () => {
    const client = await (await startRig()).open();
    const xml = guestXml('v').replace('<devices>', '<unheardOf/><devices>');
    await expect(client.call('domainDefineXmlFlags', { xml, flags: 1 })).rejects.toThrow(
      /^(27|92): [^]*unheardOf/,
    );
    await expect(client.call('domainCreateXml', { xmlDesc: xml, flags: 16 })).rejects.toThrow(
      /^(27|92): [^]*unheardOf/,
    );
    expect((await client.call('domainDefineXmlFlags', { xml, flags: 0 })).dom.name).toBe('v');
  });

  it('change their title where the client says', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const { dom } = await client.call('domainDefineXml', { xml: guestXml('t') });
    await client.call('domainCreate', { dom });
    const set = (metadata: string, flags: number) =>
      client.call('domainSetMetadata', { dom, type: 1, metadata, key: null, uri: null, flags });
    const get = async (flags: number) =>
      (await client.call('domainGetMetadata', { dom, type: 1, uri: null, flags })).metadata;
    await set('running', 1);
    await expect(get(2)).rejects.toThrow('80: metadata not found: Requested title element is not present');
    await set('stored', 2);
    expect([await get(1), await get(2), await get(0)]).toEqual(['running', 'stored', 'running']);
    await set('both', 3);
    expect([await get(1), await get(2)]).toEqual(['both', 'both']);
  });

  it('go with the connection that wants it so', async () => {
    const rig = await startRig();
    const client = await rig.open();
    await client.call('domainCreateXml', { xmlDesc: guestXml('short'), flags: 2 });
    client.close();
    await vi.waitFor(() => expect(rig.driver.lastGuest.done).toContain('kill'), { timeout: 10_000 });
  });

  it('tell their statistics by group', async () => {
    const { client, dom } = await running();
    const { retStats } = await client.call('connectGetAllDomainStats', { doms: [], stats: 1 | 4, flags: 0 });
    expect(retStats).toMatchObject([
      { dom, params: [{ field: 'state.state', value: { type: 1, value: 1 } }, {}, {}, {}] },
    ]);
    const asked = client.call('connectGetAllDomainStats', { doms: [dom], stats: 1 << 12, flags: 0x80000000 });
    await expect(asked).rejects.toThrow(/^74: /);
  });

  it('tell the size of a stored one without reading its definition', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const { dom } = await client.call('domainDefineXml', { xml: guestXml('idle') });
    const domain = rig.engine.domains.find({ uuid: dom.uuid });
    domain.parsed = undefined;
    const { retStats } = await client.call('connectGetAllDomainStats', { doms: [], stats: 0, flags: 0 });
    expect(retStats[0]?.params.map(({ field }) => field)).toEqual([
      'state.state',
      'state.reason',
      'balloon.current',
      'balloon.maximum',
      'vcpu.current',
      'vcpu.maximum',
      'block.count',
    ]);
    const values = retStats[0]?.params.map(({ value }) => value.value);
    expect(domain.parsed).toBeUndefined();
    // As a domain tells it whose facts an older version has written.
    domain.facts = undefined;
    const again = await client.call('connectGetAllDomainStats', { doms: [], stats: 0, flags: 0 });
    expect(again.retStats[0]?.params.map(({ value }) => value.value)).toEqual(values);
  });

  it('tell what the host knows of the disks of a stored one', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const [raw, image, gone] = ['d.raw', 'd.qcow2', 'gone'].map((name) => join(rig.directory, name));
    const head = Buffer.alloc(4096);
    head.write('QFI\u00fb', 'latin1');
    head.writeBigUInt64BE(77_777n, 24);
    writeFileSync(raw ?? '', Buffer.alloc(8192));
    writeFileSync(image ?? '', head);
    const disk = (path: string | undefined, type: string, dev: string) =>
      `<disk type='file'><driver name='qemu' type='${type}'/><source file='${path}'/><target dev='${dev}'/></disk>`;
    const disks = disk(raw, 'raw', 'vda') + disk(image, 'qcow2', 'vdb') + disk(gone, 'raw', 'vdc');
    const cdrom = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>";
    const xml = guestXml('idle').replace('<devices>', `<devices>${disks}${cdrom}`);
    const { dom } = await client.call('domainDefineXml', { xml });
    const told = async () => {
      const { retStats } = await client.call('connectGetAllDomainStats', {
        doms: [dom],
        stats: 32,
        flags: 0,
      });
      return Object.fromEntries(
        (retStats[0]?.params ?? []).map(({ field, value }) => [field.replace('block.', ''), value.value]),
      );
    };
    const expected = {
      count: 4,
      ...{ '0.name': 'vda', '0.path': raw, '0.capacity': 8192, '0.physical': 8192 },
      ...{ '0.allocation': expect.anything(), '1.allocation': expect.anything() },
      ...{ '1.name': 'vdb', '1.path': image, '1.capacity': 77_777, '1.physical': 4096 },
      ...{ '2.name': 'vdc', '2.path': gone, '3.name': 'sda' },
    };
    expect(await told()).toEqual(expected);
    rig.engine.domains.find({ uuid: dom.uuid }).facts = undefined;
    expect(await told()).toEqual(expected);
  });

  it('that are gone are left out of the statistics of those that a client names', async () => {
    const { client, dom } = await running();
    const gone = { ...dom, name: 'gone', uuid: '00000000-0000-0000-0000-00000000000e' };
    const ask = async (doms: (typeof dom)[]) =>
      (await client.call('connectGetAllDomainStats', { doms, stats: 1, flags: 0 })).retStats;
    expect((await ask([gone, dom])).map((one) => one.dom.name)).toEqual(['web']);
    expect(await ask([gone])).toEqual([]);
  });
});

describe('events', () => {
  it('come to each callback that wants them, by kind and by domain, and to no other', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const other = await rig.open();
    const { dom } = await client.call('domainDefineXml', { xml: guestXml('e') });
    const elsewhere = { ...dom, uuid: '00000000-0000-0000-0000-00000000000e' };
    const register = async (eventId: number, of: typeof dom | null) =>
      (await client.call('connectDomainEventCallbackRegisterAny', { eventId, dom: of })).callbackId;
    const ids = [
      await register(0, null),
      await register(0, dom),
      await register(0, elsewhere),
      await register(1, null),
    ];
    expect(ids).toEqual([0, 1, 2, 3]);
    await client.call('domainCreate', { dom });
    for (const callbackId of [0, 1])
      expect(await nextEvent(client, 'domainEventCallbackLifecycle')).toEqual({
        callbackId,
        msg: { dom: { ...dom, id: 1 }, event: 2, detail: 0 },
      });
    await client.call('connectDomainEventCallbackDeregisterAny', { callbackId: 0 });
    await client.call('domainSuspend', { dom });
    expect(await nextEvent(client, 'domainEventCallbackLifecycle')).toMatchObject({
      callbackId: 1,
      msg: { event: 3 },
    });
    await client.call('connectGetType', undefined);
    expect([client.packets, other.packets]).toEqual([[], []]);
    await expect(client.call('connectDomainEventCallbackDeregisterAny', { callbackId: 0 })).rejects.toThrow(
      /event callback 0 not registered/,
    );
    await expect(register(99, null)).rejects.toThrow(/^8: /);
  });

  it('come in the old form to who asked in the old form', async () => {
    const rig = await startRig();
    const client = await rig.open();
    expect(await client.call('connectDomainEventRegister', undefined)).toEqual({ cbRegistered: 1 });
    await expect(client.call('connectDomainEventRegisterAny', { eventId: 0 })).rejects.toThrow(
      /already registered/,
    );
    const { dom } = await client.call('domainDefineXml', { xml: guestXml('old') });
    expect(await nextEvent(client, 'domainEventLifecycle')).toEqual({ dom, event: 0, detail: 0 });
    await client.call('connectDomainEventDeregister', undefined);
    await client.call('domainUndefine', { dom });
    expect(client.packets).toEqual([]);
  });
});

describe('a stream', () => {
  it('gives a screenshot: data, its end, and the confirmation of the finish', async () => {
    const { client, dom } = await running();
    const serial = client.send('domainScreenshot', { dom, screen: 0, flags: 0 });
    expect(await client.reply('domainScreenshot', serial)).toEqual({ mime: 'image/png' });
    const data = await client.nextStream(serial);
    expect([data.header.procedure, data.header.status, data.body.toString()]).toEqual([211, 2, 'picture']);
    expect(await client.nextStream(serial)).toMatchObject({ header: { status: 2 }, body: Buffer.alloc(0) });
    client.sendStream('domainScreenshot', serial, messageStatus.ok);
    expect((await client.nextStream(serial)).header.status).toBe(messageStatus.ok);
  });

  it('is refused data that it does not take, with an error of the stream', async () => {
    const { client, dom } = await running();
    const serial = client.send('domainScreenshot', { dom, screen: 0, flags: 0 });
    await client.reply('domainScreenshot', serial);
    client.sendStream('domainScreenshot', serial, messageStatus.continue, Buffer.from('x'));
    const error = await client.next(
      ({ header }) => header.type === messageType.stream && header.status === 1,
    );
    expect(decodeAll(errorBody, error.body).code).toBe(55);
  });

  async function consoleOf() {
    const started = await running();
    const { client, dom, rig } = started;
    const serial = client.send('domainOpenConsole', { dom, devName: null, flags: 0 });
    await client.reply('domainOpenConsole', serial);
    return { ...started, serial, guest: rig.driver.lastGuest };
  }

  it('carries a console both ways, in packets of limited size, and ends with the guest', async () => {
    const { client, serial, guest } = await consoleOf();
    guest.console.write(Buffer.alloc(STREAM_PACKET_BYTES + 10, 'a'));
    let seen = 0;
    while (seen < STREAM_PACKET_BYTES + 10) {
      const { body } = await client.nextStream(serial);
      expect(body.length).toBeLessThanOrEqual(STREAM_PACKET_BYTES);
      seen += body.length;
    }
    client.sendStream('domainOpenConsole', serial, messageStatus.continue, Buffer.from('typed'));
    guest.console.end();
    expect((await client.nextStream(serial)).body.length).toBe(0);
    client.sendStream('domainOpenConsole', serial, messageStatus.ok);
    expect((await client.nextStream(serial)).header.status).toBe(messageStatus.ok);
  });

  it('is called off by the client, which is confirmed, and what comes later is dropped', async () => {
    const { client, serial } = await consoleOf();
    client.sendStream('domainOpenConsole', serial, messageStatus.error);
    client.sendStream('domainOpenConsole', serial, messageStatus.continue, Buffer.from('late'));
    expect(await client.nextStream(serial)).toMatchObject({ header: { status: 0 }, body: Buffer.alloc(0) });
    await client.call('connectGetType', undefined);
    expect(client.packets).toEqual([]);
  });

  it('breaks with an error of the stream, and takes no hole', async () => {
    const { client, serial } = await consoleOf();
    const hole = encodeAll(streamHole, { length: 16, flags: 0 });
    client.write(
      messageBytes(
        { procedure: 201, type: messageType.streamHole, serial, status: messageStatus.continue },
        hole,
      ),
    );
    const { header, body } = await client.nextStream(serial);
    expect(header.status).toBe(messageStatus.error);
    expect(decodeAll(errorBody, body).message).toMatch(/takes no holes/);
  });

  it('waits for a client that does not read, and goes on when it does', async () => {
    const { client, serial, guest } = await consoleOf();
    client.socket.pause();
    let written = 0;
    const chunk = Buffer.alloc(65_536, 'z');
    const push = () => {
      while (written < 64 * 1024 * 1024) {
        written += chunk.length;
        if (!guest.console.write(chunk)) return void guest.console.once('drain', push);
      }
    };
    push();
    await new Promise((resolve) => setTimeout(resolve, 200));
    // One MiB of ours, some in pipes and in the kernel.
    expect(written).toBeLessThan(8 * 1024 * 1024);
    const before = written;
    client.socket.resume();
    await vi.waitFor(() => expect(written).toBeGreaterThan(before + 1024 * 1024), { timeout: 10_000 });
    client.sendStream('domainOpenConsole', serial, messageStatus.error);
    await client.next(
      ({ header }) => header.type === messageType.stream && header.status === messageStatus.ok,
    );
  });

  it('makes the client wait when its console takes nothing, and not for ever', async () => {
    const started = await running();
    const { client, dom, rig } = started;
    const stuck = new PassThrough({ highWaterMark: 1000 });
    rig.driver.lastGuest.openConsole = async () => stuck;
    const serial = client.send('domainOpenConsole', { dom, devName: null, flags: 0 });
    await client.reply('domainOpenConsole', serial);
    stuck.pause();
    for (let i = 0; i < 40; i++)
      client.sendStream('domainOpenConsole', serial, messageStatus.continue, Buffer.alloc(100_000));
    const later = client.send('connectGetType', undefined);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(stuck.writableLength).toBeLessThan(1_000_000);
    stuck.destroy();
    expect(await client.reply('connectGetType', later)).toEqual({ type: 'QEMU' });
  });
});
