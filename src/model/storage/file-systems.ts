/** File systems by libvirt's words. */

/** What storagepool.rng and storagevol.rng have in common. */
export const fileSystems = [
  'auto',
  'ext2',
  'ext3',
  'ext4',
  'ufs',
  'iso9660',
  'udf',
  'gfs',
  'gfs2',
  'vfat',
  'hfs+',
  'xfs',
  'ocfs2',
  'vmfs',
] as const;
