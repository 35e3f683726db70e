import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRangeMapped, kvmGroups, UidPool } from '../../../src/drivers/qemu/identity.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vireo-ids-'));
});
afterEach(() => rm(directory, { recursive: true }));

const range = { first: 1000, count: 4 };
const pool = (): UidPool => new UidPool({ range, ownedDirectory: join(directory, 'tpm') });

describe('uids of guests', () => {
  it('are different for each guest, and run out with an error', () => {
    const ids = pool();
    const taken = new Set<number>();
    for (const uuid of ['a', 'b', 'c', 'd']) taken.add(ids.take(uuid));
    expect(taken).toEqual(new Set([1000, 1001, 1002, 1003]));
    expect(() => ids.take('e')).toThrow(expect.objectContaining({ code: 'operation.failed' }));
  });

  it('are the same for a domain each time when nobody is in the way', () => {
    const first = pool();
    const uid = first.take('a');
    first.release(uid, 'a');
    expect(first.take('a')).toBe(uid);
    expect(pool().take('a')).toBe(uid);
  });

  it('are not taken from a running guest by a release under another name', () => {
    const ids = pool();
    const uid = ids.take('a');
    ids.release(uid, 'b');
    for (const uuid of ['b', 'c', 'd']) expect(ids.take(uuid)).not.toBe(uid);
  });

  it('stay with the domain whose TPM state they own', async () => {
    const mine = process.getuid?.() ?? 0;
    const own = new UidPool({ range: { first: mine, count: 3 }, ownedDirectory: join(directory, 'tpm') });
    await mkdir(join(directory, 'tpm', 'x'), { recursive: true });
    for (const uuid of ['a', 'b']) expect(own.take(uuid)).not.toBe(mine);
    expect(() => own.take('c')).toThrow(expect.objectContaining({ code: 'operation.failed' }));
    expect(own.take('x')).toBe(mine);
  });

  it('need a range that exists in this user namespace', () => {
    const everything = '         0          0 4294967295\n';
    expect(isRangeMapped(range, () => everything)).toBe(true);
    expect(isRangeMapped(range, () => '0 100000 1002\n')).toBe(false);
    expect(isRangeMapped(range, () => '0 1000 1\n1000 100000 4\n')).toBe(true);
    expect(isRangeMapped(range, (name) => (name === 'uid_map' ? everything : '0 0 1\n'))).toBe(false);
  });
});

describe('the group for KVM', () => {
  it('is needed when the node is for a group, and there is no way when it is for root', async () => {
    const node = join(directory, 'kvm');
    await writeFile(node, '', { mode: 0o600 });
    await expect(kvmGroups(node)).rejects.toThrow(expect.objectContaining({ code: 'kvm.unusable' }));
    await expect(kvmGroups(join(directory, 'none'))).rejects.toThrow(
      expect.objectContaining({ code: 'kvm.unusable' }),
    );
  });
});
