/** How far a job is, for people. */
import type { Result } from '../../api/index.ts';
import { formatBytes } from '../../base/units.ts';

type Measure = Pick<Result<'job.cancel'>, 'done' | 'total' | 'unit'>;

/** `10 MiB of 2 GiB (0 %)`, `3 of 10 (30 %)`, `10 MiB`; nothing where nothing is counted. */
export function measureText({ done, total, unit }: Measure): string {
  if (done === null || unit === null) return '';
  const amount = (count: number) => (unit === 'bytes' ? formatBytes(count) : String(count));
  if (total === null || total === 0) return amount(done);
  return `${amount(done)} of ${amount(total)} (${Math.floor((100 * done) / total)} %)`;
}
