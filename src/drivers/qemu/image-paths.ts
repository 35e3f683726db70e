/** The files and devices that the disks of a definition are on, with all layers it names. */
import { pathOfSource } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

export function imagePaths({ devices }: DomainDef): string[] {
  return devices.disks.flatMap(({ source, backingStore }) => {
    const layers = [source];
    for (let below = backingStore; below; below = below.backingStore) layers.push(below.source);
    return layers.flatMap((layer) => pathOfSource(layer) ?? []);
  });
}
