/** A directory held by a descriptor: files are reached through it, whatever happens to its path meanwhile (docs/security.md, class H). */
import { constants } from 'node:fs';
import { type FileHandle, open, readlink } from 'node:fs/promises';
import { fileError } from '../base/errors.ts';

export class PinnedDirectory implements AsyncDisposable {
  /** The path as it was given. */
  readonly path: string;
  private readonly handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.handle = handle;
  }

  /** @throws VirtError file.* */
  static async open(
    path: string,
    wanted: string,
    options: { readonly isLinkRefused?: boolean } = {},
  ): Promise<PinnedDirectory> {
    try {
      const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NONBLOCK;
      const noLink = options.isLinkRefused === true ? constants.O_NOFOLLOW : 0;
      return new PinnedDirectory(path, await open(path, flags | noLink));
    } catch (error) {
      throw fileError(error, wanted, path);
    }
  }

  /** A path for a name in it; the name must be one step. */
  at(name: string): string {
    if (name.includes('/') || name === '' || name === '.' || name === '..')
      throw new Error(`not the name of a file: '${name}'`);
    return `/proc/self/fd/${this.handle.fd}/${name}`;
  }

  /** A path of the directory itself, for reading its entries. */
  get self(): string {
    return `/proc/self/fd/${this.handle.fd}/.`;
  }

  /** Where it really is, without links on the way. */
  realPath(): Promise<string> {
    return readlink(`/proc/self/fd/${this.handle.fd}`);
  }

  stat() {
    return this.handle.stat({ bigint: true });
  }

  /** Makes renames and removals in it durable. */
  sync(): Promise<void> {
    return this.handle.sync();
  }

  close(): Promise<void> {
    return this.handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
