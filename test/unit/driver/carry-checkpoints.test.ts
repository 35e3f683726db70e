/** What a disk that switches to another image does with its checkpoints; and the directory of bitmaps in an image. */
import { describe, expect, it } from 'vitest';
import type { Bitmap } from '../../../src/drivers/qemu/backups/bitmaps.ts';
import { carrying } from '../../../src/drivers/qemu/backups/carry.ts';
import { namesIn } from '../../../src/storage/images/bitmaps.ts';

const bitmap = (name: string, more: Partial<Bitmap> = {}): Bitmap => ({
  ...{ name, count: 0, granularity: 65_536, recording: true, busy: false, persistent: true },
  ...more,
});
const merge = (node: string, name: string, from: string[]) => ({
  type: 'block-dirty-bitmap-merge',
  data: { node, target: name, bitmaps: from.map((one) => ({ node: one, name })) },
});
const add = (node: string, name: string) => ({
  type: 'block-dirty-bitmap-add',
  data: { node, name, persistent: true, disabled: false, granularity: 65_536 },
});

describe('checkpoints of a disk that switches', () => {
  it('a copy gets what all images of the chain know', () => {
    const bitmaps = new Map([
      ['top', [bitmap('c')]],
      ['base', [bitmap('c')]],
    ]);
    expect(carrying({ nodes: ['top', 'base'], target: 'copy' }, 'c', bitmaps)).toEqual([
      add('copy', 'c'),
      merge('copy', 'c', ['top', 'base']),
    ]);
  });

  it('what an earlier try left in the copy goes first', () => {
    const bitmaps = new Map([
      ['top', [bitmap('c')]],
      ['copy', [bitmap('c')]],
    ]);
    expect(carrying({ nodes: ['top'], target: 'copy' }, 'c', bitmaps)[0]).toEqual({
      type: 'block-dirty-bitmap-remove',
      data: { node: 'copy', name: 'c' },
    });
  });

  it('an image that is merged into keeps its own, and gets those that it lacks', () => {
    const bitmaps = new Map([
      ['top', [bitmap('old'), bitmap('new')]],
      ['base', [bitmap('old')]],
    ]);
    const switching = { nodes: ['top', 'base'], target: 'base' };
    expect(carrying(switching, 'old', bitmaps)).toEqual([merge('base', 'old', ['top'])]);
    expect(carrying(switching, 'new', bitmaps)).toEqual([add('base', 'new'), merge('base', 'new', ['top'])]);
  });

  it('one that does not know all is not carried', () => {
    const broken = new Map([['top', [bitmap('c', { inconsistent: true })]]]);
    expect(carrying({ nodes: ['top'], target: 'copy' }, 'c', broken)).toEqual([]);
    const gap = new Map([
      ['top', [bitmap('c')]],
      ['base', [bitmap('c')]],
    ]);
    expect(carrying({ nodes: ['top', 'middle', 'base'], target: 'copy' }, 'c', gap)).toEqual([]);
  });
});

describe('the directory of bitmaps', () => {
  /** QEMU docs/interop/qcow2, "Bitmap directory". */
  const entry = (name: string, extra = 0) => {
    const bytes = Buffer.alloc(Math.ceil((24 + extra + name.length) / 8) * 8);
    bytes.writeUInt16BE(name.length, 18);
    bytes.writeUInt32BE(extra, 20);
    bytes.write(name, 24 + extra);
    return bytes;
  };

  it('has their names, also behind extra data', () => {
    expect(namesIn(Buffer.concat([entry('one'), entry('the second', 12)]), 2)).toEqual(['one', 'the second']);
  });

  it('that ends too early is told', () => {
    expect(() => namesIn(entry('one'), 2)).toThrow(/directory of bitmaps ends too early/);
    expect(() => namesIn(entry('a long name').subarray(0, 30), 1)).toThrow(/ends too early/);
  });
});
