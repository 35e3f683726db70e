/** Which disks a backup takes, where to, and since when: the wish and libvirt's rules ("Backup XML format"). Pure. */
import { VirtError } from '../../base/errors.ts';
import { type Disk, isEmptySource } from '../domain/devices/disk.ts';
import type { DomainDef } from '../domain/domain.ts';
import type { BackupDef, BackupDisk } from './backup.ts';

/**
 * The definition with every disk of the domain: each says whether it is taken, how, and where to. Without a list, all that
 * can be written are. `suffix` makes names of files that the wish leaves open: that of the disk, a dot, the suffix.
 * @throws VirtError definition.unsupported
 */
export function alignBackupDisks(
  backup: BackupDef,
  domain: DomainDef,
  { suffix, wanted }: { readonly suffix: string; readonly wanted: string },
): BackupDef {
  const { disks } = domain.devices;
  if (disks.length === 0)
    throw refused(wanted, 'disks', 'domain must have at least one disk to perform backup');
  const place = backup.mode === 'pull' ? 'scratch' : 'target';
  const seen = new Set<string>();
  const listed = backup.disks.map((wish, index): BackupDisk => {
    const where = `disks.disk[${index}]`;
    const disk = disks.find(({ target }) => target.dev === wish.name);
    if (disk === undefined) throw refused(wanted, where, `no disk named '${wish.name}'`);
    if (seen.has(wish.name)) throw refused(wanted, where, `disk '${wish.name}' specified twice`);
    seen.add(wish.name);
    if (wish.backup === false) return { name: wish.name, backup: false };
    if (isEmptySource(disk.source)) throw refused(wanted, where, `disk '${wish.name}' has no media`);
    return placed(withSince(wish, backup, wanted), disk, { place, suffix, wanted });
  });
  const rest = disks
    .filter(({ target }) => !seen.has(target.dev))
    .map((disk): BackupDisk => {
      const name = disk.target.dev;
      const isTaken = backup.disks.length === 0 && !isEmptySource(disk.source) && !isReadOnly(disk);
      if (!isTaken) return { name, backup: false };
      return placed(withSince({ name, backup: true }, backup, wanted), disk, { place, suffix, wanted });
    });
  return { ...backup, disks: [...listed, ...rest] };
}

/** The disks that are taken. */
export const takenDisks = ({ disks }: BackupDef): BackupDisk[] =>
  disks.filter(({ backup }) => backup !== false);

const isReadOnly = ({ readonly, device }: Disk): boolean => readonly === true || device === 'cdrom';

function withSince(wish: BackupDisk, backup: BackupDef, wanted: string): BackupDisk {
  const incremental = wish.backupMode === 'full' ? undefined : (wish.incremental ?? backup.incremental);
  if (wish.backupMode === 'incremental' && incremental === undefined)
    throw refused(
      wanted,
      wish.name,
      `'incremental' backup mode of disk '${wish.name}' requires setting 'incremental' field for disk or backup`,
    );
  const { incremental: _since, backupMode: _mode, ...rest } = wish;
  return incremental === undefined
    ? { ...rest, backupMode: 'full' }
    : { ...rest, backupMode: 'incremental', incremental };
}

function placed(
  wish: BackupDisk,
  { source }: Disk,
  { place, suffix, wanted }: { place: 'target' | 'scratch'; suffix: string; wanted: string },
): BackupDisk {
  const { name } = wish;
  const taken = { ...wish, backup: true, type: wish.type ?? 'file' };
  if (wish[place] !== undefined) return taken;
  if (source.type !== 'file' || source.file === undefined || taken.type !== 'file')
    throw refused(wanted, name, `refusing to generate file name for disk '${name}'`);
  return { ...taken, [place]: { file: `${source.file}.${suffix}`, seclabels: [] } };
}

function refused(wanted: string, path: string, message: string): VirtError {
  return new VirtError('definition.unsupported', {
    wanted,
    reason: message,
    details: { problems: [{ path, message }] },
  });
}
