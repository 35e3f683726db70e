/** Images that go onto devices, and onto disks that are full. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { convertToFile } from '../../src/storage/images/convert.ts';
import { copyToFile } from '../../src/storage/images/copy.ts';
import { createQcow2 } from '../../src/storage/images/create-qcow2.ts';
import { createRaw } from '../../src/storage/images/create-raw.ts';
import { openImage } from '../../src/storage/images/new-file.ts';
import { resizeImage } from '../../src/storage/images/resize.ts';
import { wipeFile } from '../../src/storage/images/wipe.ts';
import { qemuImgTools } from '../../src/storage/qemu-img-tools.ts';
import { detailsOf, GIB, MIB, patchy, virtualBytes } from '../support/image-files.ts';
import { describeWith } from '../support/needs.ts';
import { run, scratch } from '../support/scratch.ts';

/** A file system of that many bytes, for as long as the test lasts. */
function smallDisk(bytes: number): string {
  const place = join(scratch(), 'small');
  mkdirSync(place);
  run('mount', '-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', place);
  onTestFinished(() => void spawnSync('umount', ['--lazy', place]));
  return place;
}

describeWith(['qemu-img', 'losetup', 'root'], 'a device', () => {
  function loopDevice(bytes: number): string {
    const file = join(scratch(), 'loop.img');
    writeFileSync(file, Buffer.alloc(bytes, 0xee));
    const device = run('losetup', '--find', '--show', file).trim();
    onTestFinished(() => void spawnSync('losetup', ['--detach', device]));
    return device;
  }

  it('takes copies and conversions, with zeros where the source has holes', async () => {
    const directory = scratch();
    const raw = patchy(join(directory, 'raw'));
    const bytes = readFileSync(raw);
    const qcow2 = join(directory, 'qcow2');
    await convertToFile({ path: raw, format: 'raw' }, qcow2, { format: 'qcow2', capacityBytes: 24 * MIB });
    for (const format of ['raw', 'qcow2'] as const) {
      const device = loopDevice(32 * MIB);
      // As a logical volume is found: by a link that root put there.
      const link = join(directory, `link-${format}`);
      symlinkSync(device, link);
      const volume = { name: 'v', format: 'raw', capacityBytes: 24 * MIB, allocationBytes: 0 } as const;
      await qemuImgTools.copy({ path: { raw, qcow2 }[format], format }, link, volume);
      const left = readFileSync(device);
      expect(left.subarray(0, bytes.length).equals(bytes)).toBe(true);
      expect(left.subarray(24 * MIB).equals(Buffer.alloc(8 * MIB, 0xee))).toBe(true);
      expect(await detailsOf(device, 'raw')).toMatchObject({
        virtualBytes: 32 * MIB,
        allocatedBytes: 32 * MIB,
      });
    }
  });

  it('is what a copy that takes all its space, or has another format, is made of', async () => {
    const directory = scratch();
    const device = loopDevice(4 * MIB);
    const bytes = readFileSync(device);
    const capacityBytes = 4 * MIB;
    const full = { name: 'f', format: 'raw', capacityBytes, allocationBytes: capacityBytes } as const;
    await qemuImgTools.copy({ path: device, format: 'raw' }, join(directory, 'full'), full);
    expect(readFileSync(join(directory, 'full')).equals(bytes)).toBe(true);
    const out = join(directory, 'qcow2');
    await convertToFile({ path: device, format: 'raw' }, out, { format: 'qcow2', capacityBytes });
    run('qemu-img', 'compare', '-q', '-f', 'raw', '-F', 'qcow2', device, out);
  });

  it('that is too small takes nothing', async () => {
    const raw = patchy(join(scratch(), 'raw'));
    const device = loopDevice(MIB);
    const volume = { name: 'v', format: 'raw', capacityBytes: 24 * MIB, allocationBytes: 0 } as const;
    await expect(qemuImgTools.copy({ path: raw, format: 'raw' }, device, volume)).rejects.toMatchObject({
      code: 'request.invalid',
    });
    expect(readFileSync(device).equals(Buffer.alloc(MIB, 0xee))).toBe(true);
  });

  it('is wiped from its beginning to its end', async () => {
    const device = loopDevice(4 * MIB + 512);
    await wipeFile({ path: device }, 'zero');
    expect(readFileSync(device).equals(Buffer.alloc(4 * MIB + 512))).toBe(true);
    await wipeFile({ path: device }, 'trim');
  });
});

describeWith(['qemu-img', 'root'], 'a full disk', () => {
  it('is told with what was needed and what is free, and nothing is left', async () => {
    const place = smallDisk(8 * MIB);
    const big = join(scratch(), 'big');
    writeFileSync(big, randomBytes(16 * MIB));
    const source = await openImage(big, 'read', 'test');
    onTestFinished(() => source.close());
    const to = join(place, 'to');
    const raw = { path: big, format: 'raw' };
    const tries = [
      () => createRaw(to, { capacityBytes: 16 * MIB, allocationBytes: 16 * MIB }),
      () => createQcow2(to, { capacityBytes: 16 * MIB, preallocation: 'falloc' }),
      () => createQcow2(to, { capacityBytes: 16 * MIB, preallocation: 'full' }),
      () => createQcow2(to, { capacityBytes: 128 * GIB, preallocation: 'metadata' }),
      async () => void (await copyToFile(source, to)),
      () => convertToFile(raw, to, { format: 'qcow2', capacityBytes: 16 * MIB }),
      () => convertToFile(raw, to, { format: 'vdi', capacityBytes: 16 * MIB }),
    ];
    for (const attempt of tries) {
      const error = await attempt().then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error, String(attempt)).toMatchObject({
        code: 'file.no-space',
        details: { neededBytes: expect.any(Number) as number, freeBytes: expect.any(Number) as number },
      });
      expect(readdirSync(place)).toEqual([]);
    }
    await createRaw(to, { capacityBytes: 4 * MIB, allocationBytes: 4 * MIB });
  });

  it('stops a resize, and the image is as it was', async () => {
    const place = smallDisk(8 * MIB);
    const raw = join(place, 'raw');
    await createRaw(raw, { capacityBytes: MIB });
    writeFileSync(raw, Buffer.alloc(MIB, 3));
    await expect(
      resizeImage({ path: raw, format: 'raw' }, { capacityBytes: 32 * MIB, allocate: true }),
    ).rejects.toMatchObject({ code: 'file.no-space' });
    expect(readFileSync(raw).equals(Buffer.alloc(MIB, 3))).toBe(true);
    const qcow2 = join(place, 'qcow2');
    await createQcow2(qcow2, { capacityBytes: MIB });
    const image = { path: qcow2, format: 'qcow2' };
    await expect(resizeImage(image, { capacityBytes: 32 * MIB, allocate: true })).rejects.toMatchObject({
      code: 'file.no-space',
    });
    expect(await virtualBytes(image)).toBe(MIB);
    run('qemu-img', 'check', '-q', '-f', 'qcow2', qcow2);
  });
});
