/** Views of single files in which their owner is another user: mounts of our own that no path leads to. */
import { check, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  openTree: lib.func('long syscall(long number, long fd, const char *path, unsigned long flags)'),
  setAttributes: lib.func(
    'long syscall(long number, long fd, const char *path, unsigned long flags, const uint8_t *attributes, size_t size)',
  ),
}));

// The same numbers on every architecture (asm-generic/unistd.h).
const SYS_open_tree = 428;
const SYS_mount_setattr = 442;
const OPEN_TREE_CLONE = 1; // linux/mount.h
const OPEN_TREE_CLOEXEC = 0o2000000;
const AT_EMPTY_PATH = 0x1000; // linux/fcntl.h
const MOUNT_ATTR_RDONLY = 0x1;
const MOUNT_ATTR_IDMAP = 0x0010_0000;

/** A mount of the open file alone, attached nowhere; it lives as long as its descriptor, or a file opened through it. */
export function cloneMount(fd: number): number {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
  return check('open_tree', Number(libc().openTree(SYS_open_tree, fd, '', flags)));
}

/**
 * Shows owners in such a mount as the user namespace maps them, and takes writing away where it is not wanted
 * (mount_setattr(2), "ID-mapped mounts", since Linux 5.12).
 * @throws FfiError EINVAL where the file system cannot, EPERM in containers, ENOSYS on old kernels
 */
export function mapOwners(mountFd: number, namespaceFd: number, access: 'read' | 'write'): void {
  // struct mount_attr (linux/mount.h): attributes to set, to clear, propagation, descriptor; 64 bits each.
  const attributes = Buffer.alloc(32);
  const set = MOUNT_ATTR_IDMAP | (access === 'read' ? MOUNT_ATTR_RDONLY : 0);
  attributes.writeBigUInt64LE(BigInt(set), 0);
  attributes.writeBigUInt64LE(BigInt(namespaceFd), 24);
  const result = libc().setAttributes(
    SYS_mount_setattr,
    mountFd,
    '',
    AT_EMPTY_PATH,
    attributes,
    attributes.length,
  );
  check('mount_setattr', Number(result));
}
