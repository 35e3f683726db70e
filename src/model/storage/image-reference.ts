/** How people name an image of the catalogue: `debian:13`, `ubuntu:noble`, `alpine`, `fedora:43:aarch64`. */
import { VirtError } from '../../base/errors.ts';

/** Distributions that publish cloud images which the catalogue knows. */
export const distributionNames = ['debian', 'ubuntu', 'fedora', 'alpine', 'rocky', 'arch'] as const;
export type DistributionName = (typeof distributionNames)[number];

export interface ImageReference {
  readonly distribution: DistributionName;
  /** A version, a code name, or `latest`. */
  readonly version: string;
  /** libvirt's name of an architecture; undefined: the host's. */
  readonly arch?: string;
}

const PATTERN = /^([a-z]+)(?::([A-Za-z0-9][A-Za-z0-9._-]{0,31}))?(?::([a-z0-9_]{1,16}))?$/;

/** Debian's and Go's words for architectures that libvirt calls otherwise. */
const archAliases: Readonly<Record<string, string>> = {
  amd64: 'x86_64',
  arm64: 'aarch64',
  ppc64el: 'ppc64le',
};

/** Undefined for what cannot be one: a path, or a distribution nobody knows. */
export function readImageReference(text: string): ImageReference | undefined {
  const [, name, version = 'latest', arch] = PATTERN.exec(text) ?? [];
  const distribution = distributionNames.find((one) => one === name);
  if (distribution === undefined) return undefined;
  return {
    distribution,
    version: version.toLowerCase(),
    ...(arch !== undefined && { arch: archAliases[arch] ?? arch }),
  };
}

/** @throws VirtError image.not-found */
export function parseImageReference(text: string): ImageReference {
  const reference = readImageReference(text);
  if (reference !== undefined) return reference;
  throw new VirtError('image.not-found', {
    wanted: `find the image '${text.slice(0, 80)}'`,
    reason: 'the catalogue knows no such distribution',
    hint: `it knows ${distributionNames.join(', ')}; write NAME:VERSION, like debian:13`,
  });
}

export function formatImageReference({ distribution, version, arch }: ImageReference): string {
  return [distribution, version, ...(arch === undefined ? [] : [arch])].join(':');
}
