/** What pool and volume commands share: how a volume is named, and doing a thing to several of them. */
import { isAbsolute } from 'node:path';
import type { VireoClient } from '../api/client.ts';
import { badOption } from './options/fields.ts';

export const POOL_HELP = 'Name or uuid.';
export const VOLUME_HELP = "POOL/NAME, a name in pool 'default', or an absolute path.";

/** The pool that is meant by a volume without one. */
export const DEFAULT_POOL = 'default';

export interface VolumeName {
  readonly pool: string;
  readonly volume: string;
}

/** `isos/debian.iso`, `web.qcow2`; a path is looked up by the daemon. */
export async function volumeNamed(client: VireoClient, text: string): Promise<VolumeName> {
  if (isAbsolute(text)) {
    const { pool, name } = await client.call('volume.find', { path: text });
    return { pool, volume: name };
  }
  return newVolumeNamed(text);
}

/** As volumeNamed, for one that is to be made. @throws VirtError request.invalid */
export function newVolumeNamed(text: string): VolumeName {
  const [first = '', second, ...rest] = text.split('/');
  if (rest.length > 0 || first === '' || second === '')
    throw badOption('the volume', text, 'it is not POOL/NAME', `write it like ${DEFAULT_POOL}/web.qcow2`);
  return second === undefined ? { pool: DEFAULT_POOL, volume: first } : { pool: first, volume: second };
}
