/** Events of snapshots of domains. */
import * as z from 'zod';
import { domainIdentity } from '../domain-objects.ts';
import { event } from '../method.ts';

const since = '0.1.0';
const payload = () => z.object({ domain: domainIdentity, snapshot: z.string().describe('Its name.') });

export const snapshotEvents = [
  event({ name: 'domain.snapshot-created', since, summary: 'A snapshot was made.', payload }),
  event({
    name: 'domain.snapshot-reverted',
    since,
    summary: 'A domain was returned to a snapshot.',
    payload,
  }),
  event({ name: 'domain.snapshot-deleted', since, summary: 'A snapshot was deleted.', payload }),
] as const;
