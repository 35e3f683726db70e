/** What clients have handed over for disks: whose it is, how long, and how much. */
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { close, pipe } from '../../../src/base/ffi.ts';
import type { Domain } from '../../../src/daemon/services/domain.ts';
import { MAX_PER_OWNER, PassedFiles } from '../../../src/daemon/services/passed-files.ts';

const uuid = '11111111-2222-4333-8444-000000000001';
const domainNamed = (name: string) => ({ uuid, name }) as Domain;

function rig() {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-pf-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  let next = 1;
  let current: Domain | undefined = domainNamed('a');
  const files = new PassedFiles(() => current);
  const owner = {};
  onTestFinished(() => files.release(owner));
  return {
    files,
    owner,
    domain: current,
    replace: (domain: Domain | undefined) => {
      current = domain;
    },
    // A file each, so that one can be told from another.
    open: (flags: string) => {
      const path = join(directory, `image${next++}`);
      writeFileSync(path, 'bytes');
      return openSync(path, flags);
    },
    give: (name: string, fds: readonly number[], of: object = owner) =>
      files.associate(domainOf(), { owner: of, name, fds, isWritable: false }),
  };
  function domainOf(): Domain {
    if (current === undefined) throw new Error('there is no domain');
    return current;
  }
}

/** Tells whether the number still stands for the same file: another may have got it meanwhile. */
function watch(fd: number): () => boolean {
  const { dev, ino } = fstatSync(fd);
  return () => {
    try {
      const now = fstatSync(fd);
      return now.dev === dev && now.ino === ino;
    } catch {
      return false;
    }
  };
}

describe('descriptors that clients hand over', () => {
  it('are told apart by how they were opened, and given out as copies', () => {
    const { files, give, open } = rig();
    const fds = [open('r+'), open('r')];
    const kept = fds.map(watch);
    give('disk', fds);
    const group = files.take(uuid, 'disk');
    expect(group?.files.map(({ access, isDevice }) => ({ access, isDevice }))).toEqual([
      { access: 'rw', isDevice: false },
      { access: 'ro', isDevice: false },
    ]);
    for (const { fd } of group?.files ?? []) {
      expect(fds).not.toContain(fd);
      closeSync(fd);
    }
    expect(kept.every((isThere) => isThere())).toBe(true);
    expect(files.take(uuid, 'other')).toBeUndefined();
  });

  it('go with the client that brought them, and with those that come in their place', () => {
    const { files, owner, give, open } = rig();
    const [first, second, others] = [open('r'), open('r'), open('r')];
    const [isFirst, isSecond, isOthers] = [watch(first), watch(second), watch(others)];
    const other = {};
    give('disk', [first]);
    give('disk', [second]);
    give('else', [others], other);
    expect(files.count).toBe(2);
    expect(isFirst()).toBe(false);
    files.release(owner);
    expect({ second: isSecond(), others: isOthers(), count: files.count }).toEqual({
      second: false,
      others: true,
      count: 1,
    });
    files.release(other);
    expect(files.count).toBe(0);
  });

  it('are not for another domain that has got the uuid', () => {
    const { files, give, open, replace } = rig();
    give('disk', [open('r')]);
    replace(domainNamed('another'));
    expect(files.take(uuid, 'disk')).toBeUndefined();
    replace(undefined);
    expect(files.take(uuid, 'disk')).toBeUndefined();
  });

  it('are refused, and closed, when they can be no disk', () => {
    const { files, give, open } = rig();
    const writeOnly = open('a');
    const isWriteOnly = watch(writeOnly);
    expect(() => give('disk', [writeOnly])).toThrow('descriptor 0 is open for writing alone');
    expect(isWriteOnly()).toBe(false);
    const { readFd, writeFd } = pipe();
    onTestFinished(() => close(writeFd));
    const good = open('r');
    const both = [watch(readFd), watch(good)];
    expect(() => give('disk', [good, readFd])).toThrow('descriptor 1 is neither a regular file nor');
    const nameOnly = openSync(import.meta.filename, 0o10000000);
    expect(() => give('disk', [nameOnly])).toThrow('descriptor 0 only names a file (O_PATH)');
    expect(() => give('', [open('r')])).toThrow('has 1 to 256 characters');
    expect(both.some((isThere) => isThere())).toBe(false);
    expect(files.count).toBe(0);
  });

  it('are bounded for each client', () => {
    const { files, give, open } = rig();
    for (let index = 0; index < MAX_PER_OWNER; index++) give(`disk${index}`, [open('r')]);
    const more = open('r');
    const isMore = watch(more);
    expect(() => give('more', [more])).toThrow(`at most ${MAX_PER_OWNER} descriptors of one client`);
    expect(isMore()).toBe(false);
    // In the place of others there is room.
    give('disk0', [open('r')]);
    expect(files.count).toBe(MAX_PER_OWNER);
  });
});
