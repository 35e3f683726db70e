/** All kinds of pools, by type. */
import { type PoolType, poolTypes } from '../../model/storage/pool/pool.ts';
import type { PoolBackend } from '../backend.ts';
import { dirBackend } from './dir.ts';
import type { BackendParts } from './directory-volumes.ts';
import { DiskBackend } from './disk.ts';
import { fsBackend } from './fs.ts';
import { iscsiBackend } from './iscsi.ts';
import { LogicalBackend } from './logical.ts';
import { netfsBackend } from './netfs.ts';
import { refusedBackend } from './refused.ts';

export function createBackends(parts: BackendParts): (type: PoolType) => PoolBackend {
  const working = [
    dirBackend(parts),
    fsBackend(parts),
    netfsBackend(parts),
    new LogicalBackend(parts),
    new DiskBackend(parts),
    iscsiBackend(parts),
  ];
  const byType = new Map<PoolType, PoolBackend>(poolTypes.map((type) => [type, refusedBackend(type)]));
  for (const backend of working) byType.set(backend.type, backend);
  return (type) => byType.get(type) ?? refusedBackend(type);
}
