/** The files of stored networks. */
import { Network, type NetworkFacts } from './network.ts';
import { factsOf, type NetworkWorld, parseTrusted, runNetworkJob } from './network-world.ts';
import { StoredFiles } from './stored-files.ts';

export type NetworkFiles = StoredFiles<Network, NetworkFacts>;

export function networkFiles(world: NetworkWorld): NetworkFiles {
  const { definitions, registry, log, events } = world;
  return new StoredFiles({
    noun: 'network',
    definitions,
    registry,
    log,
    make: (uuid, name) => new Network(uuid, name),
    readFacts,
    inspect(xml) {
      const definition = parseTrusted(xml);
      return { uuid: definition.uuid, name: definition.name, facts: factsOf(definition) };
    },
    runJob: (network, name, work) => runNetworkJob(world, network, name, work),
    tellDefined: ({ identity }, isNew) =>
      events.publish({ event: 'network.defined', network: identity, isNew }),
    tellAside: (file) => events.publish({ event: 'network.quarantined', ...file }),
  });
}

function readFacts(raw: Readonly<Record<string, unknown>>): NetworkFacts | undefined {
  const { mode, bridge, subnets, title } = raw;
  if (typeof mode !== 'string' || !Array.isArray(subnets)) return undefined;
  return {
    ...(typeof title === 'string' && { title }),
    mode,
    ...(typeof bridge === 'string' && { bridge }),
    subnets: subnets.filter((subnet) => typeof subnet === 'string'),
  };
}
