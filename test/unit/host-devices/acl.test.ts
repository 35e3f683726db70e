/** ACLs of device nodes: one user more and one less, on bytes and on a real file. */
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { getAttribute, removeAttribute, setAttribute } from '../../../src/base/ffi.ts';
import { aclAttribute, withoutUser, withUser } from '../../../src/drivers/host-devices/acl.ts';
import { grantNode, revokeNode } from '../../../src/drivers/host-devices/node-access.ts';

/** Entries as `tag:permissions:id`, all in hexadecimal. */
function shown(acl: Buffer | undefined): string[] {
  if (acl === undefined) return [];
  return Array.from({ length: (acl.length - 4) / 8 }, (_unused, index) => {
    const at = 4 + 8 * index;
    return [acl.readUInt16LE(at), acl.readUInt16LE(at + 2), acl.readUInt32LE(at + 4)]
      .map((number) => number.toString(16))
      .join(':');
  });
}

describe('an ACL', () => {
  it('is made of the mode, with the user and a mask', () => {
    expect(shown(withUser(undefined, 0o600, 1000))).toEqual([
      '1:6:ffffffff',
      '2:6:3e8',
      '4:0:ffffffff',
      '10:6:ffffffff',
      '20:0:ffffffff',
    ]);
  });

  it('keeps other users, and loses one without touching them', () => {
    const two = withUser(withUser(undefined, 0o640, 1001), 0o640, 1000);
    expect(shown(two).filter((entry) => entry.startsWith('2:'))).toEqual(['2:6:3e8', '2:6:3e9']);
    const one = withoutUser(two, 0o640, 1000);
    expect(shown(one).filter((entry) => entry.startsWith('2:'))).toEqual(['2:6:3e9']);
    expect(shown(withoutUser(one, 0o640, 1001))).toEqual(['1:6:ffffffff', '4:4:ffffffff', '20:0:ffffffff']);
    expect(withoutUser(two, 0o640, 4242)).toBeUndefined();
    expect(withoutUser(undefined, 0o640, 1000)).toBeUndefined();
  });
});

describe('a node', () => {
  let directory: string;
  let path: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'vireo-acl-'));
    path = join(directory, 'node');
    writeFileSync(path, '');
    chmodSync(path, 0o600);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it('lets a user in, and is as before when that is taken back', () => {
    grantNode(path, 1000);
    grantNode(path, 1001);
    grantNode(path, 1000);
    expect(shown(getAttribute(path, aclAttribute))).toContain('2:6:3e8');
    revokeNode(path, 1000);
    revokeNode(path, 1001);
    revokeNode(path, 1001);
    expect(getAttribute(path, aclAttribute)).toBeUndefined();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    revokeNode(join(directory, 'gone'), 1000);
    expect(() => grantNode(join(directory, 'gone'), 1000)).toThrow(
      expect.objectContaining({ code: 'file.not-found' }),
    );
  });

  it('has other attributes, too', () => {
    const supported = (): boolean => {
      try {
        setAttribute(path, 'user.vireo', Buffer.from('x'));
        return true;
      } catch (error) {
        // tmpfs before Linux 6.6 has no user attributes.
        expect(error).toMatchObject({ code: 'EOPNOTSUPP' });
        return false;
      }
    };
    if (!supported()) return;
    expect(getAttribute(path, 'user.vireo')?.toString()).toBe('x');
    removeAttribute(path, 'user.vireo');
    removeAttribute(path, 'user.vireo');
    expect(getAttribute(path, 'user.vireo')).toBeUndefined();
  });
});
