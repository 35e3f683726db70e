/** Headers that no program at hand writes: LUKS 2, and lies of all kinds. */
import { describe, expect, it } from 'vitest';
import { describeImage } from '../../../src/storage/image-header/details.ts';
import type { ImageBytes } from '../../../src/storage/image-header/window.ts';
import { buildSeedIso } from '../../../src/storage/seed-iso/nocloud.ts';
import { qcow2 } from '../../support/qcow2-header.ts';
import { random } from '../../support/random.ts';

/** Bytes at the beginning of an image that is as long as wanted, zeros behind them. */
function image(start: Buffer, lengthBytes = start.length): ImageBytes {
  return {
    lengthBytes,
    read(offset, length) {
      const bytes = Buffer.alloc(Math.max(0, Math.min(length, lengthBytes - offset)));
      if (offset < start.length) start.copy(bytes, 0, offset, offset + length);
      return Promise.resolve(bytes);
    },
  };
}

function luks2(json: string, headerBytes = 16_384): Buffer {
  const start = Buffer.alloc(16_384);
  start.write('LUKS\xba\xbe', 0, 'latin1');
  start.writeUInt16BE(2, 6);
  start.writeBigUInt64BE(BigInt(headerBytes), 8);
  start.write('backup disk', 24);
  start.write('0b1c-uuid', 168);
  start.write(json, 4096);
  return start;
}

const refused = (text: RegExp) => ({
  code: 'definition.unsupported',
  reason: expect.stringMatching(text) as string,
});

describe('the header of LUKS 2', () => {
  const json =
    '{"segments":{"0":{"type":"crypt","offset":"16777216","size":"dynamic","encryption":"aes-xts-plain64"}}}';

  it('tells label, cipher and where the data begins', async () => {
    expect(await describeImage(image(luks2(json), 64 * 1024 * 1024), 'luks')).toEqual({
      virtualBytes: 48 * 1024 * 1024,
      kind: 'luks2',
      encryption: { method: 'luks', cipher: 'aes-xts-plain64' },
      label: 'backup disk',
      uuid: '0b1c-uuid',
    });
  });

  it('is refused when it lies', async () => {
    const lies: [Buffer, RegExp][] = [
      [luks2('{'), /no JSON/],
      [luks2('{}'), /where its data begins/],
      [luks2('['.repeat(12_000)), /no JSON/],
      [luks2('{"segments":{"0":{"offset":"-5"}}}'), /where its data begins/],
      [luks2('{"segments":{"0":{"offset":"999999999999"}}}'), /behind its end/],
      [luks2(json, 1), /absurd/],
      [luks2(json, 2 ** 50), /absurd/],
    ];
    for (const [bytes, reason] of lies)
      await expect(describeImage(image(bytes, 64 * 1024 * 1024), 'luks')).rejects.toMatchObject(
        refused(reason),
      );
  });
});

describe('the header of LUKS 1', () => {
  const header = () => {
    const start = Buffer.alloc(1024);
    start.write('LUKS\xba\xbe', 0, 'latin1');
    start.writeUInt16BE(1, 6);
    start.write('aes', 8);
    start.write('xts-plain64', 40);
    start.write('sha256', 72);
    start.writeUInt32BE(4096, 104);
    start.write('5b2c9d1e-0000-4000-8000-000000000001', 168);
    return start;
  };

  it('tells the cipher and where the data begins', async () => {
    expect(await describeImage(image(header(), 10 * 1024 * 1024), 'luks')).toEqual({
      virtualBytes: 8 * 1024 * 1024,
      kind: 'luks1',
      encryption: { method: 'luks', cipher: 'aes-xts-plain64' },
      uuid: '5b2c9d1e-0000-4000-8000-000000000001',
    });
  });

  it('is refused when its data lies nowhere', async () => {
    await expect(describeImage(image(header(), 4096), 'luks')).rejects.toMatchObject(
      refused(/behind its end/),
    );
  });
});

describe('a header that lies', () => {
  it('about qcow2 is refused', async () => {
    const change = (edit: (bytes: Buffer) => unknown) => {
      const bytes = qcow2();
      edit(bytes);
      return image(bytes, 65_536);
    };
    const lies: [ImageBytes, RegExp][] = [
      [change((b) => b.writeUInt32BE(31, 20)), /clusters/],
      [change((b) => b.writeUInt32BE(2 ** 31, 36)), /L1 table/],
      [change((b) => b.writeUInt32BE(2 ** 31, 60)), /snapshots/],
      [change((b) => b.writeUInt32BE(9, 96)), /refcounts/],
      [change((b) => b.writeBigUInt64BE(2n ** 63n, 24)), /larger than anything/],
      [change((b) => b.writeUInt32BE(8, 100)), /header/],
      [change((b) => b.writeUInt32BE(7, 4)), /is no qcow2|version/],
    ];
    for (const [bytes, reason] of lies)
      await expect(describeImage(bytes, 'qcow2')).rejects.toMatchObject(refused(reason));
  });

  it('of an ISO image never makes the reader busy', async () => {
    const whole = buildSeedIso({ instanceId: 'i' }, new Date(0));
    const chance = random(7);
    for (let round = 0; round < 500; round += 1) {
      const bytes = Buffer.from(whole);
      for (let i = 0; i < 6; i += 1) bytes[32_768 + Math.floor(chance() * 8192)] = Math.floor(chance() * 256);
      const outcome = await describeImage(image(bytes), 'iso').then(
        ({ virtualBytes }) => virtualBytes,
        (error: { code?: string }) => error.code,
      );
      expect([whole.length, 'definition.unsupported']).toContain(outcome);
    }
  });

  it('of a list of descriptors without an end is refused', async () => {
    const whole = buildSeedIso({ instanceId: 'i' }, new Date(0));
    const bytes = Buffer.alloc(200 * 2048);
    for (let sector = 16; sector < 200; sector += 1) whole.copy(bytes, sector * 2048, 16 * 2048, 17 * 2048);
    await expect(describeImage(image(bytes), 'iso')).rejects.toMatchObject(refused(/no end/));
  });
});
