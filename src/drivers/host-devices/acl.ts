/**
 * POSIX ACLs as the kernel keeps them (linux/posix_acl_xattr.h): a version, then entries of tag, permissions and id,
 * sorted by tag and id. Pure; node-access.ts applies them.
 */

/** The extended attribute that holds a file's ACL. */
export const aclAttribute = 'system.posix_acl_access';

const VERSION = 2;
const ENTRY_BYTES = 8;
const USER_OBJ = 0x01;
const USER = 0x02;
const GROUP_OBJ = 0x04;
const MASK = 0x10;
const OTHER = 0x20;
/** ACL_UNDEFINED_ID: of entries that name nobody. */
const NOBODY = 0xffff_ffff;

interface Entry {
  readonly tag: number;
  readonly permissions: number;
  readonly id: number;
}

/** The ACL with read and write for one more user. `acl` is undefined for a file that has none but its mode. */
export function withUser(acl: Buffer | undefined, mode: number, uid: number): Buffer {
  const entries = decode(acl, mode).filter((entry) => !isUser(entry, uid));
  return encode(withMask([...entries, { tag: USER, permissions: 6, id: uid }]));
}

/**
 * The ACL without that user; undefined when it does not name that user. Without any named user or group what is left
 * is the mode alone, which the kernel understands as such.
 */
export function withoutUser(acl: Buffer | undefined, mode: number, uid: number): Buffer | undefined {
  if (acl === undefined) return undefined;
  const entries = decode(acl, mode);
  const left = entries.filter((entry) => !isUser(entry, uid));
  if (left.length === entries.length) return undefined;
  const isNamed = left.some(({ id }) => id !== NOBODY);
  return encode(isNamed ? withMask(left) : left.filter(({ tag }) => tag !== MASK));
}

const isUser = ({ tag, id }: Entry, uid: number): boolean => tag === USER && id === uid;

/** The mask holds back named entries and the group, so it has to let through all that they have. */
function withMask(entries: readonly Entry[]): Entry[] {
  const masked = entries.filter(({ tag }) => tag !== MASK);
  const permissions = masked
    .filter(({ tag }) => tag !== USER_OBJ && tag !== OTHER)
    .reduce((all, entry) => all | entry.permissions, 0);
  return [...masked, { tag: MASK, permissions, id: NOBODY }];
}

function decode(acl: Buffer | undefined, mode: number): Entry[] {
  if (acl === undefined)
    return [
      { tag: USER_OBJ, permissions: (mode >> 6) & 7, id: NOBODY },
      { tag: GROUP_OBJ, permissions: (mode >> 3) & 7, id: NOBODY },
      { tag: OTHER, permissions: mode & 7, id: NOBODY },
    ];
  if (acl.length < 4 || acl.readUInt32LE(0) !== VERSION || (acl.length - 4) % ENTRY_BYTES !== 0)
    throw new Error('an ACL of a version that we do not know');
  return Array.from({ length: (acl.length - 4) / ENTRY_BYTES }, (_unused, index) => {
    const at = 4 + index * ENTRY_BYTES;
    return { tag: acl.readUInt16LE(at), permissions: acl.readUInt16LE(at + 2), id: acl.readUInt32LE(at + 4) };
  });
}

function encode(entries: readonly Entry[]): Buffer {
  const sorted = [...entries].sort((a, b) => a.tag - b.tag || a.id - b.id);
  const acl = Buffer.alloc(4 + sorted.length * ENTRY_BYTES);
  acl.writeUInt32LE(VERSION, 0);
  for (const [index, { tag, permissions, id }] of sorted.entries()) {
    const at = 4 + index * ENTRY_BYTES;
    acl.writeUInt16LE(tag, at);
    acl.writeUInt16LE(permissions, at + 2);
    acl.writeUInt32LE(id, at + 4);
  }
  return acl;
}
