/** Puts the storage side together: the kinds of pools, and the service on top of them. */
import { join } from 'node:path';
import type { Logger } from '../base/log.ts';
import type { VolumeFinder } from '../drivers/driver.ts';
import { createBackends } from '../storage/backends/backends.ts';
import { qemuImgTools } from '../storage/qemu-img-tools.ts';
import { hostTools } from '../storage/tools.ts';
import type { DaemonConfig } from './config.ts';
import type { DaemonPaths } from './paths.ts';
import type { DomainService } from './services/domain-service.ts';
import type { EventBus } from './services/events.ts';
import { imageUsers } from './services/image-users.ts';
import type { Jobs } from './services/jobs.ts';
import type { ImageUsers } from './services/snapshot-world.ts';
import { diskDirectory } from './services/storage-guests.ts';
import { StorageService } from './services/storage-service.ts';
import { volumeFinder } from './services/volume-finder.ts';
import type { ImportSettings } from './services/volume-import.ts';
import type { SecretSource } from './services/volume-secrets.ts';
import { DefinitionStore } from './state/definitions.ts';
import { PoolStatusStore } from './state/pool-status.ts';

/** Storage as the daemon runs it. */
export interface Storage {
  readonly service: StorageService;
  /** What starts of guests ask. */
  readonly volumes: VolumeFinder;
  /** Who uses images, for snapshots that let go of them. */
  readonly users: ImageUsers;
  /** Brings pools up, and defines `default` at the first start. Failures are logged. */
  bringUp(): Promise<void>;
}

export function buildStorage(parts: {
  readonly paths: DaemonPaths;
  readonly config: DaemonConfig;
  readonly log: Logger;
  readonly events: EventBus;
  readonly jobs: Jobs;
  readonly secrets: SecretSource;
  readonly domains: () => DomainService;
}): Storage {
  const { paths, config, log, events, jobs, secrets, domains } = parts;
  const images = qemuImgTools;
  const disks = diskDirectory(domains);
  const service = new StorageService({
    definitions: new DefinitionStore({
      directory: paths.pools,
      quarantine: paths.poolQuarantine,
      noun: 'pool',
      log,
    }),
    status: new PoolStatusStore({ directory: paths.poolStatus, log }),
    backends: createBackends({ images, tools: hostTools, log }),
    images,
    disks,
    secrets,
    events,
    jobs,
    log,
    jobWaitMs: config.daemon.job_wait_seconds * 1000,
    trashDays: config.storage.trash_days,
    imports: importSettings(paths, config),
    formatDirectory: paths.volumeFormats,
    headerDirectory: paths.volumeHeaders,
  });
  const defineDefault = async () => {
    if (!config.storage.define_default) return;
    try {
      await service.creation.defineDefault(paths.defaultPoolMarker, paths.images);
    } catch (error) {
      log.error({ err: error }, "the storage pool 'default' could not be defined");
    }
  };
  const volumes = volumeFinder(service, disks);
  return {
    service,
    volumes,
    users: imageUsers(service, disks),
    bringUp: () => service.bringUp(join(paths.runtime, 'pools-autostarted'), defineDefault),
  };
}

/** What may be brought in, and where it waits. */
export function importSettings(paths: DaemonPaths, { storage }: DaemonConfig): ImportSettings {
  return {
    staging: paths.importStaging,
    policy: { allowed: storage.allow_import_urls },
    maxBytes: Math.floor(storage.import_limit_gib * 1024 ** 3),
  };
}
