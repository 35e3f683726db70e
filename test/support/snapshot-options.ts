/** Snapshots for domain services of unit tests: below a directory, with images that nobody touches. */
import { join } from 'node:path';
import { silentLogger } from '../../src/base/log.ts';
import { FirmwareFiles } from '../../src/daemon/services/snapshot-firmware.ts';
import type { SnapshotOptions } from '../../src/daemon/services/snapshot-world.ts';
import { SnapshotStore } from '../../src/daemon/state/snapshots.ts';

/** `done` hears of what is done to images, in words. */
export function snapshotOptions(directory: string, done: string[] = []): SnapshotOptions {
  const note =
    (verb: string) =>
    async (...words: readonly string[]) =>
      void done.push([verb, ...words].join(' '));
  return {
    store: new SnapshotStore({
      directory: join(directory, 'snapshots'),
      log: silentLogger,
    }),
    images: {
      ...{ createTag: note('tag'), applyTag: note('apply'), deleteTag: note('untag') },
      hasTag: () => Promise.resolve(true),
      isThere: () => Promise.resolve(false),
      hasData: () => Promise.resolve(false),
      createOverlay: (path, below) => note('overlay')(path, below.path),
      backingOf: () => Promise.resolve(undefined),
      mergeDown: (chain) => note('merge')(...chain.map(({ path }) => path)),
      renameBacking: (image, below) => note('rename')(image.path, below.path),
      removeImage: note('remove'),
    },
    users: { find: () => Promise.resolve(new Map()) },
    firmware: new FirmwareFiles(join(directory, 'tpm')),
    volumes: { find: () => Promise.reject(new Error('there are no pools here')) },
  };
}
