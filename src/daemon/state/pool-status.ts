/** Runtime status of storage pools: which of them are active. */
import * as z from 'zod';
import type { Logger } from '../../base/log.ts';
import { StatusFiles } from './status-files.ts';

const schema = z.looseObject({
  format: z.literal(1),
  uuid: z.guid(),
  name: z.string().min(1),
  persistent: z.boolean(),
  startedAtMs: z.number(),
  /** The definition as it was started. */
  xml: z.string(),
});

/** The status file of one pool. Fields of a newer version are kept. */
export type PoolStatus = z.output<typeof schema>;

/** The status files of pools. */
export class PoolStatusStore extends StatusFiles<PoolStatus> {
  constructor(options: { directory: string; log: Logger }) {
    super({ ...options, schema });
  }
}
