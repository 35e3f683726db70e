/** What headers say, compared with what qemu-img says; and what becomes of the reader when headers lie. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { isVirtError } from '../../src/base/errors.ts';
import { describeImage } from '../../src/storage/image-header/details.ts';
import type { ImageBytes } from '../../src/storage/image-header/window.ts';
import { buildSeedIso } from '../../src/storage/seed-iso/nocloud.ts';
import { detailsOf } from '../support/image-files.ts';
import { describeWith } from '../support/needs.ts';
import { random } from '../support/random.ts';
import { run, scratch } from '../support/scratch.ts';

const MIB = 1024 * 1024;

interface Case {
  readonly title: string;
  readonly format: string;
  /** QEMU's word, where it is another one. */
  readonly driver?: string;
  readonly options?: string;
  readonly expected: object;
}

const cases: readonly Case[] = [
  { title: 'raw', format: 'raw', expected: {} },
  {
    title: 'qcow2',
    format: 'qcow2',
    expected: { compat: '1.1', clusterBytes: 65_536, compression: 'zlib', snapshots: 0 },
  },
  { title: 'qcow2 of old', format: 'qcow2', options: 'compat=0.10', expected: { compat: '0.10' } },
  {
    title: 'qcow2 with everything',
    format: 'qcow2',
    options: 'cluster_size=128k,extended_l2=on,lazy_refcounts=on,compression_type=zstd',
    expected: {
      clusterBytes: 131_072,
      compression: 'zstd',
      features: ['compression-type', 'extended-l2', 'lazy-refcounts'],
    },
  },
  { title: 'qcow', format: 'qcow', expected: { clusterBytes: 4096 } },
  { title: 'qed', format: 'qed', expected: { clusterBytes: 65_536 } },
  { title: 'vmdk', format: 'vmdk', expected: { kind: 'monolithicSparse', clusterBytes: 65_536 } },
  {
    title: 'a VMDK for streams',
    format: 'vmdk',
    options: 'subformat=streamOptimized',
    expected: { kind: 'streamOptimized' },
  },
  {
    title: 'a flat VMDK',
    format: 'vmdk',
    options: 'subformat=monolithicFlat',
    expected: {
      kind: 'monolithicFlat',
      extents: [{ name: 'image-flat.vmdk', kind: 'FLAT', sizeBytes: 64 * MIB }],
    },
  },
  { title: 'vdi', format: 'vdi', expected: { kind: 'dynamic', clusterBytes: MIB } },
  { title: 'a fixed VDI', format: 'vdi', options: 'static=on', expected: { kind: 'fixed' } },
  { title: 'vhdx', format: 'vhd', driver: 'vhdx', expected: { kind: 'dynamic' } },
  {
    title: 'a fixed VHDX',
    format: 'vhd',
    driver: 'vhdx',
    options: 'subformat=fixed',
    expected: { kind: 'fixed' },
  },
  { title: 'vhd', format: 'vpc', options: 'force_size=on', expected: { kind: 'dynamic' } },
  {
    title: 'a fixed VHD',
    format: 'vpc',
    options: 'force_size=on,subformat=fixed',
    expected: { kind: 'fixed' },
  },
];

function create(path: string, driver: string, options: string | undefined): void {
  const more = options === undefined ? [] : ['-o', options];
  run('qemu-img', 'create', '-q', '-f', driver, ...more, path, '64M');
}

