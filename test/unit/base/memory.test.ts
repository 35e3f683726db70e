/** Giving memory back: what counts as program text, and that the program goes on without it. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { programTextIn, releaseProgramText } from '../../../src/base/ffi.ts';

const maps = `55d4c0a00000-55d4c0b00000 r--p 00000000 fe:01 1234                       /usr/bin/node
55d4c0b00000-55d4c0d00000 r-xp 00100000 fe:01 1234                       /usr/bin/node
55d4c0d00000-55d4c0e00000 rw-p 00300000 fe:01 1234                       /usr/bin/node
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f0000002000-7f0000003000 r-xp 00000000 00:00 0                          [vdso]
7f0000004000-7f0000005000 r-xs 00000000 fe:01 77                         /usr/lib/shared.so
7f0000006000-7f0000008000 r-xp 00001000 fe:01 9                          /usr/lib/a name with blanks.so
`;

describe('program text', () => {
  it('is what is mapped from a file, can be run and is never written to', () => {
    expect(programTextIn(maps)).toEqual([
      { start: 0x55d4c0b00000, end: 0x55d4c0d00000 },
      { start: 0x7f0000006000, end: 0x7f0000008000 },
    ]);
  });

  it('is let go of, and comes back as it is needed', () => {
    const before = residentFileKiB();
    releaseProgramText();
    expect(residentFileKiB()).toBeLessThan(before);
    expect(JSON.parse(JSON.stringify({ still: ['works', /x/.test('x')] }))).toEqual({
      still: ['works', true],
    });
  });
});

function residentFileKiB(): number {
  return Number(/^RssFile:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}
