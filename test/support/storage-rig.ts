/** A storage service over directories of a test's own: real files, and images made without any program. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { PublishedEvent } from '../../src/api/index.ts';
import { silentLogger } from '../../src/base/log.ts';
import { EventBus } from '../../src/daemon/services/events.ts';
import { createJobs } from '../../src/daemon/services/jobs.ts';
import type { DiskUse } from '../../src/daemon/services/pool-world.ts';
import { StorageService } from '../../src/daemon/services/storage-service.ts';
import type { ImportSettings } from '../../src/daemon/services/volume-import.ts';
import { DefinitionStore } from '../../src/daemon/state/definitions.ts';
import { PoolStatusStore } from '../../src/daemon/state/pool-status.ts';
import { createBackends } from '../../src/storage/backends/backends.ts';
import type { ImageTools } from '../../src/storage/image-tools.ts';
import { wipeFile } from '../../src/storage/images/wipe.ts';
import type { Tools } from '../../src/storage/tools.ts';

/** Writes files of the wanted length, whose bytes are the format's name. */
export const plainImages: ImageTools = {
  async create(path, volume, work) {
    const handle = await open(path, 'wx', 0o600);
    try {
      await handle.truncate(volume.capacityBytes);
      work?.onProgress?.(volume.capacityBytes, volume.capacityBytes);
    } finally {
      await handle.close();
    }
  },
  async copy(_source, path, volume, work) {
    await plainImages.create(path, volume, work);
  },
  async resize(request) {
    const handle = await open(request.image.path, 'r+');
    await handle.truncate(request.capacityBytes);
    await handle.close();
  },
  wipe: wipeFile,
};

const noTools: Tools = (program) => Promise.reject(new Error(`${program} must not be run`));

export interface StorageRig {
  readonly storage: StorageService;
  readonly events: PublishedEvent[];
  /** Disks that domains have; a test puts some in. */
  readonly disks: DiskUse[];
  /** Holds everything; pools go below it. */
  readonly directory: string;
  /** A new directory for a pool. */
  place(name: string): string;
}

/** A service; with the directory of an earlier one it is as after a restart of the daemon. */
export function storageRig(
  options: {
    readonly directory?: string;
    readonly images?: ImageTools;
    readonly tools?: Tools;
    readonly disks?: DiskUse[];
    readonly imports?: ImportSettings;
    /** Where events go; else a bus of its own. */
    readonly bus?: EventBus;
  } = {},
): StorageRig {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'vireo-storage-'));
  const log = silentLogger;
  const bus = options.bus ?? new EventBus(log);
  const events: PublishedEvent[] = [];
  bus.subscribe((event) => events.push(event));
  const disks = options.disks ?? [];
  const images = options.images ?? plainImages;
  const storage = new StorageService({
    definitions: new DefinitionStore({
      directory: join(directory, 'definitions'),
      quarantine: join(directory, 'quarantine'),
      noun: 'pool',
      log,
    }),
    status: new PoolStatusStore({ directory: join(directory, 'status'), log }),
    backends: createBackends({ images, tools: options.tools ?? noTools, log }),
    images,
    disks: { disks: () => Promise.resolve(disks) },
    events: bus,
    jobs: createJobs(bus),
    log,
    jobWaitMs: 1000,
    trashDays: 7,
    imports: options.imports ?? {
      staging: join(directory, 'imports'),
      policy: { allowed: [] },
      maxBytes: 1024 ** 3,
    },
    formatDirectory: join(directory, 'formats'),
    headerDirectory: join(directory, 'headers'),
  });
  storage.open();
  onTestFinished(() => {
    storage.detach();
    rmSync(directory, { recursive: true, force: true });
  });
  const place = (name: string) => {
    const path = join(directory, name);
    mkdirSync(path, { recursive: true });
    return path;
  };
  return { storage, events, disks, directory, place };
}

export const dirPool = (name: string, path: string): string =>
  `<pool type='dir'><name>${name}</name><target><path>${path}</path></target></pool>`;
