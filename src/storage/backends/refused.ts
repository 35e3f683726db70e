/** Kinds of pools that are understood and not carried out here: each says why, and what to do instead. */
import { VirtError } from '../../base/errors.ts';
import type { CompletePoolDef, PoolType } from '../../model/storage/pool/pool.ts';
import type { PoolBackend } from '../backend.ts';

const qemuOpens = 'give it to a domain as <disk type="network">: QEMU opens it by itself';

/** Why, by type. */
const reasons: Partial<Record<PoolType, readonly [reason: string, hint: string]>> = {
  'iscsi-direct': ['listing the volumes of an iSCSI target needs libiscsi', 'use a pool of type iscsi'],
  scsi: ['volumes of a SCSI host are not listed', 'use its devices below /dev/disk/by-path'],
  mpath: ['multipath devices are not listed', 'use the devices below /dev/mapper in your domains'],
  rbd: ["listing Ceph images needs Ceph's library", qemuOpens],
  sheepdog: ['QEMU has no support for Sheepdog since version 6.1', 'move its images to another storage'],
  gluster: ["listing Gluster volumes needs Gluster's library", `mount it as a netfs pool, or ${qemuOpens}`],
  zfs: ['ZFS volumes are not listed', 'use a pool of type dir on a ZFS file system'],
  vstorage: ['Virtuozzo storage is not supported', 'mount it and use a pool of type dir'],
};

export function refusedBackend(type: PoolType): PoolBackend {
  const refuse =
    (verb: string) =>
    async (pool?: Pick<CompletePoolDef, 'name'>): Promise<never> => {
      const [reason, hint] = reasons[type] ?? [`pools of type ${type} do not work here`, 'use another type'];
      const of = pool === undefined ? `of type ${type}` : `'${pool.name}'`;
      throw new VirtError('definition.unsupported', { wanted: `${verb} pool ${of}`, reason, hint });
    };
  return {
    type,
    volumeFormats: [],
    can: { build: false, delete: false, resize: false, findSources: false },
    isActive: async () => false,
    start: refuse('start'),
    stop: refuse('stop'),
    build: refuse('build'),
    delete: refuse('delete'),
    findSources: () => refuse('find sources for')(),
    scan: refuse('read'),
    look: refuse('read'),
    space: refuse('read'),
    createVolume: refuse('create a volume in'),
    fillVolume: refuse('create a volume in'),
    deleteVolume: refuse('delete a volume of'),
    resizeVolume: refuse('resize a volume of'),
  };
}
