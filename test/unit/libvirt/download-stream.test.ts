import { Duplex } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { endFrame, errorFrame, frameHeader } from '../../../src/base/sparse-frames.ts';
import type { Hole } from '../../../src/daemon/frontends/libvirt/context.ts';
import { downloadStream } from '../../../src/daemon/frontends/libvirt/download-stream.ts';
import { STREAM_PACKET_BYTES } from '../../../src/libvirt/protocol/message.ts';

/** An engine's side that sends these chunks, and what comes out on the client's. */
function download(chunks: readonly Buffer[], sparse: boolean) {
  const waiting = [...chunks];
  const stream = new Duplex({
    read() {
      this.push(waiting.shift() ?? null);
    },
    write: (_chunk, _encoding, callback) => callback(),
  });
  const returned: Buffer[] = [];
  return { returned, ...downloadStream({ stream, giveBack: (bytes) => returned.push(bytes) }, { sparse }) };
}

async function piecesOf(duplex: Duplex): Promise<(Buffer | Hole)[]> {
  const pieces: (Buffer | Hole)[] = [];
  for await (const piece of duplex as AsyncIterable<Buffer | Hole>) pieces.push(piece);
  return pieces;
}

const data = (text: string) => [frameHeader('data', text.length), Buffer.from(text)];

describe('a download of a volume as a stream of libvirt', () => {
  test('gives buffers and holes, however slowly they are read', async () => {
    const many = Array.from({ length: 40 }, (_, index) => data(`piece ${index}`)).flat();
    const { duplex } = download([...many, frameHeader('hole', 7), endFrame(undefined)], true);
    const pieces: (Buffer | Hole)[] = [];
    for await (const piece of duplex as AsyncIterable<Buffer | Hole>) {
      pieces.push(piece);
      await new Promise(setImmediate);
    }
    expect(pieces.map((piece) => (piece instanceof Uint8Array ? piece.toString() : piece))).toEqual([
      ...Array.from({ length: 40 }, (_, index) => `piece ${index}`),
      { holeBytes: 7 },
    ]);
  });

  test('gives zeros for holes to a client that knows none, as whole packets', async () => {
    const hole = 20 * STREAM_PACKET_BYTES + 5;
    const chunks = [...data('a'), frameHeader('hole', hole), ...data('b'), endFrame(undefined)];
    const pieces = await piecesOf(download(chunks, false).duplex);
    const lengths = pieces.map((piece) => (piece as Buffer).length);
    expect(lengths).toEqual([1, ...Array.from({ length: 20 }, () => STREAM_PACKET_BYTES), 5, 1]);
    expect(Buffer.concat(pieces.slice(1, -1) as Buffer[]).every((byte) => byte === 0)).toBe(true);
  });

  test('gives buffers of data back, never its own zeros', async () => {
    const chunks = [...data('abc'), frameHeader('hole', 9), endFrame(undefined)];
    const { duplex, onSent, returned } = download(chunks, false);
    for (const piece of await piecesOf(duplex)) onSent(piece as Buffer);
    expect(returned.map(String)).toEqual(['abc']);
  });

  test('fails with what the engine says, and when the engine goes without its end', async () => {
    const told = download([...data('abc'), errorFrame('the disk is gone')], false);
    await expect(piecesOf(told.duplex)).rejects.toThrow('the disk is gone');
    const cut = download(data('abc'), false);
    await expect(piecesOf(cut.duplex)).rejects.toThrow('could not be read to its end');
  });
});
