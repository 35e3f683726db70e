/** Images that are resized or wiped in their place. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createQcow2 } from '../../src/storage/images/create-qcow2.ts';
import { createRaw } from '../../src/storage/images/create-raw.ts';
import { resizeImage } from '../../src/storage/images/resize.ts';
import { wipeFile } from '../../src/storage/images/wipe.ts';
import { MIB, patchy, virtualBytes } from '../support/image-files.ts';
import { describeWith } from '../support/needs.ts';
import { run, scratch } from '../support/scratch.ts';

describeWith(['qemu-img'], 'resizing', () => {
  it('grows raw and qcow2, and shrinks only with leave', async () => {
    const directory = scratch();
    const paths = { raw: join(directory, 'raw'), qcow2: join(directory, 'qcow2') };
    await createRaw(paths.raw, { capacityBytes: 8 * MIB });
    await createQcow2(paths.qcow2, { capacityBytes: 8 * MIB });
    for (const [format, path] of Object.entries(paths)) {
      const image = { path, format };
      await resizeImage(image, { capacityBytes: 16 * MIB });
      expect(await virtualBytes(image)).toBe(16 * MIB);
      await resizeImage(image, { capacityBytes: 24 * MIB, allocate: true });
      expect(await virtualBytes(image)).toBe(24 * MIB);
      await expect(resizeImage(image, { capacityBytes: MIB })).rejects.toMatchObject({
        code: 'request.invalid',
      });
      await resizeImage(image, { capacityBytes: MIB, shrink: true });
      expect(await virtualBytes(image)).toBe(MIB);
    }
    run('qemu-img', 'check', '-q', '-f', 'qcow2', paths.qcow2);
  });

  it('of an image above a longer one does not let that one shine through', async () => {
    const directory = scratch();
    const base = join(directory, 'base');
    writeFileSync(base, Buffer.alloc(8 * MIB, 7));
    const top = join(directory, 'top');
    await createQcow2(top, { capacityBytes: 4 * MIB, backing: { name: base, format: 'raw' } });
    await resizeImage(
      { path: top, format: 'qcow2', backing: { path: base, format: 'raw' } },
      { capacityBytes: 8 * MIB },
    );
    run('qemu-io', '-f', 'qcow2', '-c', 'read -P 7 0 4M', '-c', 'read -P 0 4M 4M', top);
  });
});

describeWith([], 'wiping', () => {
  it.each([
    ['zero', 1],
    ['nnsa', 3],
    ['dod', 3],
    ['bsi', 9],
    ['gutmann', 35],
    ['schneier', 7],
    ['pfitzner7', 7],
    ['pfitzner33', 33],
    ['random', 1],
  ] as const)('by %s goes %d times over all of it', async (algorithm, passes) => {
    const path = join(scratch(), 'old');
    const bytes = 3 * MIB + 1234;
    writeFileSync(path, Buffer.alloc(bytes, 'secret'));
    let last = [0, 0];
    await wipeFile({ path }, algorithm, { onProgress: (done, total) => (last = [done, total]) });
    expect(last).toEqual([passes * bytes, passes * bytes]);
    const left = readFileSync(path);
    expect(left.length).toBe(bytes);
    expect(left.includes('secretsecret')).toBe(false);
    if (algorithm === 'zero' || algorithm === 'nnsa') expect(left.equals(Buffer.alloc(bytes))).toBe(true);
    if (algorithm === 'bsi') expect(left.equals(Buffer.alloc(bytes, 0x7f))).toBe(true);
    if (algorithm === 'dod') expect(left.equals(Buffer.alloc(bytes, 0xff))).toBe(true);
  });

  it('leaves the holes of a sparse file, and nothing of its data', async () => {
    const path = patchy(join(scratch(), 'sparse'));
    const before = statSync(path);
    const secrets = [0, 7 * MIB + 4096, 24 * MIB - 65_536].map((at) =>
      readFileSync(path).subarray(at, at + 65_536),
    );
    await wipeFile({ path }, 'schneier');
    const after = statSync(path);
    expect({ size: after.size, blocks: after.blocks }).toEqual({ size: before.size, blocks: before.blocks });
    const left = readFileSync(path);
    for (const secret of secrets)
      for (let at = 0; at < secret.length; at += 8192)
        expect(left.includes(secret.subarray(at, at + 32))).toBe(false);
  });

  it('by trim gives the space back', async () => {
    const path = join(scratch(), 'old');
    writeFileSync(path, Buffer.alloc(MIB, 1));
    await wipeFile({ path }, 'trim');
    expect(statSync(path)).toMatchObject({ size: MIB, blocks: 0 });
  });

  it('can be called off', async () => {
    const path = join(scratch(), 'old');
    writeFileSync(path, Buffer.alloc(8 * MIB, 1));
    const controller = new AbortController();
    const work = { signal: controller.signal, onProgress: () => controller.abort() };
    await expect(wipeFile({ path }, 'zero', work)).rejects.toMatchObject({ code: 'operation.aborted' });
  });
});
