/** The head of a saved state: libvirt's layout, byte by byte, and what is refused. */
import { describe, expect, it } from 'vitest';
import {
  decodeFixedHead,
  decodeHead,
  encodeHead,
  HEADER_BYTES,
  saveFormats,
} from '../../../src/model/saved-state/image.ts';

const head = { xml: '<domain/>', wasRunning: true, format: 'zstd' } as const;

function decode(bytes: Buffer) {
  const fixed = decodeFixedHead(bytes);
  return decodeHead(fixed, bytes.subarray(HEADER_BYTES, HEADER_BYTES + fixed.textBytes));
}

describe('the head of a saved state', () => {
  it.each(saveFormats)('comes back as it was (%s)', (format) => {
    for (const wasRunning of [true, false]) {
      const one = { xml: '<domain>ä</domain>', cookie: '<cookie/>', wasRunning, format };
      const bytes = encodeHead(one, { isWhole: true });
      expect(decode(bytes)).toEqual({ ...one, headBytes: bytes.length });
      expect(bytes.length % 4096).toBe(0);
    }
  });

  it("is libvirt's: magic, version, lengths, and the text with a NUL", () => {
    const bytes = encodeHead(head, { isWhole: true, headBytes: 128 });
    expect(bytes.toString('latin1', 0, 16)).toBe('LibvirtQemudSave');
    expect([16, 20, 24, 28, 32].map((at) => bytes.readUInt32LE(at))).toEqual([2, 36, 1, 5, 0]);
    expect(bytes.subarray(36, 92).every((byte) => byte === 0)).toBe(true);
    expect(bytes.toString('latin1', 92, 102)).toBe('<domain/>\0');
  });

  it('is read in the other byte order', () => {
    const bytes = encodeHead(head, { isWhole: true, headBytes: 128 });
    for (let at = 16; at < 36; at += 4) bytes.writeUInt32BE(bytes.readUInt32LE(at), at);
    expect(decode(bytes)).toMatchObject(head);
  });

  it('does not grow beyond the room in the file', () => {
    expect(() => encodeHead(head, { isWhole: true, headBytes: 101 })).toThrow(/101/);
    expect(encodeHead(head, { isWhole: true, headBytes: 102 })).toHaveLength(102);
  });

  it('is refused with a word where it is broken', () => {
    const whole = encodeHead(head, { isWhole: true });
    const changed = (at: number, value: number) => {
      const copy = Buffer.from(whole);
      copy.writeUInt32LE(value, at);
      return copy;
    };
    expect(() => decode(encodeHead(head, { isWhole: false }))).toThrow(/never finished/);
    expect(() => decode(Buffer.alloc(4096, 'x'))).toThrow(/does not begin/);
    expect(() => decode(changed(16, 7))).toThrow(/version 7/);
    expect(() => decode(changed(20, 0))).toThrow(/lengths/);
    expect(() => decode(changed(20, 0xffff_fff0))).toThrow(/lengths/);
    expect(() => decode(changed(28, 99))).toThrow(/format 99/);
    expect(() => decode(changed(32, 0x7fff_ffff))).toThrow(/lengths/);
    for (let length = 0; length < HEADER_BYTES; length++)
      expect(() => decode(whole.subarray(0, length))).toThrow(/too short/);
    expect(() => decode(whole.subarray(0, 200))).toThrow(/too short/);
  });
});
