/** The groups of descriptors that the disks of one definition name: copies, so that they stay while a guest is made. */
import { fstat, read } from 'node:fs';
import { promisify } from 'node:util';
import { VirtError } from '../../base/errors.ts';
import { close } from '../../base/ffi.ts';
import { layersOf } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { OpenImage, PassedFileSource, PassedGroup } from '../driver.ts';

const readFd = promisify(read);
const statFd = promisify(fstat);

export class PassedGroups implements Disposable {
  private readonly groups: ReadonlyMap<string, PassedGroup>;

  private constructor(groups: ReadonlyMap<string, PassedGroup>) {
    this.groups = groups;
  }

  /**
   * Takes what the definition names, to be disposed of when QEMU has its own.
   * @throws VirtError request.invalid when a client has not handed it over, or is gone
   */
  static take(definition: DomainDef, source: PassedFileSource | undefined, wanted: string): PassedGroups {
    const groups = new Map<string, PassedGroup>();
    const taken = new PassedGroups(groups);
    try {
      for (const [name, purpose] of namesOf(definition)) {
        const group = source?.take(definition.uuid ?? '', name);
        if (group === undefined) throw notThere(name, purpose, wanted);
        groups.set(name, group);
      }
      return taken;
    } catch (error) {
      taken[Symbol.dispose]();
      throw error;
    }
  }

  /** By name, as the builder of command lines asks. */
  get all(): ReadonlyMap<string, PassedGroup> {
    return this.groups;
  }

  /** One descriptor of ours, for as long as this object lives. */
  file(name: string, index: number): number {
    const fd = this.groups.get(name)?.files[index]?.fd;
    if (fd === undefined) throw new Error(`descriptor ${index} of group '${name}' was not taken`);
    return fd;
  }

  /** The image behind a group, to look into its header; closing it does nothing. */
  open(name: string): OpenImage {
    const fd = this.file(name, 0);
    return {
      read: (buffer, offset, length, position) => readFd(fd, buffer, offset, length, position),
      stat: () => statFd(fd),
      close: async () => undefined,
    };
  }

  [Symbol.dispose](): void {
    for (const { files } of this.groups.values()) for (const { fd } of files) close(fd);
    (this.groups as Map<string, PassedGroup>).clear();
  }
}

/** Names of groups, each with the first place that names it. */
function namesOf({ devices }: DomainDef): Map<string, string> {
  const names = new Map<string, string>();
  for (const [index, disk] of devices.disks.entries())
    for (const { source } of layersOf(disk)) {
      const name = source.type === 'file' ? source.fdgroup : undefined;
      if (name !== undefined && !names.has(name)) names.set(name, `devices.disk[${index}].source.fdgroup`);
    }
  return names;
}

function notThere(name: string, purpose: string, wanted: string): VirtError {
  const reason = `file descriptor group '${name}' was not associated with the domain`;
  return new VirtError('request.invalid', {
    wanted,
    reason,
    hint: 'hand the descriptors over (virsh dom-fd-associate) on a connection that stays until the start',
    details: { problems: [{ path: purpose, message: reason }] },
  });
}
