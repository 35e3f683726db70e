/** What the storage services share: registry, backends, stores, events, and how a definition becomes facts and text. */
import { VirtError } from '../../base/errors.ts';
import type { RunningJob } from '../../base/job-registry.ts';
import type { JobQueue } from '../../base/jobs.ts';
import type { Logger } from '../../base/log.ts';
import type { SecretReference } from '../../model/secret/secret.ts';
import { type CompletePoolDef, formatPool, type PoolDef, parsePool } from '../../model/storage/pool/pool.ts';
import type { VolumeFormat } from '../../model/storage/volume/volume.ts';
import type { PoolBackend } from '../../storage/backend.ts';
import type { ImageTools } from '../../storage/image-tools.ts';
import type { DefinitionStore } from '../state/definitions.ts';
import type { PoolStatusStore } from '../state/pool-status.ts';
import type { EventBus } from './events.ts';
import type { Jobs } from './jobs.ts';
import type { LivePool, Pool, PoolFacts, PoolRegistry } from './pool.ts';
import type { SecretSource } from './volume-secrets.ts';

/** A disk of a domain, as its definition has it. */
export interface DiskUse {
  readonly domain: { readonly uuid: string; readonly name: string };
  readonly isActive: boolean;
  /** Paths of the disk's own image and of all layers below that the definition names. */
  readonly paths: readonly string[];
  /** The format of the first of them; raw where the definition says none. */
  readonly format: VolumeFormat;
  /** What it is to the domain: `disk vda`, `nvram`, `kernel`. */
  readonly as: string;
  /** A snapshot of the domain needs it, whatever the domain itself uses now. */
  readonly isSnapshot?: true;
  /** A disk that names pool and volume instead of a path. */
  readonly volume?: { readonly pool: string; readonly name: string };
  /** What opens the first of the paths, or the volume, where it is encrypted. */
  readonly secret?: SecretReference | undefined;
}

/** What storage asks of the domain side. */
export interface DiskDirectory {
  /** All disks of all domains, stored and running; broken definitions are left out. */
  disks(): Promise<readonly DiskUse[]>;
}

export interface PoolWorld {
  readonly registry: PoolRegistry;
  readonly definitions: DefinitionStore;
  readonly status: PoolStatusStore;
  readonly backends: (type: PoolDef['type']) => PoolBackend;
  readonly images: ImageTools;
  readonly disks: DiskDirectory;
  /** Absent in tests that have none: then no volume can be encrypted. */
  readonly secrets?: SecretSource | undefined;
  readonly events: EventBus;
  readonly jobs: Jobs;
  readonly log: Logger;
  /** How long a call waits for another job on the same pool. */
  readonly jobWaitMs: number;
  /** How long deleted volumes are kept; 0: not at all. */
  readonly trashDays: number;
  /** Where the records of volume formats are. */
  readonly formatDirectory: string;
  /** Where image headers are cached. */
  readonly headerDirectory: string;
  /** One definition at a time is checked against the others and taken in. */
  readonly defining: JobQueue;
}

export function factsOf(definition: PoolDef): PoolFacts {
  const path = definition.target?.path;
  const source = sourceText(definition);
  return {
    type: definition.type,
    ...(path !== undefined && { path }),
    ...(source !== undefined && { source }),
  };
}

/** `nas:/export`, `/dev/sdb1`, `vg0`. */
function sourceText({ source }: PoolDef): string | undefined {
  const host = source?.hosts[0]?.name;
  const what = source?.dir ?? source?.name ?? source?.devices[0]?.path ?? source?.adapter?.name;
  if (host !== undefined) return what === undefined ? host : `${host}:${what}`;
  return what;
}

/** Facts for lists: those of the active side where there is one. */
export function shownFacts(pool: Pool): PoolFacts {
  if (pool.live) return factsOf(pool.live.definition);
  return pool.facts ?? { type: 'dir' };
}

/** What guests see of all its volumes together, in bytes. */
export function promisedOf({ volumes }: LivePool): number {
  let bytes = 0;
  for (const { capacityBytes } of volumes.values()) bytes += capacityBytes;
  return Math.min(bytes, Number.MAX_SAFE_INTEGER);
}

export function storedXml(definition: PoolDef): string {
  return formatPool(definition, { inactive: true, secure: true });
}

/** Reads text that we wrote ourselves, or that was checked when it came in. */
export function parseTrusted(xml: string): CompletePoolDef {
  const { definition } = parsePool(xml, { mode: 'lenient' });
  const { uuid } = definition;
  if (uuid === undefined) throw new Error(`the stored pool '${definition.name}' has no uuid`);
  return { ...definition, uuid };
}

/** The stored definition. @throws VirtError pool.transient */
export function storedDefinition(pool: Pool, verb: string): CompletePoolDef {
  if (pool.xml === undefined) throw transient(pool, verb);
  return parseTrusted(pool.xml);
}

export function transient(pool: Pool, verb: string): VirtError {
  return new VirtError('pool.transient', {
    wanted: `${verb} pool '${pool.name}'`,
    reason: 'the pool is transient: it has no stored definition',
    hint: `store one with 'vireo pool xml ${pool.name} > FILE' and 'vireo pool define FILE'`,
  });
}

/** Runs a named job on a pool; it is told as events, and can be called off while `work` looks at its signal. */
export function runPoolJob<T>(
  world: PoolWorld,
  pool: Pool,
  name: string,
  work: (job: RunningJob) => Promise<T>,
  options: { readonly isCancellable?: boolean } = {},
): Promise<T> {
  return pool.jobs.run(
    name,
    () => {
      // The job before this one may have taken it away.
      if (world.registry.withUuid(pool.uuid) !== pool)
        throw new VirtError('pool.not-found', {
          wanted: `${name} pool '${pool.name}'`,
          reason: 'the pool is gone',
        });
      const object = { type: 'pool', ...pool.identity } as const;
      return world.jobs.run({ kind: name, object, ...options }, work);
    },
    { waitMs: world.jobWaitMs },
  );
}

/** Writes the status of an active pool as it is now. */
export async function savePoolStatus(
  world: PoolWorld,
  pool: Pool,
  definition: CompletePoolDef,
): Promise<void> {
  await world.status.save({
    format: 1,
    uuid: pool.uuid,
    name: pool.name,
    persistent: pool.isPersistent,
    startedAtMs: pool.live?.startedAtMs ?? Date.now(),
    xml: storedXml(definition),
  });
}
