/** A volume as libvirt's document shows it. */
import { formatVolume, type VolumeDef } from '../../model/storage/volume/volume.ts';
import type { VolumeFacts } from '../../storage/backend.ts';

export function volumeXml(volume: VolumeFacts): string {
  return formatVolume(definitionOf(volume));
}

export function definitionOf(volume: VolumeFacts): VolumeDef {
  const { backing, extents = [] } = volume;
  const devices = [...new Set(extents.map(({ device }) => device))].map((path) => ({
    path,
    extents: extents.filter(({ device }) => device === path).map(({ start, end }) => ({ start, end })),
  }));
  return {
    type: volume.type,
    name: volume.name,
    key: volume.key,
    ...(devices.length > 0 && { source: { devices } }),
    capacityBytes: volume.capacityBytes,
    allocationBytes: volume.allocationBytes,
    physicalBytes: volume.physicalBytes,
    target: targetOf(volume),
    ...(backing && {
      backingStore: { path: backing.path, ...(backing.format && { format: { type: backing.format } }) },
    }),
  };
}

function targetOf(volume: VolumeFacts): VolumeDef['target'] {
  const { permissions, timestamps, compat, clusterSizeBytes, lazyRefcounts, extendedL2 } = volume;
  const hasFeatures = lazyRefcounts === true || extendedL2 === true;
  return {
    path: volume.path,
    format: { type: volume.format },
    ...(permissions && { permissions }),
    ...(timestamps && { timestamps }),
    ...(volume.encryption === 'luks' && { encryption: { format: 'luks', secrets: [] } }),
    ...(compat !== undefined && { compat }),
    ...(clusterSizeBytes !== undefined && { clusterSizeBytes }),
    ...(hasFeatures && {
      features: {
        ...(lazyRefcounts === true && { lazyRefcounts: true }),
        ...(extendedL2 === true && { extendedL2: true }),
      },
    }),
  };
}
