/** What every domain service under test is made with: stores below a directory, and short patience. */
import { join } from 'node:path';
import { silentLogger } from '../../src/base/log.ts';
import { CheckpointStore } from '../../src/daemon/state/checkpoints.ts';
import { DefinitionStore } from '../../src/daemon/state/definitions.ts';
import { RuntimeStore } from '../../src/daemon/state/runtime.ts';
import { snapshotOptions } from './snapshot-options.ts';

export function domainOptions(directory: string) {
  const log = silentLogger;
  return {
    mode: 'system',
    log,
    snapshots: snapshotOptions(directory),
    definitions: new DefinitionStore({
      directory: join(directory, 'd'),
      quarantine: join(directory, 'q'),
      log,
    }),
    runtime: new RuntimeStore({ directory: join(directory, 'r'), log }),
    checkpoints: {
      store: new CheckpointStore({ directory: join(directory, 'c'), log }),
      images: {
        volumes: { find: () => Promise.reject(new Error('there are no volumes')) },
        backingOf: () => Promise.resolve(undefined),
        deleteBitmap: () => Promise.resolve(false),
      },
    },
    backupCertificates: join(directory, 'tls'),
    storage: () => {
      throw new Error('this test has no pools');
    },
    archives: {
      pending: join(directory, 'b'),
      plans: join(directory, 'plans'),
      images: join(directory, 'images'),
    },
    jobWaitMs: 1000,
    stopGraceMs: 1000,
    tpmDirectory: join(directory, 'tpm'),
    savedStates: { directory: join(directory, 'saves'), format: 'raw' },
  } as const;
}
