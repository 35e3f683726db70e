/** Lets one more user open a device node, by its ACL, and takes that back; owner, group and mode stay as they are. */
import { statSync } from 'node:fs';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { getAttribute, setAttribute } from '../../base/ffi.ts';
import { aclAttribute, withoutUser, withUser } from './acl.ts';

/** @throws VirtError file.not-found, file.failed where the file system has no ACLs */
export function grantNode(path: string, uid: number): void {
  try {
    setAttribute(path, aclAttribute, withUser(getAttribute(path, aclAttribute), statSync(path).mode, uid));
  } catch (error) {
    if (errnoOf(error) === 'EOPNOTSUPP')
      throw new VirtError('file.failed', {
        wanted: `let the guest's user open ${path}`,
        reason: 'the file system of that device node has no ACLs',
        hint: "set [qemu] user in vireod.toml to a user that may open it, or use a kernel's devtmpfs",
        cause: error,
      });
    throw fileError(error, "let the guest's user open a device", path);
  }
}

/** Idempotent; a node that is gone needs nothing. @throws VirtError file.* */
export function revokeNode(path: string, uid: number): void {
  try {
    const acl = withoutUser(getAttribute(path, aclAttribute), statSync(path).mode, uid);
    if (acl !== undefined) setAttribute(path, aclAttribute, acl);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'EOPNOTSUPP') return;
    throw fileError(error, "take back the guest user's access to a device", path);
  }
}
