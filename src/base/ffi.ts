/**
 * All foreign function calls: libc through koffi, in the files of ffi/ and nowhere else. Each wrapper checks the return
 * value, reads errno at once and throws FfiError; buffers are made there, with the layout's source named, and are large
 * enough for it.
 */
export * from './ffi/affinity.ts';
export * from './ffi/files.ts';
export { FfiError } from './ffi/libc.ts';
export * from './ffi/memory.ts';
export * from './ffi/netlink.ts';
export * from './ffi/pass-fds.ts';
export * from './ffi/processes.ts';
export * from './ffi/spawn.ts';
export * from './ffi/unix-sockets.ts';
export * from './ffi/xattr.ts';
