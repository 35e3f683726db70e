/** Copies and conversions of images with the real qemu-img: every byte is kept, and no litter. */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { convertToFile } from '../../src/storage/images/convert.ts';
import { copyOver, copyToFile } from '../../src/storage/images/copy.ts';
import { createOther } from '../../src/storage/images/create-other.ts';
import { createQcow2 } from '../../src/storage/images/create-qcow2.ts';
import { openImage } from '../../src/storage/images/new-file.ts';
import { commandLine, eventually } from '../support/daemon.ts';
import { MIB, patchy, virtualBytes } from '../support/image-files.ts';
import { describeWith } from '../support/needs.ts';
import { run, scratch } from '../support/scratch.ts';

/** How many programs work in that directory. */
const processesWith = (directory: string) =>
  readdirSync('/proc').filter(
    (name) => /^\d+$/.test(name) && commandLine(Number(name)).some((word) => word.includes(directory)),
  ).length;

const hashOf = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

describeWith(['qemu-img'], 'a copy', () => {
  it('has the same bytes, and holes where the source has them', async () => {
    const directory = scratch();
    const from = patchy(join(directory, 'from'));
    const seen: number[] = [];
    const source = await openImage(from, 'read', 'test');
    await copyToFile(source, join(directory, 'to'), { onProgress: (done) => seen.push(done) });
    await source.close();
    expect(hashOf(join(directory, 'to'))).toBe(hashOf(from));
    expect(statSync(join(directory, 'to')).blocks).toBe(statSync(from).blocks);
    expect(seen.at(-1)).toBe(24 * MIB);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  });

  it('goes from one file system to another, and over what is there', async () => {
    const from = patchy(join(scratch(), 'from'));
    const elsewhere = mkdtempSync('/dev/shm/vireo-images-');
    onTestFinished(() => rmSync(elsewhere, { recursive: true, force: true }));
    const source = await openImage(from, 'read', 'test');
    onTestFinished(() => source.close());
    await copyToFile(source, join(elsewhere, 'to'));
    expect(hashOf(join(elsewhere, 'to'))).toBe(hashOf(from));
    expect(statSync(join(elsewhere, 'to')).blocks * 512).toBeLessThan(MIB);
    writeFileSync(join(elsewhere, 'old'), Buffer.alloc(24 * MIB, 0xee));
    const target = await openImage(join(elsewhere, 'old'), 'write', 'test');
    await copyOver(source, target);
    await target.close();
    expect(hashOf(join(elsewhere, 'old'))).toBe(hashOf(from));
  });

  it('that must share its blocks is not made where it cannot', async () => {
    // tmpfs has no blocks to share (linux/mm/shmem.c has no remap_file_range).
    const directory = mkdtempSync('/dev/shm/vireo-share-');
    onTestFinished(() => rmSync(directory, { recursive: true }));
    writeFileSync(join(directory, 'from'), randomBytes(4096));
    const source = await open(join(directory, 'from'));
    onTestFinished(() => source.close());
    await expect(copyToFile(source, join(directory, 'to'), {}, { mustShare: true })).rejects.toThrow(
      'failed to clone files: the file system shares no blocks between the two',
    );
    expect(readdirSync(directory)).toEqual(['from']);
  });

  it('that is called off leaves nothing', async () => {
    const directory = scratch();
    const from = join(directory, 'from');
    writeFileSync(from, Buffer.alloc(64 * MIB, 1));
    const controller = new AbortController();
    const source = await openImage(from, 'read', 'test');
    const work = { signal: controller.signal, onProgress: () => controller.abort() };
    await expect(copyToFile(source, join(directory, 'to'), work)).rejects.toMatchObject({
      code: 'operation.aborted',
    });
    await source.close();
    expect(readdirSync(directory)).toEqual(['from']);
  });

  it('is refused of what is no image: FIFOs, directories, dangling links, links that anybody could have put there', async () => {
    const directory = scratch();
    run('mkfifo', join(directory, 'fifo'));
    symlinkSync('/nowhere', join(directory, 'dangling'));
    const open = mkdtempSync(join(tmpdir(), 'vireo-open-'));
    onTestFinished(() => rmSync(open, { recursive: true, force: true }));
    chmodSync(open, 0o777);
    symlinkSync('/etc/passwd', join(open, 'link'));
    const refusals = [
      [join(directory, 'fifo'), 'file.failed'],
      [directory, 'file.failed'],
      [join(directory, 'dangling'), 'file.denied'],
      [join(open, 'link'), 'file.denied'],
      [join(directory, 'absent'), 'file.not-found'],
    ] as const;
    for (const [path, code] of refusals)
      await expect(openImage(path, 'read', 'test')).rejects.toMatchObject({ code });
  });
});

