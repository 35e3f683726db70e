/** Merging of pages, pools of huge pages and sleep, on a tree of files that stands for a host. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type HostFiles, hostFiles } from '../../../src/kvm/host-files.ts';
import { type HostWriter, hostWriter } from '../../../src/kvm/host-writer.ts';
import { setPagePool } from '../../../src/kvm/page-pools.ts';
import { readPageSharing, setPageSharing } from '../../../src/kvm/page-sharing.ts';
import { HostSuspension, readSleepStates } from '../../../src/kvm/suspend.ts';

let root: string;
let host: { readonly files: HostFiles; readonly write: HostWriter };

function put(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}
/** What was written lies at the beginning of the file: sysfs keeps no rest. */
const start = (path: string, length: number) => readFileSync(join(root, path), 'utf8').slice(0, length);

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vireo-host-'));
  host = { files: hostFiles(root), write: hostWriter(root) };
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('merging of equal pages', () => {
  it('is told as the kernel tells it, and changed in what can be', () => {
    put('sys/kernel/mm/ksm/pages_to_scan', '100\n');
    put('sys/kernel/mm/ksm/full_scans', '7\n');
    expect(readPageSharing(host.files)).toEqual(
      new Map([
        ['pages_to_scan', 100],
        ['full_scans', 7],
      ]),
    );
    setPageSharing(host, new Map([['pages_to_scan', 250]]));
    expect(start('sys/kernel/mm/ksm/pages_to_scan', 3)).toBe('250');
  });

  it('changes nothing where the kernel lacks one of the fields', () => {
    put('sys/kernel/mm/ksm/pages_to_scan', '100\n');
    const wish = new Map([['pages_to_scan', 1] as const, ['merge_across_nodes', 1] as const]);
    expect(() => setPageSharing(host, wish)).toThrow("this kernel has no 'merge_across_nodes'");
    expect(readPageSharing(host.files).get('pages_to_scan')).toBe(100);
  });
});

describe('pools of huge pages', () => {
  const pool = 'sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages';

  it('get so many pages, or so many more', () => {
    put(pool, '4');
    setPagePool(host, { cell: 1, sizeKiB: 2048, count: 3, isMore: true });
    expect(readFileSync(join(root, pool), 'utf8')).toBe('7');
    setPagePool(host, { cell: 1, sizeKiB: 2048, count: 2, isMore: false });
    expect(readFileSync(join(root, pool), 'utf8')).toBe('2');
    expect(() => setPagePool(host, { cell: 0, sizeKiB: 2048, count: 2, isMore: false })).toThrow(
      'no such cell',
    );
  });

  it('say how far a kernel without enough memory came', () => {
    put(pool, '4');
    const write: HostWriter = () => put(pool, '6');
    expect(() =>
      setPagePool({ ...host, write }, { cell: 1, sizeKiB: 2048, count: 9, isMore: false }),
    ).toThrow('unable to allocate 9 pages, allocated only 6');
  });
});

describe('sleep of the host', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    put('sys/power/state', 'freeze mem disk');
    put('sys/power/disk', '[platform] shutdown suspend');
    put('sys/class/rtc/rtc0/wakealarm', '');
  });
  afterEach(() => vi.useRealTimers());

  it('comes after some seconds, with the alarm set first, and once at a time', () => {
    const written: string[] = [];
    const suspension = new HostSuspension({
      files: host.files,
      write: (path, text) => void written.push(`${path} ${text}`),
    });
    const failures: unknown[] = [];
    suspension.suspend('hybrid', 90, (error) => failures.push(error));
    expect(written).toEqual(['/sys/class/rtc/rtc0/wakealarm 0', '/sys/class/rtc/rtc0/wakealarm +90']);
    expect(() => suspension.suspend('memory', 90, () => undefined)).toThrow('under way already');
    vi.advanceTimersByTime(10_000);
    expect(written.slice(2)).toEqual(['/sys/power/disk suspend', '/sys/power/state disk']);
    expect(failures).toEqual([]);
    suspension.suspend('memory', 60, (error) => failures.push(error));
    vi.advanceTimersByTime(10_000);
    expect(written.at(-1)).toBe('/sys/power/state mem');
  });

  it('is refused for less than a minute, and where the kernel has no such state', () => {
    const suspension = new HostSuspension({ ...host });
    expect(() => suspension.suspend('memory', 59, () => undefined)).toThrow('at least 60 seconds');
    put('sys/power/state', 'freeze');
    expect(readSleepStates(host.files)).toEqual({ memory: false, disk: false, hybrid: false });
    expect(() => suspension.suspend('memory', 60, () => undefined)).toThrow('cannot sleep so');
  });

  it('tells of a kernel that does not go to sleep after all', () => {
    const failures: unknown[] = [];
    const suspension = new HostSuspension({
      files: host.files,
      write: (path) => {
        if (path.endsWith('state')) throw new Error('a device is busy');
      },
    });
    suspension.suspend('disk', 60, (error) => failures.push(error));
    vi.advanceTimersByTime(10_000);
    expect(failures).toEqual([new Error('a device is busy')]);
  });
});
