/** Puts together what checkpoints of domains need: their files, and who works on images. */
import type { Logger } from '../base/log.ts';
import type { VolumeFinder } from '../drivers/driver.ts';
import { deleteBitmap } from '../storage/images/bitmaps.ts';
import { backingOf } from '../storage/images/overlay-files.ts';
import type { DaemonPaths } from './paths.ts';
import type { CheckpointOptions } from './services/domain-checkpoints.ts';
import { CheckpointStore } from './state/checkpoints.ts';

export function buildCheckpoints(parts: {
  readonly paths: Pick<DaemonPaths, 'checkpoints'>;
  readonly log: Logger;
  readonly volumes: Pick<VolumeFinder, 'find'>;
}): CheckpointOptions {
  const { paths, log, volumes } = parts;
  return {
    store: new CheckpointStore({ directory: paths.checkpoints, log }),
    images: { volumes, backingOf, deleteBitmap },
  };
}
