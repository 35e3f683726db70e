/** Events of storage pools and volumes. */
import * as z from 'zod';
import { event } from '../method.ts';
import { poolIdentity } from '../pool-objects.ts';
import { quarantinedFile } from './quarantined-file.ts';

const since = '0.1.0';
const pool = { pool: poolIdentity };
const volume = { ...pool, volume: z.string().describe('Name of the volume.') };

export const storageEvents = [
  event({
    name: 'pool.defined',
    since,
    summary: 'A storage pool was stored.',
    payload: () => z.object({ ...pool, isNew: z.boolean() }),
  }),
  event({
    name: 'pool.undefined',
    since,
    summary: 'A stored pool was forgotten.',
    payload: () => z.object(pool),
  }),
  event({ name: 'pool.started', since, summary: 'A pool is active.', payload: z.object(pool) }),
  event({ name: 'pool.stopped', since, summary: 'A pool is not active any more.', payload: z.object(pool) }),
  event({
    name: 'pool.built',
    since,
    summary: 'The directory, file system or volume group of a pool was made.',
    payload: () => z.object(pool),
  }),
  event({
    name: 'pool.deleted',
    since,
    summary: 'What a pool was built on was taken away.',
    payload: () => z.object(pool),
  }),
  event({
    name: 'pool.refreshed',
    since,
    summary: 'The list of volumes of a pool was read anew, or volumes came or went.',
    payload: () => z.object({ ...pool, added: z.int(), removed: z.int(), changed: z.int() }),
  }),
  event({
    name: 'pool.quarantined',
    since,
    summary: 'A stored pool could not be read and was put aside.',
    payload: () => quarantinedFile,
  }),
  event({
    name: 'volume.created',
    since,
    summary: 'A volume is there, made by us or by hand.',
    payload: () => z.object(volume),
  }),
  event({ name: 'volume.deleted', since, summary: 'A volume is gone.', payload: z.object(volume) }),
  event({
    name: 'volume.changed',
    since,
    summary: 'A volume has another size, format, owner, mode or image below.',
    payload: () => z.object(volume),
  }),
] as const;
