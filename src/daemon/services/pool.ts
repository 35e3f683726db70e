/** One storage pool as the daemon holds it, and the registry of all of them. */
import { VirtError } from '../../base/errors.ts';
import { JobQueue } from '../../base/jobs.ts';
import type { CompletePoolDef, PoolSpace, PoolType } from '../../model/storage/pool/pool.ts';
import type { VolumeFacts } from '../../storage/backend.ts';
import type { FormatRecord } from '../../storage/formats.ts';
import type { FileHeaderCache } from '../../storage/header-cache.ts';

/** What lists show of a definition; kept beside the text so that a list parses nothing. */
export interface PoolFacts {
  readonly type: PoolType;
  /** Where its volumes are, for pools that have a place on this host. */
  readonly path?: string;
  /** Where they come from, in short: `/dev/sdb1`, `nas:/export`. */
  readonly source?: string;
}

/** The active side of a pool. Sizes and volumes are those of the last refresh. */
export interface LivePool {
  readonly definition: CompletePoolDef;
  readonly startedAtMs: number;
  readonly formats: FormatRecord;
  readonly headers: FileHeaderCache;
  space: PoolSpace;
  /** Where the directory of the volumes really is, when the pool names it through a link. */
  realDirectory: string | undefined;
  /** By name, in the order of names. */
  volumes: Map<string, VolumeFacts>;
  refreshedAtMs: number;
  watcher: { close(): void } | undefined;
  /** Work on single volumes that goes on now, by name. */
  readonly volumeJobs: Map<string, JobQueue>;
}

/** A pool as events name it. */
export interface PoolIdentity {
  readonly uuid: string;
  readonly name: string;
}

/** A pool: stored, active, or both. Definitions are kept as text and parsed when somebody needs them. */
export class Pool {
  readonly uuid: string;
  readonly name: string;
  autostart = false;
  /** The stored definition; undefined for a transient pool. */
  xml: string | undefined;
  facts: PoolFacts | undefined;
  /** Header facts of the stored file that this version doesn't know. */
  extra: Readonly<Record<string, unknown>> | undefined;
  live: LivePool | undefined;
  readonly jobs: JobQueue;

  constructor(uuid: string, name: string) {
    this.uuid = uuid;
    this.name = name;
    this.jobs = new JobQueue(`pool '${name}'`, 'pool.busy');
  }

  get isPersistent(): boolean {
    return this.xml !== undefined;
  }

  get isActive(): boolean {
    return this.live !== undefined;
  }

  get identity(): PoolIdentity {
    return { uuid: this.uuid, name: this.name };
  }

  /** The active side, or the error that says it must be active. */
  requireLive(wanted: string): LivePool {
    if (this.live !== undefined) return this.live;
    throw new VirtError('pool.inactive', {
      wanted,
      reason: `storage pool '${this.name}' is not active`,
      hint: `start it with 'vireo pool start ${this.name}'`,
    });
  }
}

/** All pools, by uuid and name; both are unique. */
export class PoolRegistry {
  private readonly byUuid = new Map<string, Pool>();
  private readonly byName = new Map<string, Pool>();

  get all(): readonly Pool[] {
    return [...this.byUuid.values()];
  }

  withUuid(uuid: string): Pool | undefined {
    return this.byUuid.get(uuid);
  }

  withName(name: string): Pool | undefined {
    return this.byName.get(name);
  }

  /** Finds by uuid or name, the uuid first. */
  find(text: string): Pool | undefined {
    return this.byUuid.get(text.toLowerCase()) ?? this.byName.get(text);
  }

  /** Adds a pool; name and uuid must be free. */
  add(pool: Pool): void {
    this.byUuid.set(pool.uuid, pool);
    this.byName.set(pool.name, pool);
  }

  /** Takes a pool away that is neither stored nor active. */
  forgetIfGone(pool: Pool): void {
    if (pool.isPersistent || pool.isActive) return;
    if (this.byUuid.get(pool.uuid) === pool) this.byUuid.delete(pool.uuid);
    if (this.byName.get(pool.name) === pool) this.byName.delete(pool.name);
  }
}
