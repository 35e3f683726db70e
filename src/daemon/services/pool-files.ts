/** The files of stored pools. */
import { poolTypes } from '../../model/storage/pool/pool.ts';
import { Pool, type PoolFacts } from './pool.ts';
import { factsOf, type PoolWorld, parseTrusted, runPoolJob } from './pool-world.ts';
import { StoredFiles } from './stored-files.ts';

export type PoolFiles = StoredFiles<Pool, PoolFacts>;

export function poolFiles(world: PoolWorld): PoolFiles {
  const { definitions, registry, log, events } = world;
  return new StoredFiles({
    noun: 'pool',
    definitions,
    registry,
    log,
    make: (uuid, name) => new Pool(uuid, name),
    readFacts,
    inspect(xml) {
      const definition = parseTrusted(xml);
      return { uuid: definition.uuid, name: definition.name, facts: factsOf(definition) };
    },
    runJob: (pool, name, work) => runPoolJob(world, pool, name, work),
    tellDefined: ({ identity }, isNew) => events.publish({ event: 'pool.defined', pool: identity, isNew }),
    tellAside: (file) => events.publish({ event: 'pool.quarantined', ...file }),
  });
}

function readFacts(raw: Readonly<Record<string, unknown>>): PoolFacts | undefined {
  const { type, path, source } = raw;
  const known = poolTypes.find((one) => one === type);
  if (known === undefined) return undefined;
  return {
    type: known,
    ...(typeof path === 'string' && { path }),
    ...(typeof source === 'string' && { source }),
  };
}
