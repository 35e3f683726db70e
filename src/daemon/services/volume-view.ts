/** A volume as libvirt's document shows it. */
import { formatVolume, type VolumeDef } from '../../model/storage/volume/volume.ts';
import type { VolumeFacts } from '../../storage/backend.ts';

/** `secret`: the uuid of the secret that is for it, if it is encrypted. */
export function volumeXml(volume: VolumeFacts, secret?: string): string {
  return formatVolume(definitionOf(volume, secret));
}

function definitionOf(volume: VolumeFacts, secret: string | undefined): VolumeDef {
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
    target: targetOf(volume, secret),
    ...(backing && {
      backingStore: { path: backing.path, ...(backing.format && { format: { type: backing.format } }) },
    }),
  };
}

function targetOf(volume: VolumeFacts, secret: string | undefined): VolumeDef['target'] {
  const { permissions, timestamps, compat, clusterSizeBytes, lazyRefcounts, extendedL2 } = volume;
  const hasFeatures = lazyRefcounts === true || extendedL2 === true;
  return {
    path: volume.path,
    format: { type: volume.format },
    ...(permissions && { permissions }),
    ...(timestamps && { timestamps }),
    ...(volume.encryption === 'luks' && {
      encryption: {
        format: 'luks',
        secrets: secret === undefined ? [] : [{ type: 'passphrase', uuid: secret }],
      },
    }),
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
