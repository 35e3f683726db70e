/** Which domains name an image file, whatever for: those that run and those that are stored. */
import { isVirtError } from '../../base/errors.ts';
import { layersOf, mirrorLayers, pathOfSource } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { type DomainWorld, storedDefinition } from './world.ts';

/** Of these paths, those that are used, with the name of a domain that does. */
export function usersOfPaths(world: DomainWorld, paths: readonly string[]): ReadonlyMap<string, string> {
  const asked = new Set(paths);
  const found = new Map<string, string>();
  for (const domain of world.registry.all) {
    const definitions = [domain.live?.guest.definition, storedOf(domain)];
    for (const path of definitions.flatMap((one) => (one === undefined ? [] : pathsOf(one))))
      if (asked.has(path)) found.set(path, domain.name);
  }
  return found;
}

type Domain = Parameters<typeof storedDefinition>[0];

/** A definition that cannot be read is told where it is used; here it names nothing. */
function storedOf(domain: Domain): DomainDef | undefined {
  if (domain.xml === undefined) return undefined;
  try {
    return storedDefinition(domain, domain.xml);
  } catch (error) {
    if (isVirtError(error)) return undefined;
    throw error;
  }
}

function pathsOf({ devices }: DomainDef): string[] {
  return devices.disks.flatMap((disk) =>
    [...layersOf(disk), ...mirrorLayers(disk)].flatMap(({ source }) => pathOfSource(source) ?? []),
  );
}
