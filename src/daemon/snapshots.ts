/** Puts together what snapshots of domains need: their files, and who works on images. */
import type { Logger } from '../base/log.ts';
import type { VolumeFinder } from '../drivers/driver.ts';
import { applyTag, createTag, deleteTag } from '../storage/images/snapshot-tags.ts';
import type { DaemonPaths } from './paths.ts';
import { FirmwareFiles } from './services/snapshot-firmware.ts';
import type { SnapshotOptions } from './services/snapshot-world.ts';
import { SnapshotStore } from './state/snapshots.ts';

export function buildSnapshots(parts: {
  readonly paths: Pick<DaemonPaths, 'snapshots' | 'tpm'>;
  readonly log: Logger;
  readonly volumes: Pick<VolumeFinder, 'find'>;
}): SnapshotOptions {
  const { paths, log, volumes } = parts;
  return {
    store: new SnapshotStore({ directory: paths.snapshots, log }),
    images: { createTag, applyTag, deleteTag },
    firmware: new FirmwareFiles(paths.tpm),
    volumes,
  };
}
