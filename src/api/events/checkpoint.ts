/** Events of checkpoints of domains. */
import * as z from 'zod';
import { domainIdentity } from '../domain-objects.ts';
import { event } from '../method.ts';

const since = '0.1.0';
const payload = () => z.object({ domain: domainIdentity, checkpoint: z.string().describe('Its name.') });

export const checkpointEvents = [
  event({ name: 'domain.checkpoint-created', since, summary: 'A checkpoint was made.', payload }),
  event({ name: 'domain.checkpoint-deleted', since, summary: 'A checkpoint was deleted.', payload }),
] as const;
