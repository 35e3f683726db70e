/** A pool from a few words, as our own create verb takes them. */
import type { PoolDef, PoolType } from './pool.ts';

/** What a client asks for. */
export interface PoolWish {
  readonly name: string;
  readonly type: PoolType;
  /** Where its volumes are, or shall be mounted. */
  readonly path?: string | undefined;
  /** Where they come from: `/dev/sdb1`, `nas:/export`, a volume group. */
  readonly source?: string | undefined;
  /** File system, partition table or network protocol. */
  readonly format?: string | undefined;
}

/** Where devices appear by themselves. */
const devicePlaces: Partial<Record<PoolType, string>> = {
  disk: '/dev',
  iscsi: '/dev/disk/by-path',
  scsi: '/dev/disk/by-path',
  mpath: '/dev/mapper',
};

/** The definition; what is missing or wrong in it is found by `validatePool`. */
export function poolOf({ name, type, path, source, format }: PoolWish): PoolDef {
  const place = path ?? devicePlaces[type];
  const parts = source === undefined ? {} : sourceOf(type, source);
  const hasSource = source !== undefined || format !== undefined;
  return {
    type,
    name,
    ...(hasSource && {
      source: { hosts: [], devices: [], ...parts, ...(format !== undefined && { format }) },
    }),
    ...(place !== undefined && { target: { path: place } }),
    mountOptions: [],
    rbdOptions: [],
  };
}

function sourceOf(type: PoolType, text: string): Partial<NonNullable<PoolDef['source']>> {
  const device = { path: text, freeExtents: [] };
  switch (type) {
    case 'netfs': {
      const { host, rest } = hostAndRest(text);
      return { hosts: [{ name: host }], ...(rest !== '' && { dir: rest }) };
    }
    case 'iscsi':
    case 'iscsi-direct': {
      const { host, rest } = hostAndRest(text);
      return { hosts: [{ name: host }], devices: rest === '' ? [] : [{ ...device, path: rest }] };
    }
    case 'rbd':
    case 'gluster':
    case 'sheepdog': {
      const { host, rest } = hostAndRest(text);
      return { hosts: [{ name: host }], ...(rest !== '' && { name: rest }) };
    }
    case 'logical':
    case 'zfs':
    case 'vstorage':
      return { name: text };
    case 'scsi':
      return { adapter: { type: 'scsi_host', name: text } };
    default:
      return { devices: [device] };
  }
}

/** `nas:/export`, `[2001:db8::1]:/export`. */
function hostAndRest(text: string): { readonly host: string; readonly rest: string } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):?(.*)$/.exec(text);
  return { host: match?.[1] ?? match?.[2] ?? text, rest: match?.[3] ?? '' };
}
