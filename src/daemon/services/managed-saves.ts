/** The saved states that the daemon keeps for stored domains: one file each, by uuid, so that a rename changes nothing. */
import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import { removeDurable, temporarySuffix } from '../../base/files.ts';
import type { Domain } from './domain.ts';

const SUFFIX = '.save';

export class ManagedSaves {
  private readonly directory: string;
  private readonly uuids = new Set<string>();

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Looks which there are. Files that were never finished are removed, except those that a guest still writes. */
  async open(inUse: ReadonlySet<string>): Promise<void> {
    const names = await readdir(this.directory).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw fileError(error, 'look for saved states', this.directory);
    });
    this.uuids.clear();
    for (const name of names) {
      const path = join(this.directory, name);
      if (name.endsWith(SUFFIX)) this.uuids.add(name.slice(0, -SUFFIX.length));
      // One that cannot be removed does no harm; the next daemon tries again.
      else if (name.endsWith(temporarySuffix) && !inUse.has(path)) await unlink(path).catch(() => undefined);
    }
  }

  pathOf({ uuid }: Pick<Domain, 'uuid'>): string {
    return join(this.directory, `${uuid}${SUFFIX}`);
  }

  has({ uuid }: Pick<Domain, 'uuid'>): boolean {
    return this.uuids.has(uuid);
  }

  /** The file of a domain that has one. @throws VirtError saved-state.not-found */
  require(domain: Domain): string {
    if (this.has(domain)) return this.pathOf(domain);
    throw new VirtError('saved-state.not-found', {
      reason: `domain '${domain.name}' has no saved state`,
      hint: `'vireo domain managed-save ${domain.name}' makes one of a running guest`,
    });
  }

  /** @throws VirtError saved-state.exists */
  refuse(domain: Domain, wanted: string): void {
    if (!this.has(domain)) return;
    throw new VirtError('saved-state.exists', {
      wanted: `${wanted} domain '${domain.name}'`,
      reason: 'it has a saved state',
      hint: `start it, or give the state up with 'vireo domain managed-save ${domain.name} --remove'`,
    });
  }

  /** Notes that a domain has one now. */
  note(domain: Domain): void {
    this.uuids.add(domain.uuid);
  }

  /** Gives it up, for good. One that is not there is no error. @throws VirtError file.* */
  async remove(domain: Domain): Promise<void> {
    await removeDurable(this.pathOf(domain));
    this.uuids.delete(domain.uuid);
  }
}
