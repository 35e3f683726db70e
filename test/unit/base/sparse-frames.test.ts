/** Frames of bytes with holes: every way a stream can be cut, and what is no frame. */
import { describe, expect, it } from 'vitest';
import {
  endFrame,
  errorFrame,
  FrameReader,
  frameHeader,
  type Piece,
} from '../../../src/base/sparse-frames.ts';

const sum = Buffer.alloc(32, 7);
const stream = Buffer.concat([
  frameHeader('data', 5),
  Buffer.from('hello'),
  frameHeader('hole', 2 ** 40),
  frameHeader('data', 0),
  frameHeader('data', 1),
  Buffer.from('!'),
  endFrame(sum),
]);

/** The pieces with neighbouring data joined. */
function joined(pieces: readonly Piece[]): unknown[] {
  const all: { kind: string; text?: string }[] = [];
  for (const piece of pieces) {
    const last = all.at(-1);
    if (piece.kind !== 'data') all.push(piece);
    else if (last?.kind === 'data') last.text += piece.bytes.toString();
    else all.push({ kind: 'data', text: piece.bytes.toString() });
  }
  return all;
}

const expected = [
  { kind: 'data', text: 'hello' },
  { kind: 'hole', length: 2 ** 40 },
  { kind: 'data', text: '!' },
  { kind: 'end', sha256: sum.toString('hex') },
];

describe('a stream of frames', () => {
  it('says the same wherever it is cut', () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      const reader = new FrameReader();
      const pieces = [...reader.read(stream.subarray(0, cut)), ...reader.read(stream.subarray(cut))];
      expect(joined(pieces)).toEqual(expected);
      expect(reader.hasEnded).toBe(true);
    }
    const reader = new FrameReader();
    const single = [...stream].flatMap((byte) => reader.read(Buffer.from([byte])));
    expect(joined(single)).toEqual(expected);
  });

  it('has not ended before its end frame', () => {
    const reader = new FrameReader();
    reader.read(stream.subarray(0, -1));
    expect(reader.hasEnded).toBe(false);
  });

  it('can end without a checksum, or with an error', () => {
    expect(new FrameReader().read(endFrame(undefined))).toEqual([{ kind: 'end', sha256: undefined }]);
    expect(new FrameReader().read(errorFrame('no disk'))).toEqual([{ kind: 'error', text: 'no disk' }]);
  });

  it.each([
    ['a letter that is none', Buffer.from('Q00000000')],
    ['a length beyond all files', Buffer.concat([Buffer.from('H'), Buffer.alloc(8, 0xff)])],
    ['a checksum of a wrong length', Buffer.concat([frameHeader('end', 5), Buffer.alloc(5)])],
    ['an end without end', frameHeader('end', 2 ** 30)],
    ['an error without end', frameHeader('error', 2 ** 30)],
    ['something behind the end', Buffer.concat([endFrame(undefined), Buffer.from('x')])],
  ])('is refused for %s', (_what, bytes) => {
    expect(() => new FrameReader().read(bytes)).toThrow(/byte stream is broken/);
  });
});
