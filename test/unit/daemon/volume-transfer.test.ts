/** Uploads and downloads by the service, over real files: whole or not at all, resumed, checked, one at a time. */
import { createHash } from 'node:crypto';
import {
  linkSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { endFrame, FrameReader, frameHeader, type Piece } from '../../../src/base/sparse-frames.ts';
import type { Pool } from '../../../src/daemon/services/pool.ts';
import { MAX_TRANSFERS } from '../../../src/daemon/services/volume-transfer.ts';
import type { UploadWish } from '../../../src/daemon/services/volume-upload.ts';
import { qcow2 } from '../../support/qcow2-header.ts';
import { dirPool, type StorageRig, storageRig } from '../../support/storage-rig.ts';

const MIB = 1024 * 1024;
const plain: UploadWish = { sparse: false, overwrite: false, resumable: false, checksum: true };
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

async function started() {
  const rig = storageRig();
  const path = rig.place('p');
  const { pool } = await rig.storage.definitions.define(dirPool('p', path), 'strict');
  await rig.storage.lifecycle.start(pool);
  return { ...rig, pool, path, transfers: rig.storage.volumeTransfers };
}

function settled(path: string, bytes: Uint8Array): void {
  writeFileSync(path, bytes);
  const then = new Date(Date.now() - 60_000);
  utimesSync(path, then, then);
}

async function withVolume(name: string, bytes: Uint8Array) {
  const rig = await started();
  settled(join(rig.path, name), bytes);
  await rig.storage.lifecycle.refresh(rig.pool);
  return { ...rig, found: () => ({ pool: rig.pool, volume: rig.storage.volumes.find(rig.pool, name) }) };
}

/** What the pool's directory holds, hidden files too. */
const all = (path: string) => readdirSync(path).sort();

function sendAll(stream: Duplex, bytes: Uint8Array): void {
  stream.resume();
  stream.end(bytes);
}

async function upload(
  rig: Pick<StorageRig, 'storage'> & { pool: Pool },
  name: string,
  bytes: Uint8Array,
  wish = {},
) {
  const begun = await rig.storage.volumeTransfers.upload(rig.pool, name, {
    ...plain,
    length: bytes.length,
    ...wish,
  });
  sendAll(begun.stream, bytes);
  return begun.finished;
}

async function readAll(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('an upload', () => {
  it('makes a volume of the bytes, tells how far it is, and their checksum', async () => {
    const rig = await started();
    const bytes = Buffer.alloc(3 * MIB + 7, 'vireo');
    const { volume, sha256: sum, bytes: count } = await upload(rig, 'a.img', bytes);
    expect(volume).toMatchObject({
      format: 'raw',
      capacityBytes: bytes.length,
      permissions: { mode: 0o600 },
    });
    expect([sum, count]).toEqual([sha256(bytes), bytes.length]);
    expect(readFileSync(volume.path).equals(bytes)).toBe(true);
    const ended = rig.events.find((event) => event.event === 'job.ended' && event.job === 'upload');
    expect(ended).toMatchObject({ error: null, object: { type: 'volume', name: 'a.img' } });
    expect(all(rig.path)).toEqual(['a.img']);
  });

  it('of nothing is an empty volume', async () => {
    const rig = await started();
    const { volume } = await upload(rig, 'empty', Buffer.alloc(0));
    expect(volume.physicalBytes).toBe(0);
  });

  it('keeps holes as holes, at the end too, and counts them as zeros in the checksum', async () => {
    const rig = await started();
    const { stream, finished } = await rig.transfers.upload(rig.pool, 's', { ...plain, sparse: true });
    const data = Buffer.alloc(MIB, 1);
    const parts = [
      frameHeader('hole', 8 * MIB),
      frameHeader('data', MIB),
      data,
      frameHeader('hole', 3 * MIB),
    ];
    sendAll(stream, Buffer.concat([...parts, endFrame(undefined)]));
    const { volume, sha256: sum } = await finished;
    const whole = Buffer.concat([Buffer.alloc(8 * MIB), data, Buffer.alloc(3 * MIB)]);
    expect(readFileSync(volume.path).equals(whole)).toBe(true);
    expect(sum).toBe(sha256(whole));
    expect(volume.allocationBytes).toBeLessThan(2 * MIB);
  });

  it('replaces a volume only when told so, at once and with its format and mode', async () => {
    const rig = await withVolume('v', Buffer.alloc(4096, 1));
    const bytes = Buffer.alloc(8192, 2);
    await expect(upload(rig, 'v', bytes)).rejects.toMatchObject({ code: 'volume.exists' });
    const begun = await rig.transfers.upload(rig.pool, 'v', { ...plain, length: 8192, overwrite: true });
    begun.stream.resume().write(bytes.subarray(0, 4000));
    expect(readFileSync(join(rig.path, 'v')).equals(Buffer.alloc(4096, 1))).toBe(true);
    begun.stream.end(bytes.subarray(4000));
    const { volume } = await begun.finished;
    expect(readFileSync(volume.path).equals(bytes)).toBe(true);
    expect(volume).toMatchObject({ format: 'raw', permissions: { mode: 0o644 } });
  });

  it('in place changes just its part', async () => {
    const rig = await withVolume('v', Buffer.alloc(10_000, 1));
    await upload(rig, 'v', Buffer.alloc(100, 2), { offset: 5000 });
    const now = readFileSync(join(rig.path, 'v'));
    expect(
      now.equals(Buffer.concat([Buffer.alloc(5000, 1), Buffer.alloc(100, 2), Buffer.alloc(4900, 1)])),
    ).toBe(true);
    await expect(upload(rig, 'v', Buffer.alloc(100), { offset: 9950 })).rejects.toMatchObject({
      code: 'request.invalid',
    });
    const { stream, finished } = await rig.transfers.upload(rig.pool, 'v', {
      ...plain,
      sparse: true,
      offset: 0,
    });
    sendAll(stream, Buffer.concat([frameHeader('hole', 6000), endFrame(undefined)]));
    await finished;
    expect(readFileSync(join(rig.path, 'v')).subarray(0, 6001)).toEqual(
      Buffer.concat([Buffer.alloc(6000), Buffer.alloc(1, 1)]),
    );
  });

  it('that breaks off leaves nothing, and the old volume as it was', async () => {
    const rig = await withVolume('v', Buffer.alloc(4096, 1));
    for (const name of ['v', 'new']) {
      const { stream, finished } = await rig.transfers.upload(rig.pool, name, {
        ...plain,
        length: 9999,
        overwrite: true,
      });
      const failed = expect(finished).rejects.toMatchObject({ code: 'stream.failed' });
      sendAll(stream, Buffer.alloc(5000, 2));
      await failed;
    }
    expect(all(rig.path)).toEqual(['v']);
    expect(readFileSync(join(rig.path, 'v')).equals(Buffer.alloc(4096, 1))).toBe(true);
  });

  it('that breaks off goes on where it was, with the checksum of the whole', async () => {
    const rig = await started();
    const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251));
    const wish = { ...plain, length: bytes.length, resumable: true };
    const first = await rig.transfers.upload(rig.pool, 'v', wish);
    const failed = expect(first.finished).rejects.toMatchObject({ code: 'stream.failed' });
    first.stream.resume().write(bytes.subarray(0, 60_000), () => first.stream.destroy());
    await failed;
    expect(rig.storage.volumes.list(rig.pool)).toEqual([]);
    const other = rig.transfers.upload(rig.pool, 'other', { ...wish, resume: first.resume });
    await expect(other).rejects.toMatchObject({ code: 'request.invalid' });
    const second = await rig.transfers.upload(rig.pool, 'v', { ...wish, resume: first.resume });
    expect(second.offset).toBe(60_000);
    sendAll(second.stream, bytes.subarray(60_000));
    expect(await second.finished).toMatchObject({ sha256: sha256(bytes), bytes: 40_000 });
    expect(all(rig.path)).toEqual(['v']);
    const third = rig.transfers.upload(rig.pool, 'v2', { ...wish, resume: first.resume });
    await expect(third).rejects.toMatchObject({ code: 'request.invalid' });
  });

  it('with other bytes than were meant is refused, and nothing is kept of it', async () => {
    const rig = await started();
    const wish = { sha256: sha256(Buffer.from('other')), resumable: true };
    await expect(upload(rig, 'v', Buffer.alloc(100), wish)).rejects.toThrow(/the SHA-256 is/);
    expect(all(rig.path)).toEqual([]);
  });

  it('is called off as a job, and one more on the same volume is told what goes on', async () => {
    const rig = await started();
    const begun = await rig.transfers.upload(rig.pool, 'v', { ...plain, length: 10 });
    await expect(upload(rig, 'v', Buffer.alloc(10))).rejects.toMatchObject({
      code: 'volume.busy',
      details: { job: 'upload' },
    });
    rig.storage.jobs.cancel(begun.jobId);
    await expect(begun.finished).rejects.toMatchObject({ code: 'operation.aborted' });
    expect(all(rig.path)).toEqual([]);
  });

  it('has to wait when so many go on, and has the room of one that ended', async () => {
    const rig = await started();
    const begin = (name: string) => rig.transfers.upload(rig.pool, name, { ...plain, length: 3 });
    const under = await Promise.all(Array.from({ length: MAX_TRANSFERS }, (_, index) => begin(`v${index}`)));
    await expect(begin('late')).rejects.toMatchObject({
      code: 'request.busy',
      reason: `${MAX_TRANSFERS} uploads and downloads are under way`,
    });
    const [first, second, ...others] = under;
    if (first === undefined || second === undefined) throw new Error('there are none');
    sendAll(first.stream, Buffer.from('abc'));
    await first.finished;
    second.stream.destroy();
    await expect(second.finished).rejects.toMatchObject({ code: 'stream.failed' });
    // One that failed has left room, too; one that never began takes none.
    const late = await begin('late');
    await expect(begin('late')).rejects.toMatchObject({ code: 'volume.busy' });
    const last = await begin('last');
    await expect(begin('more')).rejects.toMatchObject({ code: 'request.busy' });
    for (const { stream, finished } of [late, last, ...others]) {
      sendAll(stream, Buffer.from('abc'));
      await finished;
    }
    expect(all(rig.path)).toHaveLength(MAX_TRANSFERS + 1);
  });

  it('of more than was announced is refused', async () => {
    const rig = await started();
    const { stream, finished } = await rig.transfers.upload(rig.pool, 'v', {
      ...plain,
      sparse: true,
      length: 100,
    });
    const failed = expect(finished).rejects.toMatchObject({ code: 'request.invalid' });
    sendAll(stream, Buffer.concat([frameHeader('hole', 101), endFrame(undefined)]));
    await failed;
  });

  it('of an image that names files outside of the pools makes no volume of that format', async () => {
    const rig = await started();
    const image = qcow2({ backing: '/etc/shadow' });
    await expect(upload(rig, 'v.qcow2', image, { format: 'qcow2' })).rejects.toMatchObject({
      code: 'definition.unsupported',
    });
    expect(all(rig.path)).toEqual([]);
    const { volume, warnings } = await upload(rig, 'v.qcow2', image);
    expect(volume.format).toBe('raw');
    expect(warnings.join()).toContain('/etc/shadow');
    await expect(upload(rig, 'w.qcow2', Buffer.alloc(70_000), { format: 'qcow2' })).rejects.toThrow(
      /not qcow2/,
    );
    expect((await upload(rig, 'x.qcow2', qcow2({}))).volume.format).toBe('qcow2');
  });

  it('does not change what a guest runs on, or an image below another', async () => {
    const rig = await withVolume('v', Buffer.alloc(4096));
    const path = join(rig.path, 'v');
    rig.disks.push({
      domain: { uuid: 'u', name: 'web' },
      isActive: true,
      paths: [path],
      format: 'raw',
      as: 'disk vda',
    });
    await expect(upload(rig, 'v', Buffer.alloc(1), { overwrite: true })).rejects.toMatchObject({
      code: 'volume.in-use',
      reason: "domain 'web' (running, disk vda) depends on it",
    });
  });

  it('writes into no file that has another name, and through no link', async () => {
    const rig = await withVolume('v', Buffer.alloc(100, 1));
    const secret = join(rig.directory, 'secret');
    writeFileSync(secret, 'secret');
    linkSync(join(rig.path, 'v'), join(rig.directory, 'twin'));
    await expect(upload(rig, 'v', Buffer.alloc(10), { offset: 0 })).rejects.toMatchObject({
      code: 'definition.unsupported',
    });
    // Put there after the daemon has looked.
    const found = rig.found();
    unlinkSync(found.volume.path);
    symlinkSync(secret, found.volume.path);
    await expect(
      rig.transfers.download(found, { offset: 0, sparse: false, checksum: true }),
    ).rejects.toMatchObject({
      code: 'definition.unsupported',
    });
    await expect(upload(rig, 'v', Buffer.alloc(3), { offset: 0 })).rejects.toMatchObject({
      code: 'definition.unsupported',
    });
    expect(readFileSync(secret, 'utf8')).toBe('secret');
    await upload(rig, 'v', Buffer.alloc(3), { overwrite: true });
    expect(readFileSync(secret, 'utf8')).toBe('secret');
    expect(statSync(found.volume.path).size).toBe(3);
  });

  it.each(['../x', 'a/b', '.hidden', '', '.', 'a\nb'])('refuses the name %j', async (name) => {
    const rig = await started();
    await expect(upload(rig, name, Buffer.alloc(1))).rejects.toMatchObject({ code: 'request.invalid' });
    expect(all(rig.path)).toEqual([]);
  });
});

