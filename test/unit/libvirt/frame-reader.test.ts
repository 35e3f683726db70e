/** Messages of libvirt's protocol out of reads of any size, read to where the reader says. */
import { expect, it } from 'vitest';
import { FrameReader } from '../../../src/daemon/frontends/libvirt/framing.ts';
import { MAX_MESSAGE_BYTES, messageType } from '../../../src/libvirt/protocol/message.ts';
import { random } from '../../support/random.ts';

const PREFIX_BYTES = 28;
/** The longest packets of a stream that clients send. */
const PACKET_BYTES = 262_120;

/** One packet of a stream with its body filled by its serial. */
function packet(serial: number, bodyBytes: number): Buffer {
  const bytes = Buffer.alloc(PREFIX_BYTES + bodyBytes, serial & 0xff);
  const words = [bytes.length, 0x2000_8086, 1, 208, messageType.stream, serial, 2];
  for (const [index, word] of words.entries()) bytes.writeUInt32BE(word, index * 4);
  return bytes;
}

interface Seen {
  readonly serial: number;
  readonly bytes: Buffer;
  readonly isIntact: boolean;
}

/** Reads as a socket does: as much as there is, at most `most()`, into the buffer that the reader names. */
function readAll(reader: FrameReader, input: Buffer, most: () => number): void {
  for (let at = 0; at < input.length; ) {
    const place = reader.nextBuffer();
    const size = Math.min(place.length, most(), input.length - at);
    expect(size).toBeGreaterThan(0);
    input.copy(place, 0, at, at + size);
    at += size;
    reader.consume(Buffer.from(place.buffer, place.byteOffset, size));
  }
}

function readerOf(onMessage: (seen: Seen, reader: FrameReader) => void): FrameReader {
  const reader: FrameReader = new FrameReader(
    ({ serial }, frame, start, end) => {
      const bytes = frame.subarray(start, end);
      onMessage({ serial, bytes, isIntact: bytes.every((byte) => byte === (serial & 0xff)) }, reader);
    },
    () => false,
  );
  reader.trust();
  return reader;
}

it.each([false, true])(
  'hands on what was sent, in reads of any size (exactly: %s)',
  { timeout: 30_000 },
  (isExact) => {
    const chance = random(7);
    const below = (limit: number) => Math.floor(chance() * limit);
    const lengths = Array.from(
      { length: 40 },
      (_, index) => [PACKET_BYTES, below(200), 20_000 + below(300_000), PACKET_BYTES][index % 4] as number,
    );
    const input = Buffer.concat(lengths.map((length, serial) => packet(serial, length)));
    const seen: { serial: number; length: number; isIntact: boolean }[] = [];
    const reader = readerOf(({ serial, bytes, isIntact }) =>
      seen.push({ serial, length: bytes.length, isIntact }),
    );
    if (isExact) reader.readExactly();
    readAll(reader, input, () => 1 + below(below(2) === 0 ? 64 : 400_000));
    expect(seen).toEqual(lengths.map((length, serial) => ({ serial, length, isIntact: true })));
  },
);

it('leaves a kept packet as it is while more come, and reads into it again when it is given back', () => {
  const kept: { readonly serial: number; readonly bytes: Buffer; readonly giveBack: () => void }[] = [];
  const places = new Set<ArrayBufferLike>();
  const reader = readerOf(({ serial, bytes }) => {
    places.add(bytes.buffer);
    const giveBack = reader.keep();
    expect(giveBack, 'a full packet can be kept').toBeDefined();
    expect(reader.keep(), 'only once').toBeUndefined();
    if (giveBack !== undefined) kept.push({ serial, bytes, giveBack });
    if (kept.length < 4) return;
    for (const { serial: number, bytes: whole } of kept)
      expect(
        whole.every((byte) => byte === number),
        `packet ${number}`,
      ).toBe(true);
    for (const { giveBack: release } of kept.splice(0)) release();
  });
  const input = Buffer.concat(Array.from({ length: 24 }, (_, serial) => packet(serial, PACKET_BYTES)));
  readAll(reader, input, () => 200_000);
  expect(kept).toEqual([]);
  expect(places.size, 'buffers for 24 packets').toBeLessThanOrEqual(6);
});

it('does not let a message be kept that lies among others', () => {
  const answers: unknown[] = [];
  const reader = readerOf(() => answers.push(reader.keep()));
  reader.consume(Buffer.concat([packet(1, 100), packet(2, 100)]));
  expect(answers).toEqual([undefined, undefined]);
});

it('spends nothing on a length that is only announced', () => {
  const reader = readerOf(() => undefined);
  const head = packet(1, 0);
  head.writeUInt32BE(MAX_MESSAGE_BYTES, 0);
  const { arrayBuffers } = process.memoryUsage();
  reader.consume(head);
  expect(process.memoryUsage().arrayBuffers - arrayBuffers).toBeLessThan(1024 * 1024);
  expect(reader.nextBuffer().length).toBeLessThanOrEqual(65_536);
});

it.each([false, true])(
  'leaves kept packets as they are when it is held in the middle of one, wherever that is (exactly: %s)',
  { timeout: 30_000 },
  (isExact) => {
    const chance = random(11);
    const below = (limit: number) => Math.floor(chance() * limit);
    const kept: { readonly serial: number; readonly bytes: Buffer; readonly giveBack: () => void }[] = [];
    const lastSeen: number[] = [];
    let broken = 0;
    const letGo = (count: number): void => {
      for (const { serial, bytes, giveBack } of kept.splice(0, count)) {
        if (!bytes.every((byte) => byte === serial)) broken += 1;
        giveBack();
      }
    };
    const reader: FrameReader = new FrameReader(
      ({ serial }, frame, start, end) => {
        lastSeen.push(serial);
        const bytes = frame.subarray(start, end);
        const giveBack = reader.keep();
        if (giveBack !== undefined) kept.push({ serial, bytes, giveBack });
        else if (!bytes.every((byte) => byte === serial)) broken += 1;
        if (kept.length > 3) letGo(1 + below(3));
      },
      () => below(4) === 0,
    );
    reader.trust();
    if (isExact) reader.readExactly();
    const input = Buffer.concat(Array.from({ length: 60 }, (_, serial) => packet(serial, PACKET_BYTES)));
    // As Node does: the place of the next read is asked for when a read ends, before what waits is released.
    let place = reader.nextBuffer();
    for (let at = 0; at < input.length; ) {
      const size = Math.min(place.length, 1 + below(150_000), input.length - at);
      input.copy(place, 0, at, at + size);
      at += size;
      reader.consume(Buffer.from(place.buffer, place.byteOffset, size));
      place = reader.nextBuffer();
      while (!reader.release());
    }
    letGo(kept.length);
    expect(broken).toBe(0);
    expect(lastSeen).toEqual(Array.from({ length: 60 }, (_, serial) => serial));
  },
);
