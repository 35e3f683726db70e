/** The files and devices that the disks of a definition are on, with all layers it names. */
import type { DiskSource } from '../../model/domain/devices/source.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

export function imagePaths({ devices }: DomainDef): string[] {
  return devices.disks.flatMap(({ source, backingStore }) => {
    const paths = pathOf(source);
    for (let below = backingStore; below; below = below.backingStore) paths.push(...pathOf(below.source));
    return paths;
  });
}

function pathOf(source: DiskSource): string[] {
  if (source.type === 'file' && source.file !== undefined) return [source.file];
  return source.type === 'block' && source.dev !== undefined ? [source.dev] : [];
}
