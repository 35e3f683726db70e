/** New images with the real qemu-img: what is made natively is what it makes. */
import { lstatSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createImage } from '../../src/storage/images/create.ts';
import { createOther } from '../../src/storage/images/create-other.ts';
import { createQcow2 } from '../../src/storage/images/create-qcow2.ts';
import { createRaw } from '../../src/storage/images/create-raw.ts';
import type { Qcow2Spec } from '../../src/storage/images/qcow2-layout.ts';
import { GIB, MIB } from '../support/image-files.ts';
import { describeWith } from '../support/needs.ts';
import { run, scratch } from '../support/scratch.ts';

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

/** What lies below an image whose chain nobody follows. */
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
