/** Values of stored secrets: one file each, apart from the definitions, for the daemon alone, in base64 as libvirt has them. */
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, fileError } from '../../base/errors.ts';
import { ensureDirectory, removeDurable, temporarySuffix, writeDurable } from '../../base/files.ts';

/** The longest value, in bytes (libvirt's protocol: REMOTE_SECRET_VALUE_MAX). */
export const MAX_SECRET_BYTES = 65_536;

export class SecretValues {
  private readonly directory: string;

  constructor(options: { readonly directory: string }) {
    this.directory = options.directory;
  }

  /** Takes away values whose secret is not there any more, and what a write left half done. @throws VirtError file.* */
  async open(known: ReadonlySet<string>): Promise<void> {
    await ensureDirectory(this.directory, 0o700);
    for (const file of readdirSync(this.directory))
      if (file.endsWith(temporarySuffix) || (file.endsWith('.base64') && !known.has(file.slice(0, -7))))
        rmSync(join(this.directory, file), { force: true });
  }

  has(uuid: string): boolean {
    return statSync(this.pathOf(uuid), { throwIfNoEntry: false }) !== undefined;
  }

  /** The value in a buffer of its own, which the caller fills with zeros; undefined when there is none. @throws VirtError file.* */
  read(uuid: string): Buffer | undefined {
    const path = this.pathOf(uuid);
    try {
      const text = readFileSync(path);
      try {
        return Buffer.from(text.toString('latin1'), 'base64');
      } finally {
        text.fill(0);
      }
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw fileError(error, 'read the value of a secret', path);
    }
  }

  /** Stores it for good. @throws VirtError file.* */
  async write(uuid: string, value: Buffer): Promise<void> {
    const text = Buffer.from(value.toString('base64'), 'latin1');
    try {
      await ensureDirectory(this.directory, 0o700);
      await writeDurable(this.pathOf(uuid), text, { mode: 0o600 });
    } finally {
      text.fill(0);
    }
  }

  async remove(uuid: string): Promise<void> {
    await removeDurable(this.pathOf(uuid));
  }

  private pathOf(uuid: string): string {
    return join(this.directory, `${uuid}.base64`);
  }
}