describe('a download', () => {
  it('sends the bytes and one line with their checksum', async () => {
    const bytes = Buffer.alloc(2 * MIB + 3, 'bytes');
    const rig = await withVolume('v', bytes);
    const { stream, length, totalBytes } = await rig.transfers.download(rig.found(), {
      ...{ offset: 3, length: 2 * MIB, sparse: false, checksum: true },
    });
    expect([length, totalBytes]).toEqual([2 * MIB, bytes.length]);
    const got = await readAll(stream);
    expect(got.subarray(0, length).equals(bytes.subarray(3, 3 + length))).toBe(true);
    expect(JSON.parse(got.subarray(length).toString())).toEqual({
      sha256: sha256(bytes.subarray(3, 3 + length)),
    });
  });

  it('in frames sends no holes', async () => {
    const rig = await started();
    const { stream: up, finished } = await rig.transfers.upload(rig.pool, 's', { ...plain, sparse: true });
    const parts = [
      frameHeader('hole', 64 * MIB),
      frameHeader('data', 5),
      Buffer.from('hello'),
      frameHeader('hole', MIB),
    ];
    sendAll(up, Buffer.concat([...parts, endFrame(undefined)]));
    const { volume, sha256: sum } = await finished;
    const { stream, length } = await rig.transfers.download(
      { pool: rig.pool, volume },
      { offset: 0, sparse: true, checksum: true },
    );
    const frames = await readAll(stream);
    expect(frames.length).toBeLessThan(MIB);
    const pieces: Piece[] = new FrameReader().read(frames);
    const sizes = pieces.map((piece) =>
      piece.kind === 'data' ? piece.bytes.length : piece.kind === 'hole' ? piece.length : 0,
    );
    expect(sizes.reduce((total, size) => total + size, 0)).toBe(length);
    expect(pieces.at(-1)).toEqual({ kind: 'end', sha256: sum });
  });

  it('beyond the end is refused', async () => {
    const rig = await withVolume('v', Buffer.alloc(100));
    const wish = { offset: 50, length: 51, sparse: false, checksum: true };
    await expect(rig.transfers.download(rig.found(), wish)).rejects.toMatchObject({
      code: 'request.invalid',
    });
  });

  it('ends when its client leaves or its job is called off', async () => {
    const rig = await withVolume('v', Buffer.alloc(8 * MIB));
    const wish = { offset: 0, sparse: true, checksum: false };
    const first = await rig.transfers.download(rig.found(), wish);
    first.stream.destroy();
    await expect.poll(() => rig.storage.jobs.list()).toEqual([]);
    const second = await rig.transfers.download(rig.found(), wish);
    rig.storage.jobs.cancel(second.jobId);
    const frames = await readAll(second.stream);
    expect(new FrameReader().read(frames).at(-1)?.kind).toBe('error');
    await expect.poll(() => rig.storage.jobs.list()).toEqual([]);
  });
});
