/** The layout of new qcow2 images: read back by our own reader, every cluster in its place. */
import { describe, expect, it } from 'vitest';
import { describeImage } from '../../../src/storage/image-header/details.ts';
import { encodeHeader, layoutQcow2, type Qcow2Spec } from '../../../src/storage/images/qcow2-layout.ts';

const GIB = 1024 ** 3;

async function readBack(spec: Qcow2Spec) {
  const header = encodeHeader(spec, layoutQcow2(spec));
  const bytes = Buffer.concat([header, Buffer.alloc(4096)]);
  const read = (offset: number, length: number) => Promise.resolve(bytes.subarray(offset, offset + length));
  return describeImage({ lengthBytes: bytes.length, read }, 'qcow2');
}

describe('a new qcow2 header', () => {
  it('says what was wanted', async () => {
    const backing = { name: '/pool/ä base.img', format: 'raw' };
    expect(await readBack({ capacityBytes: GIB, backing, extendedL2: true, lazyRefcounts: true })).toEqual({
      virtualBytes: GIB,
      compat: '1.1',
      clusterBytes: 65_536,
      backing,
      snapshots: 0,
      compression: 'zlib',
      features: ['extended-l2', 'lazy-refcounts'],
      refcountBits: 16,
    });
    expect(await readBack({ capacityBytes: 1, compat: '0.10', clusterSizeBytes: 512 })).toMatchObject({
      virtualBytes: 512,
      compat: '0.10',
      clusterBytes: 512,
    });
  });

  it('lies in front of tables that touch and do not overlap', () => {
    const specs: Qcow2Spec[] = [
      { capacityBytes: 0 },
      { capacityBytes: 100 * GIB },
      { capacityBytes: 20 * GIB, clusterSizeBytes: 512 },
      { capacityBytes: 20 * GIB, preallocation: 'metadata' },
      { capacityBytes: 2000 * GIB, preallocation: 'metadata', extendedL2: true },
    ];
    for (const spec of specs) {
      const layout = layoutQcow2(spec);
      const { clusterBytes, refcountTable, refcountBlocks, l1, l2, data, fileBytes } = layout;
      let next = clusterBytes;
      for (const region of [refcountTable, refcountBlocks, l1, l2, data]) {
        expect(region.offset).toBe(next);
        next += region.clusters * clusterBytes;
      }
      expect(fileBytes).toBe(next);
      // One refcount of 16 bits for each cluster, and one entry for each block of them.
      expect((refcountBlocks.clusters * clusterBytes) / 2).toBeGreaterThanOrEqual(fileBytes / clusterBytes);
      expect((refcountTable.clusters * clusterBytes) / 8).toBeGreaterThanOrEqual(refcountBlocks.clusters);
      expect(layout.l1Entries * layout.l2Entries * clusterBytes).toBeGreaterThanOrEqual(spec.capacityBytes);
    }
  });
});
