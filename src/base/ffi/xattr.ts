/** Extended attributes of files (xattr(7)), which also hold POSIX ACLs. */
import { check, lastError, lazyLibrary } from './libc.ts';

const libc = lazyLibrary((lib) => ({
  getxattr: lib.func(
    'intptr_t getxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)',
  ),
  setxattr: lib.func(
    'int setxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)',
  ),
  removexattr: lib.func('int removexattr(const char *path, const char *name)'),
}));

/** The kernel's limit for one value (XATTR_SIZE_MAX, linux/limits.h). */
const MAX_VALUE_BYTES = 65_536;

/** The value, or undefined when the file has no such attribute. Follows links. @throws FfiError ENOENT, EOPNOTSUPP, ... */
export function getAttribute(path: string, name: string): Buffer | undefined {
  const value = Buffer.alloc(MAX_VALUE_BYTES);
  const size = Number(libc().getxattr(path, name, value, value.length));
  if (size !== -1) return value.subarray(0, size);
  const error = lastError(`getxattr ${path}`);
  if (error.code === 'ENODATA') return undefined;
  throw error;
}

/** Sets an attribute, made or replaced. @throws FfiError EPERM, EOPNOTSUPP, ... */
export function setAttribute(path: string, name: string, value: Uint8Array): void {
  check(`setxattr ${path}`, libc().setxattr(path, name, value, value.length, 0));
}

/** Takes an attribute away; one that is not there is no error. @throws FfiError */
export function removeAttribute(path: string, name: string): void {
  if (libc().removexattr(path, name) !== -1) return;
  const error = lastError(`removexattr ${path}`);
  if (error.code !== 'ENODATA') throw error;
}
