/** Runtime status of networks: what a new daemon must know of those that are active. */
import * as z from 'zod';
import type { Logger } from '../../base/log.ts';
import { StatusFiles } from './status-files.ts';

const schema = z.looseObject({
  format: z.literal(1),
  uuid: z.guid(),
  name: z.string().min(1),
  /** `starting`: the host may have a part of it; nobody was told that it is active. */
  phase: z.enum(['starting', 'active']),
  persistent: z.boolean(),
  startedAtMs: z.number(),
  /** The definition as it runs. */
  xml: z.string(),
});

/** The status file of one network. Fields of a newer version are kept. */
export type NetworkStatus = z.output<typeof schema>;

/** The status files of networks. */
export class NetworkStatusStore extends StatusFiles<NetworkStatus> {
  constructor(options: { directory: string; log: Logger }) {
    super({ ...options, schema });
  }
}
