/** Images with the real qemu-img: what is made natively is what it makes, copies and conversions keep every byte, no litter. */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
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
import { openAs } from '../../src/base/mapped-files.ts';
import { describeOpenImage, type ImageFileDetails } from '../../src/storage/image-header/details.ts';
import { convertToFile } from '../../src/storage/images/convert.ts';
import { copyOver, copyToFile } from '../../src/storage/images/copy.ts';
import { createImage } from '../../src/storage/images/create.ts';
import { createOther } from '../../src/storage/images/create-other.ts';
import { createQcow2 } from '../../src/storage/images/create-qcow2.ts';
import { createRaw } from '../../src/storage/images/create-raw.ts';
import { openImage } from '../../src/storage/images/new-file.ts';
import type { Qcow2Spec } from '../../src/storage/images/qcow2-layout.ts';
import { resizeImage } from '../../src/storage/images/resize.ts';
import { wipeFile } from '../../src/storage/images/wipe.ts';
import { qemuImgTools } from '../../src/storage/qemu-img-tools.ts';
import { describeWith } from '../support/needs.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
    maxBuffer: 64 * MIB,
  });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}${stdout}`);
  return stdout;
}

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-images-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A file system of that many bytes, for as long as the test lasts. */
function smallDisk(bytes: number): string {
  const place = join(scratch(), 'small');
  mkdirSync(place);
  run('mount', '-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', place);
  onTestFinished(() => void spawnSync('umount', ['--lazy', place]));
  return place;
}

async function detailsOf(path: string, format: string): Promise<ImageFileDetails> {
  const handle = await openImage(path, 'read', 'test');
  try {
    return await describeOpenImage(handle, format);
  } finally {
    await handle.close();
  }
}

const virtualBytes = async ({ path, format }: { readonly path: string; readonly format: string }) =>
  (await detailsOf(path, format)).virtualBytes;

const hashOf = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** 24 MiB with data at its beginning, in its middle and at its end, and holes between. */
function patchy(path: string): string {
  const fd = openSync(path, 'w');
  for (const at of [0, 7 * MIB + 4096, 24 * MIB - 65_536]) writeSync(fd, randomBytes(65_536), 0, 65_536, at);
  ftruncateSync(fd, 24 * MIB);
  closeSync(fd);
  return path;
}

/** `qemu-img info` without what differs between any two files. */
function infoOf(path: string): unknown {
  const { 'actual-size': _size, ...rest } = JSON.parse(
    run('qemu-img', 'info', '-U', '--output=json', '-f', 'qcow2', path),
  ) as Record<string, unknown>;
  delete rest['children'];
  return rest;
}

function qemuImgCreate(path: string, spec: Qcow2Spec): void {
  const options = [
    ...(spec.compat === undefined ? [] : [`compat=${spec.compat}`]),
    ...(spec.clusterSizeBytes === undefined ? [] : [`cluster_size=${spec.clusterSizeBytes}`]),
    ...(spec.preallocation === undefined ? [] : [`preallocation=${spec.preallocation}`]),
    ...(spec.lazyRefcounts === true ? ['lazy_refcounts=on'] : []),
    ...(spec.extendedL2 === true ? ['extended_l2=on'] : []),
  ];
  const below = spec.backing ? ['-u', '-b', spec.backing.name, '-F', spec.backing.format] : [];
  const more = options.length > 0 ? ['-o', options.join(',')] : [];
  run('qemu-img', 'create', '-q', '-f', 'qcow2', ...below, ...more, path, String(spec.capacityBytes));
}

const backing = { name: '/nowhere/base.img', format: 'raw' };

const specs: readonly Qcow2Spec[] = [
  { capacityBytes: 0 },
  { capacityBytes: 1000 },
  { capacityBytes: 10 * GIB },
  { capacityBytes: 16 * 1024 * GIB },
  { capacityBytes: GIB, compat: '0.10' },
  { capacityBytes: GIB, compat: '0.10', backing },
  { capacityBytes: GIB, clusterSizeBytes: 512 },
  { capacityBytes: GIB, clusterSizeBytes: 512, backing },
  { capacityBytes: GIB, clusterSizeBytes: 2 * MIB, lazyRefcounts: true },
  { capacityBytes: GIB, extendedL2: true, clusterSizeBytes: 128 * 1024, backing },
  { capacityBytes: 3 * GIB + 512, preallocation: 'metadata' },
  { capacityBytes: 256 * MIB, preallocation: 'metadata', extendedL2: true },
  { capacityBytes: 8 * MIB, preallocation: 'metadata', clusterSizeBytes: 512, compat: '0.10' },
  { capacityBytes: 8 * MIB, preallocation: 'falloc' },
  { capacityBytes: 8 * MIB, preallocation: 'full', lazyRefcounts: true },
];

describeWith(['qemu-img'], 'a qcow2 image that is made without qemu-img', () => {
  it.each(specs.map((spec) => ({ spec, title: JSON.stringify(spec) })))(
    'is sound, and the same as one of qemu-img: $title',
    async ({ spec }) => {
      const directory = scratch();
      const path = join(directory, 'image');
      await createQcow2(path, spec);
      if (spec.backing === undefined) run('qemu-img', 'check', '-q', '-f', 'qcow2', path);
      else checkAlone(path);
      const ours = infoOf(path);
      rmSync(path);
      qemuImgCreate(path, spec);
      expect(ours).toEqual(infoOf(path));
    },
  );

  /** Without opening what is below, which is nowhere. */
  function checkAlone(path: string): void {
    const node = JSON.stringify({ driver: 'qcow2', file: { driver: 'file', filename: path }, backing: null });
    run('qemu-img', 'check', '-q', `json:${node}`);
  }

  it('takes what a guest writes, and stays sound', async () => {
    const directory = scratch();
    for (const spec of [
      { capacityBytes: 64 * MIB },
      { capacityBytes: 64 * MIB, preallocation: 'metadata' as const },
    ]) {
      const path = join(directory, `${spec.preallocation ?? 'off'}.qcow2`);
      await createQcow2(path, spec);
      run('qemu-io', '-f', 'qcow2', '-c', 'write -P 7 1M 3M', '-c', 'write -P 9 63M 1M', path);
      run(
        'qemu-io',
        '-f',
        'qcow2',
        '-c',
        'read -P 7 1M 3M',
        '-c',
        'read -P 0 8M 50M',
        '-c',
        'read -P 9 63M 1M',
        path,
      );
      run('qemu-img', 'check', '-q', '-f', 'qcow2', path);
    }
  });

  it('takes space ahead when that is wanted', async () => {
    const directory = scratch();
    const path = join(directory, 'full');
    await createQcow2(path, { capacityBytes: 32 * MIB, preallocation: 'falloc' });
    expect(statSync(path).blocks * 512).toBeGreaterThanOrEqual(32 * MIB);
  });

  it('is refused when its options do not go together', async () => {
    const path = join(scratch(), 'x');
    for (const spec of [
      { capacityBytes: MIB, clusterSizeBytes: 1000 },
      { capacityBytes: MIB, clusterSizeBytes: 4 * MIB },
      { capacityBytes: MIB, compat: '0.10' as const, lazyRefcounts: true },
      { capacityBytes: MIB, extendedL2: true, clusterSizeBytes: 4096 },
      { capacityBytes: MIB, backing, preallocation: 'metadata' as const },
      { capacityBytes: 1024 * GIB, clusterSizeBytes: 512 },
      { capacityBytes: -1 },
      { capacityBytes: Number.NaN },
      { capacityBytes: MIB, backing: { name: 'x'.repeat(1024), format: 'raw' } },
      { capacityBytes: MIB, clusterSizeBytes: 512, backing: { name: 'x'.repeat(500), format: 'raw' } },
    ])
      await expect(createQcow2(path, spec)).rejects.toMatchObject({ code: 'request.invalid' });
    expect(() => lstatSync(path)).toThrow();
  });
});

describeWith(['qemu-img'], 'a new image', () => {
  it('never takes the place of another file, nor goes where a link leads', async () => {
    const directory = scratch();
    const path = join(directory, 'there');
    writeFileSync(path, 'precious');
    symlinkSync(join(directory, 'elsewhere'), join(directory, 'link'));
    for (const format of ['raw', 'qcow2', 'vdi'] as const) {
      await expect(createImage({ path, format, sizeBytes: MIB })).rejects.toMatchObject({
        code: 'file.exists',
      });
      const link = { path: join(directory, 'link'), format, sizeBytes: MIB };
      await expect(createImage(link)).rejects.toMatchObject({ code: 'file.exists' });
    }
    expect(readFileSync(path, 'utf8')).toBe('precious');
    expect(readdirSync(directory).sort()).toEqual(['link', 'there']);
  });

  it.each(['vmdk', 'vdi', 'vhdx', 'vpc', 'qed', 'qcow'])('can be a %s, by qemu-img', async (format) => {
    const path = join(scratch(), 'odd:name,with=things');
    await createOther(path, { format, capacityBytes: 64 * MIB });
    const info = JSON.parse(run('qemu-img', 'info', '--output=json', '-f', format, `file:${path}`)) as object;
    expect(info).toMatchObject({ format, 'virtual-size': expect.closeTo(64 * MIB, -6) as number });
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('of raw takes as much as was asked for', async () => {
    const directory = scratch();
    const [sparse, part, whole] = ['sparse', 'part', 'whole'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    await createRaw(sparse, { capacityBytes: 64 * MIB });
    await createRaw(part, { capacityBytes: 64 * MIB, allocationBytes: 8 * MIB, nocow: true });
    await createRaw(whole, { capacityBytes: 64 * MIB, allocationBytes: 64 * MIB });
    for (const path of [sparse, part, whole]) expect(statSync(path).size).toBe(64 * MIB);
    expect(statSync(sparse).blocks).toBe(0);
    expect(statSync(part).blocks * 512).toBe(8 * MIB);
    expect(statSync(whole).blocks * 512).toBeGreaterThanOrEqual(64 * MIB);
  });
});

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

describeWith(['qemu-img', 'root'], 'qemu-img run by root', () => {
  it('reads as the owner of the source, and the new image is ours', async () => {
    const directory = scratch();
    const raw = patchy(join(directory, 'raw'));
    chownSync(raw, 12_345, 12_345);
    chmodSync(raw, 0o600);
    const out = join(directory, 'out');
    await convertToFile({ path: raw, format: 'raw' }, out, { format: 'qcow2', capacityBytes: 24 * MIB });
    expect(statSync(out)).toMatchObject({ uid: 0, gid: 0 });
    run('qemu-img', 'compare', '-q', '-f', 'raw', '-F', 'qcow2', raw, out);
    chmodSync(raw, 0o600);
    chownSync(raw, 0, 0);
    const seen = new Set<number>();
    const lent = { path: raw, format: 'raw', isPrivate: true };
    const onProgress = () => void seen.add(statSync(raw).uid);
    await convertToFile(lent, `${out}3`, { format: 'qcow2', capacityBytes: 24 * MIB }, { onProgress });
    // While it ran, a file of which only we know belonged to nobody, and so did the program.
    expect([...seen]).toContain(65_534);
    expect(statSync(raw)).toMatchObject({ uid: 0, gid: 0, mode: 0o100600 });
    expect(statSync(`${out}3`)).toMatchObject({ uid: 0, gid: 0, mode: 0o100600 });
    chmodSync(raw, 0o644);
    await convertToFile({ path: raw, format: 'raw' }, `${out}2`, {
      format: 'qcow2',
      capacityBytes: 24 * MIB,
    });
    expect(statSync(`${out}2`)).toMatchObject({ uid: 0, gid: 0, mode: 0o100600 });
  });
});

/** Whether the file system shows a file as another user's. */
async function canBeMapped(path: string): Promise<boolean> {
  const handle = await open(path, 'r');
  const view = await openAs(handle, 'read', 65_534);
  await Promise.all([handle.close(), view?.close()]);
  return view !== undefined;
}

describeWith(['qemu-img', 'root'], 'qemu-img', () => {
  /** What the kernel tells of the program, while it runs. */
  function lookAtChild(): Record<string, unknown> | undefined {
    for (const task of readdirSync('/proc/self/task'))
      for (const pid of readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' ')) {
        if (pid === '' || !readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('/usr/bin/qemu-img'))
          continue;
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1];
        const limits = readFileSync(`/proc/${pid}/limits`, 'utf8');
        return {
          uid: field('Uid')?.split('\t')[0],
          groups: field('Groups')?.trim(),
          caps: [field('CapPrm'), field('CapEff'), field('CapBnd')],
          noNewPrivs: field('NoNewPrivs'),
          addressSpace: /Max address space\s+(\S+)/.exec(limits)?.[1],
          coreBytes: /Max core file size\s+(\S+)/.exec(limits)?.[1],
          isInOurNetwork: readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net'),
          variables: readFileSync(`/proc/${pid}/environ`, 'utf8')
            .split('\0')
            .flatMap((text) => (text === '' ? [] : [text.slice(0, text.indexOf('='))]))
            .sort(),
        };
      }
    return undefined;
  }

  it('has no rights, no network, and limits', async () => {
    const directory = scratch();
    const raw = join(directory, 'raw');
    writeFileSync(raw, randomBytes(64 * MIB));
    let seen: Record<string, unknown> | undefined;
    const onProgress = () => {
      seen ??= lookAtChild();
    };
    const none = '0000000000000000';
    // Root's own file: nobody's in a mount of its own, where the file system here has that.
    const isMapped = await canBeMapped(raw);
    for (const [isPrivate, uid] of [
      [false, isMapped ? '65534' : '0'],
      [true, '65534'],
    ] as const) {
      seen = undefined;
      chmodSync(raw, 0o600);
      const spec = { format: 'qcow2', capacityBytes: 64 * MIB, compressed: true };
      await convertToFile(
        { path: raw, format: 'raw', isPrivate },
        join(directory, `out-${isPrivate}`),
        spec,
        {
          onProgress,
        },
      );
      expect(seen).toEqual({
        uid,
        groups: '',
        caps: [none, none, none],
        noNewPrivs: '1',
        addressSpace: String(2 * GIB),
        coreBytes: '0',
        isInOurNetwork: false,
        variables: ['LC_ALL', 'PATH'],
      });
    }
  });
});

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
