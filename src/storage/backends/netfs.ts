/** Pools of type netfs: a directory of a server (NFS, CIFS, Gluster), mounted while the pool is active. */
import { VirtError } from '../../base/errors.ts';
import type { CompletePoolDef } from '../../model/storage/pool/pool.ts';
import type { PoolSource } from '../../model/storage/pool/source.ts';
import type { PoolBackend, Work } from '../backend.ts';
import { isMountedFrom, mountPool, unmountPool } from '../mounts.ts';
import { poolFailure, type Tools } from '../tools.ts';
import { type BackendParts, directoryOf, directoryVolumes } from './directory-volumes.ts';
import { ensureTarget, removeTarget, requireTarget } from './target.ts';

type NetType = 'nfs' | 'cifs' | 'glusterfs';

export function netfsBackend(parts: BackendParts): PoolBackend {
  const { tools } = parts;
  return {
    type: 'netfs',
    can: { build: true, delete: true, resize: true, findSources: true },
    ...directoryVolumes(parts),
    isActive: (pool) => isMountedFrom(pool.name, directoryOf(pool), sourcesOf(pool)),
    async start(pool, work) {
      await requireTarget(pool);
      const target = directoryOf(pool);
      const [source = ''] = sourcesOf(pool);
      if (await isMountedFrom(pool.name, target, sourcesOf(pool))) return;
      await mountPool(
        tools,
        { pool: pool.name, type: typeOf(pool), source, target, options: optionsOf(pool) },
        work,
      );
    },
    async stop(pool, work) {
      const target = directoryOf(pool);
      if (await isMountedFrom(pool.name, target, sourcesOf(pool)))
        await unmountPool(tools, pool.name, target, work);
    },
    build: async (pool) => void (await ensureTarget(pool)),
    delete: (pool) => removeTarget(pool),
    findSources: (source, work) => exportsOf(tools, source, work),
  };
}

function typeOf({ source }: CompletePoolDef): NetType {
  const format = source?.format;
  return format === 'cifs' || format === 'glusterfs' ? format : 'nfs';
}

/** As mount is told, and as the kernel may show it. */
export function sourcesOf(pool: CompletePoolDef): string[] {
  const host = pool.source?.hosts[0]?.name ?? '';
  const dir = pool.source?.dir ?? '';
  if (typeOf(pool) === 'cifs') return [`//${host}/${dir.replace(/^\/+/, '')}`];
  const name = host.includes(':') ? `[${host}]` : host;
  const plain = dir.length > 1 ? dir.replace(/\/+$/, '') : dir;
  return [`${name}:${plain}`];
}

function optionsOf(pool: CompletePoolDef): string[] {
  const given = pool.mountOptions.map(({ name }) => name);
  const version = pool.source?.protocolVersion;
  if (typeOf(pool) === 'nfs') return [...(version === undefined ? [] : [`nfsvers=${version}`]), ...given];
  // A share without a name to log in with is a public one; credentials come as options (credentials=/root/share).
  const hasUser = given.some((option) => /^(user|username|credentials|sec)=/.test(option));
  return typeOf(pool) === 'cifs' && !hasUser ? ['guest', ...given] : given;
}

/** Exports of an NFS server (showmount(8)). */
async function exportsOf(
  tools: Tools,
  source: PoolSource | undefined,
  work: Work = {},
): Promise<PoolSource[]> {
  const host = source?.hosts[0]?.name;
  const wanted = 'find storage pool sources';
  if (host === undefined)
    throw new VirtError('xml.invalid', { wanted, reason: 'host: is missing: it tells which server to ask' });
  try {
    const { stdout } = await tools('showmount', ['--no-headers', '--exports', '--', host], work);
    return stdout.split('\n').flatMap((line) => {
      const dir = /^(\/\S*)/.exec(line)?.[1];
      return dir === undefined ? [] : [{ hosts: [{ name: host }], devices: [], dir, format: 'nfs' }];
    });
  } catch (error) {
    throw poolFailure(error, wanted);
  }
}
