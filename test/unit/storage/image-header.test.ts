/** Headers of disk images: what they say, and that nothing broken or hostile gets through. */
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { parseImageHeader, readImageHeader, signatureOf } from '../../../src/storage/image-header/read.ts';

interface Qcow2Wish {
  readonly version?: 2 | 3;
  readonly backing?: string;
  readonly format?: string;
  readonly dataFile?: string;
  readonly features?: bigint;
  readonly crypt?: number;
}

/** A header as qemu-img lays it out: fixed part, extensions, name (docs/interop/qcow2.rst). */
function qcow2(wish: Qcow2Wish = {}): Buffer {
  const { version = 3, backing = '', features = 0n, crypt = 0 } = wish;
  const fixed = Buffer.alloc(version === 3 ? 104 : 72);
  fixed.write('QFI\xfb', 'latin1');
  fixed.writeUInt32BE(version, 4);
  fixed.writeUInt32BE(16, 20);
  fixed.writeUInt32BE(crypt, 32);
  if (version === 3) {
    fixed.writeBigUInt64BE(features, 72);
    fixed.writeUInt32BE(104, 100);
  }
  const parts: Buffer[] = [fixed];
  if (wish.format !== undefined) parts.push(extension(0xe279_2aca, wish.format));
  if (wish.dataFile !== undefined) parts.push(extension(0x4441_5441, wish.dataFile));
  parts.push(Buffer.alloc(8));
  const offset = parts.reduce((sum, part) => sum + part.length, 0);
  if (backing !== '') {
    fixed.writeBigUInt64BE(BigInt(offset), 8);
    fixed.writeUInt32BE(Buffer.byteLength(backing), 16);
    parts.push(Buffer.from(backing));
  }
  return Buffer.concat([...parts, Buffer.alloc(512)]);
}

function extension(type: number, text: string): Buffer {
  const bytes = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8);
  bytes.writeUInt32BE(type, 0);
  bytes.writeUInt32BE(text.length, 4);
  bytes.write(text, 8);
  return bytes;
}

const refusal = (text: RegExp) =>
  expect.objectContaining({ code: 'definition.unsupported', reason: expect.stringMatching(text) });

describe('the header of a qcow2 image', () => {
  it('without a backing file says nothing', () => {
    expect(parseImageHeader(qcow2(), 'qcow2')).toEqual({});
    expect(parseImageHeader(qcow2({ version: 2 }), 'qcow2')).toEqual({});
  });

  it('tells the backing file and its format, in both versions', () => {
    for (const version of [2, 3] as const)
      expect(parseImageHeader(qcow2({ version, backing: 'base.img', format: 'raw' }), 'qcow2')).toEqual({
        backing: { name: 'base.img', format: 'raw' },
      });
    expect(parseImageHeader(qcow2({ backing: 'json:{}' }), 'qcow2')).toEqual({
      backing: { name: 'json:{}', format: undefined },
    });
  });

  it('tells an external data file by its feature bit, named or not', () => {
    expect(parseImageHeader(qcow2({ features: 4n, dataFile: '/etc/shadow' }), 'qcow2')).toEqual({
      dataFile: '/etc/shadow',
    });
    expect(parseImageHeader(qcow2({ features: 4n }), 'qcow2')).toEqual({ dataFile: '' });
  });

  it('tells encryption', () => {
    expect(parseImageHeader(qcow2({ crypt: 2 }), 'qcow2')).toEqual({ encryption: 'luks' });
    expect(parseImageHeader(qcow2({ crypt: 9 }), 'qcow2')).toEqual({ encryption: 'method 9' });
  });

  it('is refused with names that are too long, far away or no text', () => {
    const long = qcow2({ backing: 'x'.repeat(1024), format: 'raw' });
    expect(() => parseImageHeader(long, 'qcow2')).toThrow(refusal(/1024 bytes/));
    const far = qcow2({ backing: 'base', format: 'raw' });
    far.writeBigUInt64BE(1n << 60n, 8);
    expect(() => parseImageHeader(far, 'qcow2')).toThrow(refusal(/outside/));
    const line = qcow2({ backing: 'a\nb', format: 'raw' });
    expect(() => parseImageHeader(line, 'qcow2')).toThrow(refusal(/control characters/));
    const noText = qcow2({ backing: 'abc', format: 'raw' });
    noText[noText.indexOf('abc')] = 0xff;
    expect(() => parseImageHeader(noText, 'qcow2')).toThrow(refusal(/UTF-8/));
  });

  it('is refused when its extensions have no end', () => {
    const endless = qcow2({ format: 'raw' });
    endless.writeUInt32BE(0xffff_fff0, 108);
    expect(() => parseImageHeader(endless, 'qcow2')).toThrow(refusal(/extensions/));
  });

  it('gives a typed error or an answer for every prefix, and for noise behind the magic', () => {
    const whole = qcow2({ backing: '/base.img', format: 'qcow2' });
    const noisy = Array.from({ length: 300 }, (_, seed) => {
      const noise = Buffer.from(whole);
      for (let i = 8; i < noise.length; i++) noise[i] = (i * (seed * 7919 + 13) + seed) % 256;
      return noise;
    });
    const prefixes = Array.from({ length: whole.length }, (_, length) => whole.subarray(0, length));
    for (const bytes of [...prefixes, ...noisy]) expect(outcome(bytes)).toMatch(/^(header|refused)$/);
  });
});