describeWith(['qemu-img'], 'a conversion', () => {
  it('there and back gives the same bytes, with progress', async () => {
    const directory = scratch();
    const raw = patchy(join(directory, 'raw'));
    for (const format of ['qcow2', 'vmdk', 'vdi', 'vhd', 'vpc', 'qed']) {
      const there = join(directory, `there.${format}`);
      const seen: number[] = [];
      const spec = { format, capacityBytes: 24 * MIB };
      await convertToFile({ path: raw, format: 'raw' }, there, spec, {
        onProgress: (done) => seen.push(done),
      });
      expect(seen.at(-1)).toBe(24 * MIB);
      const back = join(directory, `back.${format}`);
      await convertToFile({ path: there, format }, back, { format: 'raw', capacityBytes: 24 * MIB });
      // Some formats know sizes in steps only.
      expect(
        hashOf(back) === hashOf(raw) ||
          readFileSync(back)
            .subarray(0, 24 * MIB)
            .equals(readFileSync(raw)),
      ).toBe(true);
      expect(statSync(there).mode & 0o777).toBe(0o600);
    }
  });

  it('can compress, and obeys options', async () => {
    const directory = scratch();
    writeFileSync(join(directory, 'raw'), 'abcd'.repeat(4 * MIB));
    const spec = {
      format: 'qcow2',
      capacityBytes: 16 * MIB,
      compressed: true,
      options: ['compression_type=zstd'],
    };
    await convertToFile({ path: join(directory, 'raw'), format: 'raw' }, join(directory, 'q'), spec);
    expect(statSync(join(directory, 'q')).size).toBeLessThan(MIB);
    expect(run('qemu-img', 'info', join(directory, 'q'))).toContain('compression type: zstd');
  });

  it('follows only what it was given: a chain, and nothing that a header says', async () => {
    const directory = scratch();
    const base = patchy(join(directory, 'base'));
    const top = join(directory, 'top');
    await createQcow2(top, { capacityBytes: 24 * MIB, backing: { name: base, format: 'raw' } });
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 5 1M 1M', top);
    const flat = { format: 'raw', capacityBytes: 24 * MIB };
    const alone = convertToFile({ path: top, format: 'qcow2' }, join(directory, 'flat'), flat);
    await expect(alone).rejects.toMatchObject({ code: 'definition.unsupported' });
    await convertToFile(
      { path: top, format: 'qcow2', backing: { path: base, format: 'raw' } },
      join(directory, 'flat'),
      flat,
    );
    run('qemu-img', 'compare', '-q', '-f', 'qcow2', '-F', 'raw', top, join(directory, 'flat'));
    const external = join(directory, 'external');
    run(
      'qemu-img',
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      `data_file=${join(directory, 'data')}`,
      external,
      '1M',
    );
    await expect(
      convertToFile({ path: external, format: 'qcow2' }, join(directory, 'no'), flat),
    ).rejects.toMatchObject({ code: 'definition.unsupported' });
    // The same image said to be raw is just bytes.
    await convertToFile({ path: external, format: 'raw' }, join(directory, 'bytes'), flat);
    const bytes = readFileSync(external);
    expect(readFileSync(join(directory, 'bytes')).subarray(0, bytes.length).equals(bytes)).toBe(true);
  });

  it('that is called off ends the program and leaves nothing', async () => {
    const directory = scratch();
    writeFileSync(join(directory, 'raw'), randomBytes(128 * MIB));
    const controller = new AbortController();
    const spec = { format: 'qcow2', capacityBytes: 128 * MIB, compressed: true };
    const work = { signal: controller.signal, onProgress: () => controller.abort() };
    await expect(
      convertToFile({ path: join(directory, 'raw'), format: 'raw' }, join(directory, 'q'), spec, work),
    ).rejects.toMatchObject({ code: 'operation.aborted' });
    expect(readdirSync(directory)).toEqual(['raw']);
  });

  it('ends with the process that wanted it', async () => {
    const directory = scratch();
    const raw = join(directory, 'raw');
    writeFileSync(raw, randomBytes(128 * MIB));
    const script = `
      import { convertToFile } from '${join(import.meta.dirname, '../../src/storage/images/convert.ts')}';
      const spec = { format: 'qcow2', capacityBytes: ${128 * MIB}, compressed: true };
      const onProgress = (done) => { if (done > 0) process.kill(process.pid, 'SIGKILL'); };
      await convertToFile({ path: '${raw}', format: 'raw' }, '${directory}/out', spec, { onProgress });`;
    const { signal } = spawnSync(process.execPath, ['--input-type=module', '--eval', script]);
    expect(signal).toBe('SIGKILL');
    await eventually('qemu-img has ended', () => processesWith(directory) === 0);
    const { size } = statSync(join(directory, 'out'));
    await new Promise((resolve) => setTimeout(resolve, 500));
    // Nobody writes to it any more.
    expect(statSync(join(directory, 'out')).size).toBe(size);
    expect(size).toBeLessThan(100 * MIB);
  });

  it('of a broken image is an error that leaves nothing', async () => {
    const directory = scratch();
    const path = join(directory, 'broken');
    await createQcow2(path, { capacityBytes: 8 * MIB });
    run('qemu-io', '-f', 'qcow2', '-c', 'write -P 5 0 8M', path);
    const fd = openSync(path, 'r+');
    writeSync(fd, Buffer.alloc(4096, 0xff), 0, 4096, 3 * 65_536);
    closeSync(fd);
    await expect(
      convertToFile({ path, format: 'qcow2' }, join(directory, 'out'), {
        format: 'raw',
        capacityBytes: 8 * MIB,
      }),
    ).rejects.toMatchObject({ code: 'program.failed' });
    expect(readdirSync(directory)).toEqual(['broken']);
  });

  it('measures what a guest sees', async () => {
    const directory = scratch();
    for (const format of ['vhd', 'qcow2', 'vdi']) {
      const path = join(directory, format);
      await createOther(path, { format, capacityBytes: 48 * MIB });
      expect(await virtualBytes({ path, format })).toBe(48 * MIB);
    }
  });
});
