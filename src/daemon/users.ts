/** Users and groups by name, from the files of the user database. */
import { readFileSync } from 'node:fs';
import { VirtError } from '../base/errors.ts';

function lines(path: string): string[][] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
}

/** uid and gid of a user (passwd(5)). @throws VirtError config.invalid */
export function userByName(name: string): { readonly uid: number; readonly gid: number } {
  const entry = lines('/etc/passwd').find(([user]) => user === name);
  if (entry) return { uid: Number(entry[2]), gid: Number(entry[3]) };
  throw new VirtError('config.invalid', {
    wanted: 'run guests',
    reason: `qemu.user: there is no user '${name}'`,
  });
}

/**
 * The group that may connect (group(5)): the configured one, else `vireo`, else `libvirt`; undefined when there is
 * none, and then only root may.
 * @throws VirtError config.invalid for a configured group that isn't there
 */
export function socketGroup(configured: string | undefined): number | undefined {
  const groups = lines('/etc/group');
  const gidOf = (name: string) => {
    const entry = groups.find(([group]) => group === name);
    return entry && Number(entry[2]);
  };
  if (configured === undefined) return gidOf('vireo') ?? gidOf('libvirt');
  const gid = gidOf(configured);
  if (gid !== undefined) return gid;
  throw new VirtError('config.invalid', {
    wanted: 'open the socket',
    reason: `daemon.socket_group: there is no group '${configured}'`,
    hint: `groupadd --system ${configured}`,
  });
}