function outcome(bytes: Buffer): string {
  try {
    parseImageHeader(bytes, 'qcow2');
    return 'header';
  } catch (error) {
    return isVirtError(error, 'definition.unsupported') ? 'refused' : `a bug: ${String(error)}`;
  }
}

describe('headers of other formats', () => {
  it('qcow names a backing file without its format', () => {
    const bytes = Buffer.alloc(128);
    bytes.write('QFI\xfb\0\0\0\x01', 'latin1');
    bytes.writeBigUInt64BE(48n, 8);
    bytes.writeUInt32BE(4, 16);
    bytes.write('base', 48);
    expect(parseImageHeader(bytes, 'qcow')).toEqual({ backing: { name: 'base', format: undefined } });
  });

  it('qed says of a backing file at most that it is raw', () => {
    const bytes = Buffer.alloc(128);
    bytes.write('QED\0', 'latin1');
    expect(parseImageHeader(bytes, 'qed')).toEqual({});
    bytes.writeUInt32LE(64, 56);
    bytes.writeUInt32LE(4, 60);
    bytes.write('base', 64);
    bytes.writeBigUInt64LE(1n, 16);
    expect(parseImageHeader(bytes, 'qed')).toEqual({ backing: { name: 'base', format: undefined } });
    bytes.writeBigUInt64LE(5n, 16);
    expect(parseImageHeader(bytes, 'qed')).toEqual({ backing: { name: 'base', format: 'raw' } });
  });

  it('a VMDK is one file, with a parent or without', () => {
    expect(parseImageHeader(vmdk('createType="monolithicSparse"\n'), 'vmdk')).toEqual({});
    expect(
      parseImageHeader(vmdk('createType="monolithicSparse"\nparentFileNameHint="base.vmdk"\n'), 'vmdk'),
    ).toEqual({ backing: { name: 'base.vmdk', format: 'vmdk' } });
    expect(() => parseImageHeader(vmdk('createType="twoGbMaxExtentSparse"\n'), 'vmdk')).toThrow(
      refusal(/other files/),
    );
    const flat = Buffer.from('# Disk DescriptorFile\nRW 100 FLAT "/etc/shadow" 0\n'.padEnd(600));
    expect(() => parseImageHeader(flat, 'vmdk')).toThrow(refusal(/other files/));
    expect(() => parseImageHeader(flat.subarray(0, 50), 'vmdk')).toThrow(refusal(/other files/));
  });

  it('a differencing VHD is refused, since QEMU would show its holes as zeros', () => {
    const bytes = Buffer.alloc(512);
    bytes.write('conectix');
    bytes.writeUInt32BE(3, 60);
    expect(parseImageHeader(bytes, 'vpc')).toEqual({});
    bytes.writeUInt32BE(4, 60);
    expect(() => parseImageHeader(bytes, 'vpc')).toThrow(refusal(/differencing/));
  });

  it('an image of another format is refused, and told what it is', () => {
    expect(() => parseImageHeader(qcow2(), 'vmdk')).toThrow(refusal(/qcow2 image, not vmdk/));
    expect(() => parseImageHeader(Buffer.alloc(512), 'qcow2')).toThrow(refusal(/no qcow2 image/));
    expect(signatureOf(Buffer.from('vhdxfile'))).toBe('vhd');
  });

  it('raw is never looked into', () => {
    expect(parseImageHeader(qcow2({ backing: '/etc/shadow', format: 'raw' }), 'raw')).toEqual({});
  });
});

function vmdk(descriptor: string): Buffer {
  const bytes = Buffer.alloc(2048);
  bytes.write('KDMV');
  bytes.writeBigUInt64LE(1n, 28);
  bytes.writeBigUInt64LE(2n, 36);
  bytes.write(descriptor, 512);
  return bytes;
}

it('reads from an offset of an open file, and no more than it needs', async () => {
  const directory = await mkdtemp('/tmp/vireo-header-');
  try {
    const path = join(directory, 'disk');
    await writeFile(path, Buffer.concat([Buffer.alloc(4096), qcow2({ backing: 'b', format: 'raw' })]));
    await using handle = await open(path);
    expect(await readImageHeader(handle, { format: 'qcow2', offsetBytes: 4096 })).toEqual({
      backing: { name: 'b', format: 'raw' },
    });
  } finally {
    await rm(directory, { recursive: true });
  }
});
