/** Puts together what snapshots of domains need: their files, and who works on images. */
import type { Logger } from '../base/log.ts';
import type { VolumeFinder } from '../drivers/driver.ts';
import {
  backingOf,
  createOverlay,
  hasData,
  isThere,
  mergeDown,
  removeImage,
  renameBacking,
} from '../storage/images/overlay-files.ts';
import { applyTag, createTag, deleteTag, hasTag } from '../storage/images/snapshot-tags.ts';
import type { DaemonPaths } from './paths.ts';
import { FirmwareFiles } from './services/snapshot-firmware.ts';
import type { ImageUsers, SnapshotOptions } from './services/snapshot-world.ts';
import { SnapshotStore } from './state/snapshots.ts';

export function buildSnapshots(parts: {
  readonly paths: Pick<DaemonPaths, 'snapshots' | 'tpm'>;
  readonly log: Logger;
  readonly volumes: Pick<VolumeFinder, 'find'>;
  readonly users: ImageUsers;
}): SnapshotOptions {
  const { paths, log, volumes, users } = parts;
  return {
    store: new SnapshotStore({ directory: paths.snapshots, log }),
    images: {
      ...{ createTag, applyTag, hasTag, deleteTag },
      ...{ isThere, hasData, createOverlay, backingOf, mergeDown, renameBacking, removeImage },
    },
    firmware: new FirmwareFiles(paths.tpm),
    volumes,
    users,
  };
}