describeWith(['qemu-img'], 'the header', () => {
  it.each(cases)(
    'of $title says what qemu-img says',
    async ({ format, driver = format, options, expected }) => {
      const path = join(scratch(), 'image.vmdk');
      create(path, driver, options);
      const info = JSON.parse(run('qemu-img', 'info', '--output=json', '-f', driver, path)) as Record<
        string,
        unknown
      >;
      const details = await detailsOf(path, format);
      expect(details).toMatchObject({ ...expected, virtualBytes: info['virtual-size'] });
      expect(details.allocatedBytes).toBeLessThan(65 * MIB);
    },
  );

  it('of a qcow2 tells snapshots, bitmaps, encryption, and other files', async () => {
    const directory = scratch();
    const path = join(directory, 'q');
    run('qemu-img', 'create', '-q', '-f', 'qcow2', path, '8M');
    run('qemu-img', 'snapshot', '-c', 'one', path);
    run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', path, 'b0');
    run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', path, 'b1');
    expect(await detailsOf(path, 'qcow2')).toMatchObject({ snapshots: 1, bitmaps: 2, features: ['bitmaps'] });
    const top = join(directory, 'top');
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', path, '-F', 'qcow2', top);
    expect(await detailsOf(top, 'qcow2')).toMatchObject({ backing: { name: path, format: 'qcow2' } });
    const external = join(directory, 'external');
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `data_file=${directory}/data`, external, '8M');
    expect(await detailsOf(external, 'qcow2')).toMatchObject({ dataFile: `${directory}/data` });
    // AES needs no measuring of the CPU's speed, which fails on a busy machine.
    const secret = join(directory, 'secret');
    const options = 'encrypt.format=aes,encrypt.key-secret=s';
    run(
      'qemu-img',
      'create',
      '-q',
      '--object',
      'secret,id=s,data=geheim',
      '-f',
      'qcow2',
      '-o',
      options,
      secret,
      '8M',
    );
    expect(await detailsOf(secret, 'qcow2')).toMatchObject({ encryption: { method: 'aes' } });
  });
});

describeWith(['xorriso'], 'the header of an ISO image', () => {
  it('tells the label, and what it boots on', async () => {
    const directory = scratch();
    const [plain, bootable] = [join(directory, 'plain'), join(directory, 'bootable')];
    writeFileSync(plain, buildSeedIso({ instanceId: 'i' }, new Date(0)));
    expect(await detailsOf(plain, 'iso')).toMatchObject({ label: 'cidata', bootsOn: [] });
    writeFileSync(join(directory, 'boot.img'), Buffer.alloc(4096, 1));
    const boot = ['-b', 'boot.img', '-no-emul-boot', '-eltorito-alt-boot', '-e', 'boot.img', '-no-emul-boot'];
    run(
      'xorriso',
      '-as',
      'mkisofs',
      '-quiet',
      '-J',
      '-V',
      'Install 13',
      ...boot,
      '-o',
      bootable,
      join(directory, 'boot.img'),
    );
    expect(await detailsOf(bootable, 'iso')).toMatchObject({ label: 'Install 13', bootsOn: ['bios', 'efi'] });
    writeFileSync(join(directory, 'cut'), readFileSync(bootable).subarray(0, 100_000));
    expect(await detailsOf(join(directory, 'cut'), 'iso')).toMatchObject({ isTruncated: true });
  });
});

describeWith(['qemu-img'], 'hostile headers', () => {
  it.each(cases.filter(({ format }) => format !== 'raw'))(
    'of $title end in an error that says so, or in numbers',
    async ({ format, driver = format, options }) => {
      const path = join(scratch(), 'image.vmdk');
      create(path, driver, options);
      const whole = readFileSync(path);
      const chance = random(whole.length + format.length);
      let reads = 0;
      const look = async (bytes: Buffer): Promise<void> => {
        const image: ImageBytes = {
          lengthBytes: bytes.length,
          read(offset, length) {
            reads += length;
            return Promise.resolve(bytes.subarray(offset, offset + length));
          },
        };
        reads = 0;
        try {
          const details = await describeImage(image, format);
          expect(Number.isSafeInteger(details.virtualBytes)).toBe(true);
        } catch (error) {
          if (!isVirtError(error, 'definition.unsupported')) throw error;
        }
        expect(reads).toBeLessThanOrEqual(4 * MIB);
      };
      for (let round = 0; round < 300; round += 1) {
        const start = Buffer.from(whole.subarray(0, Math.min(whole.length, 3 * MIB)));
        // Most fields lie in the first KiB; those of VHDX lie at 192 KiB and behind 1 MiB.
        const areas = [1024, 1024, 200 * 1024, start.length];
        for (let i = 0; i < 1 + Math.floor(chance() * 8); i += 1) {
          const area = areas[Math.floor(chance() * areas.length)] ?? 1024;
          const at = Math.floor(chance() * Math.min(area, start.length));
          start[at] = [0, 0xff, 0x7f, Math.floor(chance() * 256)][Math.floor(chance() * 4)] ?? 0;
        }
        await look(start);
      }
      for (const length of [
        0, 1, 7, 8, 63, 64, 71, 72, 103, 104, 111, 300, 511, 512, 513, 4096, 65_535, 65_536, 200_000,
      ])
        await look(whole.subarray(0, length));
    },
  );
});
