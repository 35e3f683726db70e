/** What libvirt tells of a guest's memory on its way into a file: VIR_DOMAIN_JOB_*. */
import type { MemoryProgress } from '../../../drivers/live-memory.ts';
import type { TypedParam } from '../../../libvirt/protocol/objects.ts';
import { big } from './handlers/params.ts';

/** In libvirt's order. A guest's disks stay where they are, so there is nothing of them. */
export function memoryMeasures(progress: Omit<MemoryProgress, 'totalMs' | 'doneBytes'>): TypedParam[] {
  const { totalBytes, writtenBytes, remainingBytes } = progress;
  return [
    big('downtime', progress.downtimeMs),
    big('setup_time', progress.setupMs),
    big('data_total', totalBytes),
    big('data_processed', writtenBytes),
    big('data_remaining', remainingBytes),
    big('memory_total', totalBytes),
    big('memory_processed', writtenBytes),
    big('memory_remaining', remainingBytes),
    big('memory_bps', progress.bytesPerSecond),
    big('memory_constant', progress.constantPages),
    big('memory_normal', progress.normalPages),
    big('memory_normal_bytes', progress.normalBytes),
    big('memory_dirty_rate', progress.dirtyPagesPerSecond),
    big('memory_iteration', progress.iterations),
    // What of a migration is fetched later: a file is whole at its end.
    big('memory_postcopy_requests', 0),
    big('memory_page_size', progress.pageBytes),
  ];
}
