/** What must not be done to a guest while jobs work on its images. */
import { VirtError } from '../../base/errors.ts';
import type { Domain } from './domain.ts';

/**
 * @param disk target of the only disk that matters; left out, all do
 * @throws VirtError domain.state when a block job is under way; of one disk its `details.blockJob` says which kind
 */
export function refuseBlockJobs(domain: Domain, verb: string, disk?: string): void {
  refuseBackup(domain, verb, disk);
  const jobs = domain.live?.guest.blockJobs.records ?? [];
  const job = jobs.find((one) => disk === undefined || one.disk === disk);
  if (job === undefined) return;
  throw new VirtError('domain.state', {
    wanted: `${verb} domain '${domain.name}'`,
    hint: `wait for its end, or cancel it with 'vireo domain disk cancel ${domain.name} ${job.disk}'`,
    ...reasonFor(disk, job.kind),
  });
}

/** @throws VirtError domain.state while a backup works on the disk (left out: on any) */
export function refuseBackup(domain: Domain, verb: string, disk?: string): void {
  const backup = domain.live?.guest.backup.record;
  if (backup === undefined || (disk !== undefined && !backup.disks.some((one) => one.disk === disk))) return;
  throw new VirtError('domain.state', {
    wanted: `${verb} domain '${domain.name}'`,
    hint: `wait for the end of its backup, or call it off with 'vireo backup cancel ${domain.name}'`,
    ...reasonFor(disk, 'backup'),
  });
}

function reasonFor(disk: string | undefined, kind: string) {
  if (disk === undefined) return { reason: 'domain has active block job' };
  return { reason: `disk '${disk}' already in active block job`, details: { blockJob: kind } };
}
