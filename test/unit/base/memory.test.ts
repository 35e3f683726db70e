/** Giving memory back: what counts as program text, and that the program goes on without it. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  programConstantsIn,
  programTextIn,
  releaseProgramPages,
  residentMemory,
  trimFreedMemory,
} from '../../../src/base/ffi.ts';

const maps = `55d4c0a00000-55d4c0b00000 r--p 00000000 fe:01 1234                       /usr/bin/node
55d4c0b00000-55d4c0d00000 r-xp 00100000 fe:01 1234                       /usr/bin/node
55d4c0d00000-55d4c0e00000 rw-p 00300000 fe:01 1234                       /usr/bin/node
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f0000002000-7f0000003000 r-xp 00000000 00:00 0                          [vdso]
7f0000004000-7f0000005000 r-xs 00000000 fe:01 77                         /usr/lib/shared.so
7f0000006000-7f0000008000 r-xp 00001000 fe:01 9                          /usr/lib/a name with blanks.so
`;

const mapping = (line: string, anonymousKiB: number) =>
  `${line}\nSize:               3352 kB\nRss:                3352 kB\nAnonymous:      ${String(anonymousKiB).padStart(8)} kB\nVmFlags: rd mr mw me sd \n`;
const smaps = [
  mapping('00400000-00746000 r--p 00000000 fe:00 5325138                            /opt/node', 0),
  mapping('0074a000-03044000 r-xp 0034a000 fe:00 5325138                            /opt/node', 0),
  mapping('03201000-06b51000 r--p 02e01000 fe:00 5325138                            /opt/node', 0),
  mapping('06b52000-06b56000 r--p 06751000 fe:00 5325138                            /opt/node', 8),
  mapping('06b56000-06b7d000 rw-p 06755000 fe:00 5325138                            /opt/node', 140),
  mapping('7f6f1c000000-7f6f1c021000 r--p 00000000 00:00 0 ', 0),
  mapping('7f6f20a00000-7f6f20b00000 r--p 00000000 fe:00 77                         /lib/libc.so.6', 0),
].join('');

describe('constants of the program', () => {
  it('are what is mapped from its file, can only be read, and was never written to', () => {
    expect(programConstantsIn(smaps, '/opt/node')).toEqual([
      { start: 0x400000, end: 0x746000 },
      { start: 0x3201000, end: 0x6b51000 },
    ]);
    expect(programConstantsIn(smaps, '/lib/other')).toEqual([]);
  });
});

describe('memory of this process', () => {
  it('is counted in bytes, with and without pages of files', () => {
    const { all, own } = residentMemory();
    expect(own).toBeGreaterThan(1024 * 1024);
    expect(all).toBeGreaterThan(own);
    expect(all).toBeLessThan(4 * process.memoryUsage.rss());
  });

  it('that was freed is given back on another thread', async () => {
    await expect(trimFreedMemory()).resolves.toBeUndefined();
  });
});

describe('program text', () => {
  it('is what is mapped from a file, can be run and is never written to', () => {
    expect(programTextIn(maps)).toEqual([
      { start: 0x55d4c0b00000, end: 0x55d4c0d00000 },
      { start: 0x7f0000006000, end: 0x7f0000008000 },
    ]);
  });

  it('is let go of, and comes back as it is needed', () => {
    const before = residentFileKiB();
    releaseProgramPages();
    expect(residentFileKiB()).toBeLessThan(before);
    expect(JSON.parse(JSON.stringify({ still: ['works', /x/.test('x')] }))).toEqual({
      still: ['works', true],
    });
  });
});

function residentFileKiB(): number {
  return Number(/^RssFile:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}
