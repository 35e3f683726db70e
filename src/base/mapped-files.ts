/**
 * Open files for a user who has no right to them: opened anew through a mount of their own in which they are that user's. So
 * a program that opens `/proc/self/fd/N` once more may do that, and nothing about the file itself changes.
 */
import { type FileHandle, open, readlink, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { findProgram } from './exec.ts';
import { cloneMount, mapOwners } from './ffi/mapped-mounts.ts';
import { close } from './ffi.ts';
import { killProcess, spawnDetached } from './spawn.ts';

/** So many owners are kept in mind; each costs a descriptor. */
const MAX_OWNERS = 32;
const POLL_MS = 1;
const MAX_POLLS = 5000;

/** The user namespaces made, by the owner that they map. */
const namespaces = new Map<string, Promise<FileHandle>>();

/**
 * The open file once more, as one of `user`'s; for reading it can't be opened for writing. Undefined where that is
 * not possible: not root, an old kernel, a container, a file system without it (NFS, FAT, overlayfs).
 */
export async function openAs(
  handle: FileHandle,
  access: 'read' | 'write',
  user: number,
): Promise<FileHandle | undefined> {
  if (process.geteuid?.() !== 0) return undefined;
  const { uid, gid } = await handle.stat();
  try {
    const namespace = await namespaceFor(uid, gid, user);
    const mount = cloneMount(handle.fd);
    try {
      mapOwners(mount, namespace.fd, access);
      return await open(`/proc/self/fd/${mount}`, access === 'read' ? 'r' : 'r+');
    } finally {
      close(mount);
    }
  } catch {
    // Whatever is missing: the caller has another way, and says what that one lacks.
    return undefined;
  }
}

function namespaceFor(uid: number, gid: number, user: number): Promise<FileHandle> {
  const key = `${uid}:${gid}:${user}`;
  let namespace = namespaces.get(key);
  if (namespace === undefined) {
    if (namespaces.size >= MAX_OWNERS) forgetOldest();
    namespace = makeNamespace(`${uid} ${user} 1`, `${gid} ${user} 1`);
    namespaces.set(key, namespace);
    namespace.catch(() => namespaces.delete(key));
  }
  return namespace;
}

function forgetOldest(): void {
  const [first] = namespaces;
  if (first === undefined) return;
  const [key, namespace] = first;
  namespaces.delete(key);
  namespace.then(
    (handle) => handle.close(),
    () => undefined, // It was never there.
  );
}

/** A user namespace with these maps (user_namespaces(7)); the process that it was made with has ended. */
async function makeNamespace(users: string, groups: string): Promise<FileHandle> {
  const [unshare, sleep] = [await findProgram('unshare'), await findProgram('sleep')];
  if (unshare === undefined || sleep === undefined) throw new Error('unshare or sleep is not installed');
  const ours = await readlink('/proc/self/ns/user');
  const nothing = await open('/dev/null', 'r+');
  try {
    const holder = await spawnDetached({
      file: unshare,
      args: ['--user', '--', sleep, '60'],
      environment: {},
      directory: '/',
      descriptors: [nothing.fd, nothing.fd, nothing.fd],
      limits: { coreBytes: 0, openFiles: 64 },
      noNewPrivileges: false,
    });
    try {
      const place = `/proc/${holder.pid}`;
      for (let polls = 0; (await readlink(`${place}/ns/user`)) === ours; polls++) {
        if (polls === MAX_POLLS) throw new Error('no user namespace was made');
        await delay(POLL_MS);
      }
      await writeFile(`${place}/uid_map`, users);
      await writeFile(`${place}/gid_map`, groups);
      return await open(`${place}/ns/user`, 'r');
    } finally {
      killProcess(holder, 'SIGKILL');
      await holder.ended;
    }
  } finally {
    await nothing.close();
  }
}
