/** File calls by FFI: errors keep their names, also when many calls run at once on other threads. */
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { errnoOf } from '../../src/base/errors.ts';
import { copyFileRange, fallocate, seekData, seekHole } from '../../src/base/ffi/ranges.ts';

const MIB = 1024 * 1024;

function scratchFile(name = 'file'): number {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-ffi-'));
  const fd = openSync(join(directory, name), 'w+');
  onTestFinished(() => {
    closeSync(fd);
    rmSync(directory, { recursive: true, force: true });
  });
  return fd;
}

describe('file calls', () => {
  it('find data and holes', () => {
    const fd = scratchFile();
    writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, MIB);
    ftruncateSync(fd, 4 * MIB);
    expect([seekData(fd, 0), seekHole(fd, MIB), seekData(fd, 2 * MIB)]).toEqual([MIB, MIB + 4096, undefined]);
    expect(() => seekData(-1, 0)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });

  it('tell each its own error, fifty at once', async () => {
    const fd = scratchFile();
    const wanted = Array.from({ length: 50 }, (_, i) => ['EBADF', 'EINVAL', 'none'][i % 3]);
    const calls = wanted.map((name) =>
      fallocate(name === 'EBADF' ? -1 : fd, 'allocate', 0, name === 'EINVAL' ? -1 : 4096).then(
        () => 'none',
        (error: unknown) => errnoOf(error),
      ),
    );
    expect(await Promise.all(calls)).toEqual(wanted);
  });

  it('copy, take, and give back ranges', async () => {
    const [from, to] = [scratchFile(), scratchFile()];
    writeSync(from, Buffer.alloc(MIB, 7));
    expect(await copyFileRange(from, to, 4096, 8192)).toBe(8192);
    expect(await copyFileRange(from, to, MIB, 4096)).toBe(0);
    const bytes = Buffer.alloc(16_384);
    expect(readSync(to, bytes, 0, bytes.length, 0)).toBe(4096 + 8192);
    expect(bytes.subarray(4096, 12_288).equals(Buffer.alloc(8192, 7))).toBe(true);
    await fallocate(to, 'allocateKeepSize', 0, MIB);
    const path = `/proc/self/fd/${to}`;
    expect(statSync(path)).toMatchObject({ size: 12_288, blocks: MIB / 512 });
    // What was taken behind the end of the file cannot be given back by punching (ext4).
    ftruncateSync(to, MIB);
    await fallocate(to, 'punch', 0, MIB);
    expect(statSync(path)).toMatchObject({ size: MIB, blocks: 0 });
  });
});
