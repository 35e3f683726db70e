/** Of which format a volume is: what counts, and what a guest that writes its disk cannot change (docs/security.md, class J). */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { absoluteName, formatAtFirstSight } from '../../../src/storage/directory/first-sight.ts';
import { imageFacts } from '../../../src/storage/directory/image-facts.ts';
import { FormatRecord } from '../../../src/storage/formats.ts';
import { qcow2 } from '../../support/qcow2-header.ts';

const sight = (start: Buffer, inside: readonly string[] = []) =>
  formatAtFirstSight({ start, fileBytes: start.length, directory: '/pool' }, (path) => inside.includes(path));

describe('at the first sight', () => {
  it('a file is what its signature says, and raw without one', () => {
    expect(sight(qcow2())).toEqual({ format: 'qcow2' });
    expect(sight(Buffer.alloc(4096))).toEqual({ format: 'raw' });
    expect(sight(Buffer.alloc(0))).toEqual({ format: 'raw' });
    const iso = Buffer.alloc(40_000);
    iso.write('CD001', 32_769);
    expect(sight(iso)).toEqual({ format: 'iso' });
  });

  it('one that names a file outside of the pools counts as raw, and says why', () => {
    for (const backing of [
      '/etc/shadow',
      'json:{"driver":"nbd"}',
      'nbd://host/x',
      '../up.img',
      'sub/../../x',
    ]) {
      const seen = sight(qcow2({ backing }));
      expect(seen.format).toBe('raw');
      expect(seen.problem).toContain('which is in no active pool');
    }
    expect(sight(qcow2({ backing: 'base.img' }), ['/pool/base.img'])).toEqual({ format: 'qcow2' });
    expect(sight(qcow2({ backing: '/other/base.img' }), ['/other/base.img'])).toEqual({ format: 'qcow2' });
  });

  it('one whose data is elsewhere, or whose header is broken, counts as raw', () => {
    expect(sight(qcow2({ features: 4n })).format).toBe('raw');
    expect(sight(qcow2().subarray(0, 60)).format).toBe('raw');
    expect(
      sight(Buffer.from('# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/shadow" 0'))
        .format,
    ).toBe('raw');
  });

  it('names are read as QEMU reads them', () => {
    expect(absoluteName('a.img', '/p')).toBe('/p/a.img');
    expect(absoluteName('./a.img', '/p')).toBe('/p/a.img');
    expect(absoluteName('/x/a:b', '/p')).toBe('/x/a:b');
    expect(absoluteName('fat:x', '/p')).toBeUndefined();
    expect(absoluteName('/x/../y', '/p')).toBeUndefined();
  });
});

describe('headers', () => {
  it('tell size and options of qcow2', () => {
    expect(imageFacts(qcow2({ sizeBytes: 12_345 * 512, features: 0x10n }), 'qcow2', 999)).toEqual({
      format: 'qcow2',
      capacityBytes: 12_345 * 512,
      compat: '1.1',
      clusterSizeBytes: 65_536,
      extendedL2: true,
    });
  });

  it('that are broken are a problem, not an end', () => {
    for (let length = 0; length < 500; length += 7) {
      const facts = imageFacts(qcow2({ backing: 'x'.repeat(300) }).subarray(0, length), 'qcow2', length);
      expect(facts.capacityBytes).toBeGreaterThanOrEqual(0);
      expect(facts.problem).toBeDefined();
    }
  });

  it("tell the format below in our words, and none for a word that is no format, also one of JavaScript's own", () => {
    const formatBelow = (word: string) => {
      const start = qcow2({ backing: 'base' });
      start.writeUInt32BE(0xe2792aca, 104); // the header extension "backing file format name"
      start.writeUInt32BE(word.length, 108);
      start.write(word, 112);
      return imageFacts(start, 'qcow2', start.length).backing;
    };
    expect(formatBelow('vhdx')).toEqual({ path: 'base', format: 'vhd' });
    for (const word of ['parallels', 'constructor', 'toString', '__proto__'])
      expect(formatBelow(word)).toEqual({ path: 'base' });
  });

  it('are not looked for in raw', () => {
    expect(imageFacts(qcow2({ backing: '/etc/shadow' }), 'raw', 7)).toEqual({
      format: 'raw',
      capacityBytes: 7,
    });
  });
});

describe('the record of a place', () => {
  const load = (directory: string, place = 'dir:/p') => FormatRecord.load(directory, place, silentLogger);
  const scratch = () => {
    const directory = mkdtempSync(join(tmpdir(), 'vireo-formats-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    return directory;
  };

  it('is there again after a restart, for this place only', async () => {
    const directory = scratch();
    const record = await load(directory);
    record.remember('a', '1:1', 'qcow2', 'created');
    await record.save();
    expect((await load(directory)).known('a', '1:1')).toBe('qcow2');
    expect((await load(directory, 'dir:/other')).known('a', '1:1')).toBeUndefined();
  });

  it('knows a file again under another name', async () => {
    const record = await load(scratch());
    record.remember('evil.img', '7:1', 'raw', 'seen');
    expect(record.known('disk.qcow2', '7:1')).toBe('raw');
  });

  it('keeps raw for whatever gets the name of a disk that we made, and judges others anew', async () => {
    const record = await load(scratch());
    record.remember('made', '1:1', 'raw', 'created');
    record.remember('used', '2:1', 'raw', 'declared');
    record.remember('put', '3:1', 'raw', 'seen');
    record.remember('image', '4:1', 'qcow2', 'created');
    expect(['made', 'used', 'put', 'image'].map((name) => record.known(name, '9:9'))).toEqual([
      'raw',
      'raw',
      // The same identity stands for the same file from now on.
      'raw',
      'raw',
    ]);
    const other = await load(scratch());
    other.remember('put', '3:1', 'raw', 'seen');
    other.remember('image', '4:1', 'qcow2', 'created');
    expect([other.known('put', '8:8'), other.known('image', '8:9')]).toEqual([undefined, undefined]);
  });

  it('starts anew where its file is broken', async () => {
    const directory = scratch();
    const record = await load(directory);
    record.remember('a', '1:1', 'qcow2', 'created');
    await record.save();
    const [file = ''] = readdirSync(directory);
    writeFileSync(join(directory, file), '{"format":1,"place":"dir:/p","volumes":{"a":{"format":"evil"}}}');
    expect((await load(directory)).known('a', '1:1')).toBeUndefined();
  });
});
