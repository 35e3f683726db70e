/** What a stored definition says of the images below a disk: no more than a start would not read from headers. */
import { describe, expect, it } from 'vitest';
import type { BackingStore, Disk } from '../../../src/model/domain/devices/disk.ts';
import type { DiskSource } from '../../../src/model/domain/devices/source.ts';
import { storedBelow } from '../../../src/model/domain/disk-chain.ts';
import { withOverlay } from '../../../src/model/snapshot/overlay.ts';

const file = (path: string, index?: number): Exclude<DiskSource, { type: 'vhostuser' }> => ({
  type: 'file',
  file: path,
  slices: [],
  seclabels: [],
  ...(index !== undefined && { index }),
});
const store = (path: string, index: number, below: BackingStore | null): BackingStore => ({
  index,
  format: { type: 'qcow2' },
  source: file(path),
  backingStore: below,
});
const disk = (path: string, below?: BackingStore | null): Disk => ({
  source: file(path, 1),
  device: 'disk',
  driver: { name: 'qemu', type: 'qcow2' },
  target: { dev: 'vda' },
  ...(below !== undefined && { backingStore: below }),
});

describe('a disk whose whole chain is known', () => {
  it('says nothing of images that lie beside each other', () => {
    expect(storedBelow(disk('/a/top', store('/a/base', 2, null)))).toBeUndefined();
    expect(storedBelow(disk('/a/top', null))).toBeUndefined();
  });

  it('says all of a chain that leads into another directory, without the numbers of a run', () => {
    expect(storedBelow(disk('/a/top', store('/a/middle', 2, store('/b/base', 3, null))))).toEqual({
      format: { type: 'qcow2' },
      source: file('/a/middle'),
      backingStore: { format: { type: 'qcow2' }, source: file('/b/base'), backingStore: null },
    });
  });
});

describe('a stored disk with a new image on top', () => {
  it('names what is below when that is in another directory, or was named before', () => {
    const below = { format: { type: 'qcow2' }, source: file('/a/base') };
    expect(withOverlay(disk('/a/base'), { file: '/b/top', format: 'qcow2' })).toMatchObject({
      source: file('/b/top'),
      backingStore: below,
    });
    expect(withOverlay(disk('/a/base'), { file: '/a/top', format: 'qcow2' })).not.toHaveProperty(
      'backingStore',
    );
    const chain = withOverlay(disk('/a/base', store('/c/low', 2, null)), { file: '/a/top', format: 'qcow2' });
    expect(chain.backingStore).toMatchObject({ ...below, backingStore: { source: file('/c/low') } });
  });
});
