/** A connection by hand: framing, order, errors that keep it, errors that end it, limits, signs of life, descriptors. */
import { readdirSync, readlinkSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { sendWithFds } from '../../../src/base/ffi/pass-fds.ts';
import { close as closeFd, memfdCreate } from '../../../src/base/ffi.ts';
import { errorBody, messageType } from '../../../src/libvirt/protocol/message.ts';
import { keepalive, qemuProgram, remoteProcedures } from '../../../src/libvirt/protocol/programs.ts';
import { decodeAll } from '../../../src/libvirt/xdr/xdr.ts';
import { callBytes, type LibvirtClient, messageBytes } from '../../support/libvirt-client.ts';
import { guestXml, startRig } from './rig.ts';

const nothing = new Uint8Array(0);

async function errorOf(client: LibvirtClient, header: Parameters<typeof messageBytes>[0], body = nothing) {
  client.write(messageBytes({ serial: 77, ...header }, body));
  const packet = await client.next((one) => one.header.serial === 77);
  expect(packet.header).toMatchObject({ type: messageType.reply, status: 1 });
  return { packet, error: decodeAll(errorBody, packet.body) };
}

describe('a connection', () => {
  it('says how to prove who one is, opens, and closes after the reply', async () => {
    const rig = await startRig();
    const client = await rig.connect();
    expect(await client.call('authList', undefined)).toEqual({ types: ['none'] });
    await client.call('connectOpen', { name: '', flags: 0 });
    expect(await client.call('connectGetUri', undefined)).toEqual({ uri: 'qemu:///system' });
    await expect(client.call('connectOpen', { name: '', flags: 0 })).rejects.toThrow(/^1: .*already open/);
    await client.call('connectClose', undefined);
    await expect(client.next()).rejects.toThrow('the connection was closed');
    await vi.waitFor(() => expect(rig.server.clientCount).toBe(0), { timeout: 10_000 });
  });

  it('takes messages cut at every byte, and many in one piece', async () => {
    const client = await (await startRig()).open();
    const bytes = callBytes('nodeGetInfo', undefined, 500);
    for (const byte of bytes) {
      client.write(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await client.reply('nodeGetInfo', 500)).cpus).toBeGreaterThan(0);
    const serials = Array.from({ length: 200 }, (_, index) => 1000 + index);
    client.write(Buffer.concat(serials.map((serial) => callBytes('connectGetType', undefined, serial))));
    for (const serial of serials)
      expect(await client.reply('connectGetType', serial)).toEqual({ type: 'QEMU' });
  });

  it('takes a message larger than what is read at once', async () => {
    const client = await (await startRig()).open();
    const xml = guestXml('big').replace(
      '<devices>',
      `<description>${'x'.repeat(500_000)}</description><devices>`,
    );
    const { dom } = await client.call('domainDefineXml', { xml });
    expect((await client.call('domainGetXmlDesc', { dom, flags: 0 })).xml.length).toBeGreaterThan(500_000);
  });

  it.each([
    [
      'an unknown program',
      { procedure: 1, program: 0x12345678 },
      39,
      /Cannot find program 305419896 version 1/,
    ],
    ['another version', { procedure: 1, version: 2 }, 39, /version mismatch \(actual 2, expected 1\)/],
    ['an unknown procedure', { procedure: 9999 }, 39, /unknown procedure: 9999/],
    ['a negative procedure', { procedure: -1 }, 39, /unknown procedure: -1/],
    ['an event, which only we send', { procedure: 318 }, 39, /unknown procedure: 318/],
    ['a call with a status', { procedure: 3, status: 1 }, 39, /Unexpected message status 1/],
    [
      'a call that nothing answers yet',
      { procedure: 61 },
      3,
      /not supported by the connection driver: virDomainMigratePrepare$/,
    ],
    ['a call of containers', { procedure: 1, program: 0x68000 }, 3, /not supported/],
    ['arguments that are none', { procedure: 23 }, 39, /Unable to decode message payload/],
  ])('answers %s with an error in the words of the caller, and lives', async (_, header, code, text) => {
    const client = await (await startRig()).open();
    const { packet, error } = await errorOf(client, header);
    expect(packet.header).toMatchObject({ procedure: header.procedure });
    expect(error.code).toBe(code);
    expect(error.message).toMatch(text);
    expect(await client.call('connectGetType', undefined)).toEqual({ type: 'QEMU' });
  });

  it('refuses work before it is open', async () => {
    const client = await (await startRig()).connect();
    await expect(client.call('connectGetType', undefined)).rejects.toThrow(/^1: .*connection not open/);
    await expect(client.call('connectSupportsFeature', { feature: 8 })).rejects.toThrow(/not open/);
    expect(await client.call('connectSupportsFeature', { feature: 10 })).toEqual({ supported: 1 });
  });

  it.each([
    ['lxc:///system', /^5: no connection driver available for lxc:\/\/\/system/],
    ['qemu:///nowhere', /^1: .*unexpected QEMU URI path '\/nowhere', try qemu:\/\/\/system/],
    ['qemu://elsewhere/system', /^5: /],
    ['no uri', /^5: /],
  ])('does not open %s', async (name, text) => {
    const client = await (await startRig()).connect();
    await expect(client.call('connectOpen', { name, flags: 0 })).rejects.toThrow(text);
  });

  it.each(['network:///system', 'storage:///system', 'nodedev:///system', 'qemu:///session'])(
    'opens %s',
    async (name) => {
      const client = await (await startRig()).connect();
      await client.call('connectOpen', { name, flags: 0 });
      expect(await client.call('connectGetUri', undefined)).toEqual({ uri: name });
    },
  );

  it.each([
    ['a length below the header', '0000001b'],
    ['a length above the limit', '7fffffff'],
    ['a length of nothing', '00000000'],
  ])('ends with %s', async (_, hex) => {
    const rig = await startRig();
    const client = await rig.open();
    client.write(Buffer.from(hex, 'hex'));
    await expect(client.next()).rejects.toThrow('the connection was closed');
  });

  it('takes no long message from who has not opened it', async () => {
    const client = await (await startRig()).connect();
    client.write(Buffer.from('00020000', 'hex'));
    await expect(client.next()).rejects.toThrow('the connection was closed');
  });

  it('lets five calls be in work, and reads no more from the client until one is done', async () => {
    const rig = await startRig();
    let started = 0;
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    rig.driver.capabilitiesXml = async () => {
      started++;
      await gate;
      return '<capabilities/>';
    };
    const client = await rig.open();
    const serials = Array.from({ length: 8 }, () => client.send('connectGetCapabilities', undefined));
    await vi.waitFor(() => expect(started).toBe(5), { timeout: 10_000 });
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(started).toBe(5);
    release();
    for (const serial of serials)
      expect(await client.reply('connectGetCapabilities', serial)).toEqual({
        capabilities: '<capabilities/>',
      });
    expect(started).toBe(8);
  });

  it('lets others in between the calls of a client that sends a hundred at once', async () => {
    const rig = await startRig();
    let answered = 0;
    // Busy for some milliseconds each, and then there at once.
    rig.driver.capabilitiesXml = async () => {
      const until = performance.now() + 3;
      while (performance.now() < until);
      answered++;
      return '<capabilities/>';
    };
    const [greedy, other] = [await rig.open(), await rig.open()];
    const serials = Array.from({ length: 100 }, () => greedy.send('connectGetCapabilities', undefined));
    expect(await other.call('connectGetType', undefined)).toEqual({ type: 'QEMU' });
    expect(answered).toBeLessThan(50);
    for (const serial of serials) await greedy.reply('connectGetCapabilities', serial);
    expect(answered).toBe(100);
  });

  it('answers a ping at once, and sends none to who did not ask', async () => {
    const client = await (await startRig()).open();
    const { program, version, ping, pong } = keepalive;
    client.write(messageBytes({ program, version, procedure: ping, type: messageType.message }, nothing));
    expect((await client.next()).header).toMatchObject({ program, procedure: pong, type: 2, serial: 0 });
  });

  it('drops packets of streams that are not there, and replies that nobody asked for', async () => {
    const client = await (await startRig()).open();
    for (const type of [messageType.stream, messageType.streamHole, messageType.reply, 99])
      client.write(messageBytes({ procedure: 211, type, serial: 5 }, Buffer.alloc(12)));
    expect(await client.call('connectGetType', undefined)).toEqual({ type: 'QEMU' });
    expect(client.packets).toEqual([]);
  });
});

describe('a read-only connection', () => {
  it('may look and not touch, by flag and by socket', async () => {
    const rig = await startRig({ readOnlySocket: true });
    const writer = await rig.open();
    const { dom } = await writer.call('domainDefineXml', { xml: guestXml('a') });
    const { LibvirtClient } = await import('../../support/libvirt-client.ts');
    const bySocket = await LibvirtClient.open(`${rig.socketPath}-ro`);
    for (const client of [await rig.open(1), bySocket]) {
      expect((await client.call('domainGetInfo', { dom })).maxMem).toBe(65_536);
      await expect(client.call('domainCreate', { dom })).rejects.toThrow(
        '29: operation forbidden: read only access prevents virDomainCreate',
      );
      await expect(client.call('domainGetXmlDesc', { dom, flags: 1 })).rejects.toThrow(/^29: /);
    }
    bySocket.close();
  });

  it('may not use the raw monitor', async () => {
    const client = await (await startRig()).open(1);
    const dom = Buffer.concat([Buffer.from('0000000161000000', 'hex'), Buffer.alloc(20)]);
    const body = Buffer.concat([dom, Buffer.from('000000016100000000000000', 'hex')]);
    const { error } = await errorOf(client, { procedure: 1, program: qemuProgram.number }, body);
    expect(error.code).toBe(29);
  });
});

describe('descriptors', () => {
  const openMemfds = () =>
    readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).includes('vireo-test-fd');
      } catch {
        return false; // closed meanwhile
      }
    }).length;

  it('come behind their call, and are closed when nobody takes them', async () => {
    const client = await (await startRig()).open();
    expect(await client.call('connectSupportsFeature', { feature: 8 })).toEqual({ supported: 1 });
    const mine = memfdCreate('vireo-test-fd');
    const { number } = remoteProcedures.domainCreateXmlWithFiles;
    // Count of descriptors, then the arguments: a text and flags.
    const body = Buffer.from('00000002000000017800000000000000', 'hex');
    const bytes = messageBytes({ procedure: number, type: messageType.callWithFds, serial: 9 }, body);
    const raw = (client.socket as unknown as { _handle: { fd: number } })._handle.fd;
    for (const piece of [bytes.subarray(0, 13), bytes.subarray(13)]) {
      await new Promise((resolve) => client.socket.write(piece, resolve));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    for (let i = 0; i < 2; i++) expect(sendWithFds(raw, Uint8Array.of(0), [mine])).toBe(1);
    const reply = await client.next((packet) => packet.header.serial === 9);
    expect(decodeAll(errorBody, reply.body).code).toBe(3);
    // The bytes that carried them are not taken for messages.
    expect(await client.call('connectGetType', undefined)).toEqual({ type: 'QEMU' });
    expect(openMemfds()).toBe(1);
    closeFd(mine);
  });

  it('come behind their reply, before what is sent next, and are closed on our side', async () => {
    const rig = await startRig();
    const client = await rig.open();
    const xmlDesc = guestXml('display');
    const { dom } = await client.call('domainCreateXml', { xmlDesc, flags: 0 });
    rig.driver.lastGuest.openGraphics = () => Promise.resolve(memfdCreate('vireo-test-fd'));
    const serial = client.send('domainOpenGraphicsFd', { dom, idx: 0, flags: 0 });
    const { header, body } = await client.next();
    expect(header).toMatchObject({ serial, type: messageType.replyWithFds, status: 0 });
    expect(body.toString('hex')).toBe('00000001');
    // A plain reader sees the byte that carried it in front of the next message.
    client.send('connectGetType', undefined);
    await vi.waitFor(() => expect(client.unread.length).toBeGreaterThan(28), { timeout: 10_000 });
    expect(client.unread[0]).toBe(0);
    expect(client.unread.readUInt32BE(1)).toBe(client.unread.length - 1);
    expect(openMemfds()).toBe(0);
  });

  it('end the connection of who did not ask whether they may be sent', async () => {
    const client = await (await startRig()).open();
    client.write(
      messageBytes({ procedure: 309, type: messageType.callWithFds }, Buffer.from('00000001', 'hex')),
    );
    await expect(client.next()).rejects.toThrow('the connection was closed');
  });

  it('end the connection of who announces too many', async () => {
    const client = await (await startRig()).open();
    await client.call('connectSupportsFeature', { feature: 8 });
    client.write(
      messageBytes({ procedure: 309, type: messageType.callWithFds }, Buffer.from('00000021', 'hex')),
    );
    await expect(client.next()).rejects.toThrow('the connection was closed');
  });
});
