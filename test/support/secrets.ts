/** A secret service whose files lie below a directory of the test. */
import { join } from 'node:path';
import { silentLogger } from '../../src/base/log.ts';
import type { EventBus } from '../../src/daemon/services/events.ts';
import { SecretService } from '../../src/daemon/services/secret-service.ts';
import { DefinitionStore } from '../../src/daemon/state/definitions.ts';
import { SecretValues } from '../../src/daemon/state/secret-values.ts';

export function makeSecrets(directory: string, events: EventBus): SecretService {
  return new SecretService({
    definitions: new DefinitionStore({
      directory: join(directory, 'secrets'),
      quarantine: join(directory, 'quarantine'),
      noun: 'secret',
      log: silentLogger,
    }),
    values: new SecretValues({ directory: join(directory, 'values') }),
    events,
    log: silentLogger,
    jobWaitMs: 1000,
  });
}
