/** From a name such as `debian:13` to the URL and the checksum of an image, by the files that the distribution publishes. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import {
  type DistributionName,
  formatImageReference,
  type ImageReference,
} from '../../model/storage/image-reference.ts';
import type { ExpectedChecksum } from '../download/checksum.ts';
import { type Distribution, distributions, type ImagePlace, type Release } from './distributions.ts';
import { byVersion, parseListing, parseSums, sumOf } from './sums.ts';

/** An image of the catalogue, found. */
export interface CatalogueImage {
  readonly distribution: DistributionName;
  /** Never `latest`. */
  readonly version: string;
  readonly arch: string;
  readonly user: string;
  readonly url: string;
  readonly checksum: ExpectedChecksum;
}

export interface CatalogueOptions {
  /** Servers to ask instead of the distributions' own. */
  readonly mirrors: Readonly<Partial<Record<DistributionName, string | undefined>>>;
  /** libvirt's name of the host's architecture. */
  readonly hostArch: string;
  /** Gets a small text. @throws VirtError */
  readonly fetchText: (url: string, distribution: DistributionName) => Promise<string>;
}

/** The server that is asked for a distribution, without a slash at the end. */
export function mirrorOf(name: DistributionName, { mirrors }: Pick<CatalogueOptions, 'mirrors'>): string {
  return (mirrors[name] ?? distributions[name].mirror).replace(/\/+$/, '');
}

/** The architecture that is meant. @throws VirtError image.not-found */
export function archOf(reference: ImageReference, hostArch: string): string {
  const arch = reference.arch ?? hostArch;
  const { architectures, title } = distributions[reference.distribution];
  if (architectures[arch] !== undefined) return arch;
  throw notFound(
    reference,
    `${title} publishes no cloud image for ${arch}`,
    `there are ${Object.keys(architectures).join(', ')}`,
  );
}

/** A version as the table has it: `trixie` is 13; undefined for `latest` where only the server knows what that is. */
export function knownRelease(reference: ImageReference): Release | undefined {
  const { releases, latest, otherVersions } = distributions[reference.distribution];
  const { version } = reference;
  if (version === 'latest') return latest === undefined ? releases[0] : undefined;
  const known = releases.find((one) => one.version === version || one.aliases.includes(version));
  if (known !== undefined) return known;
  if (otherVersions?.test(version) === true) return { version, aliases: [] };
  throw notFound(
    reference,
    'there is no such version',
    `there are ${releases.map((one) => [one.version, ...one.aliases].join(' = ')).join(', ')}`,
  );
}

/** @throws VirtError image.not-found, download.* with the URL and the setting of the mirror */
export async function resolveImage(
  reference: ImageReference,
  options: CatalogueOptions,
): Promise<CatalogueImage> {
  const { distribution: name } = reference;
  const distribution = distributions[name];
  const arch = archOf(reference, options.hostArch);
  const mirror = mirrorOf(name, options);
  const fetch = (url: string) => fetchIndex(reference, url, options);
  const release = knownRelease(reference) ?? (await latestRelease(reference, distribution, mirror, fetch));
  const place = distribution.place(release, distribution.architectures[arch] ?? arch);
  const directory = `${mirror}/${place.directory}`;
  const { image, checksum } = await findImage(reference, directory, place, fetch);
  return {
    distribution: name,
    version: release.version,
    arch,
    user: distribution.user,
    url: `${directory}${encodeURIComponent(image)}`,
    checksum,
  };
}

type Fetch = (url: string) => Promise<string>;

async function fetchIndex(
  reference: ImageReference,
  url: string,
  options: CatalogueOptions,
): Promise<string> {
  const { distribution } = reference;
  try {
    return await options.fetchText(url, distribution);
  } catch (error) {
    if (!(error instanceof VirtError) || error.code === 'operation.aborted') throw error;
    throw new VirtError(error.code, {
      wanted: `find the image '${formatImageReference(reference)}'`,
      reason: `its index cannot be read: ${reasonOf(error)}`,
      hint: `check the network, or name a mirror: '${distribution}' in the section [catalogue] of vireod.toml`,
      details: { ...error.details, url, setting: `catalogue.${distribution}` },
      cause: error,
    });
  }
}

async function latestRelease(
  reference: ImageReference,
  { latest, releases }: Distribution,
  mirror: string,
  fetch: Fetch,
): Promise<Release> {
  if (latest === undefined)
    throw new Error(`${reference.distribution} has no way to find its latest release`);
  const directory = `${mirror}/${latest.directory}`;
  const versions = parseListing(await fetch(directory.endsWith('/') ? directory : `${directory}/`))
    .map((name) => latest.version.exec(name)?.[1])
    .filter((version) => version !== undefined)
    .sort(byVersion);
  const version = versions.at(-1);
  if (version === undefined) throw notFound(reference, `${directory} lists no version`);
  return releases.find((one) => one.version === version) ?? { version, aliases: [] };
}

async function findImage(
  reference: ImageReference,
  directory: string,
  place: ImagePlace,
  fetch: Fetch,
): Promise<{ readonly image: string; readonly checksum: ExpectedChecksum }> {
  const { sums } = place;
  if ('suffix' in sums) {
    const image =
      typeof place.image === 'string'
        ? place.image
        : pick(parseListing(await fetch(directory)), place.image, reference, directory);
    const found = parseSums(await fetch(`${directory}${encodeURIComponent(image + sums.suffix)}`));
    return { image, checksum: required(sumOf(found, image), image, reference, directory) };
  }
  const name =
    'name' in sums ? sums.name : pick(parseListing(await fetch(directory)), sums.like, reference, directory);
  const found = parseSums(await fetch(`${directory}${encodeURIComponent(name)}`));
  const image =
    typeof place.image === 'string'
      ? place.image
      : pick(
          found.map((sum) => sum.name),
          place.image,
          reference,
          directory,
        );
  const exact = found.find((sum) => sum.name === image)?.checksum;
  return { image, checksum: required(exact, image, reference, directory) };
}

function pick(
  names: readonly string[],
  pattern: RegExp,
  reference: ImageReference,
  directory: string,
): string {
  const name = names
    .filter((one) => pattern.test(one))
    .sort(byVersion)
    .at(-1);
  if (name === undefined)
    throw notFound(reference, `${directory} has nothing that looks like one`, mirrorHint(reference));
  return name;
}

function required(
  checksum: ExpectedChecksum | undefined,
  image: string,
  reference: ImageReference,
  directory: string,
): ExpectedChecksum {
  if (checksum !== undefined) return checksum;
  throw notFound(reference, `${directory} has no checksum of ${image}`, mirrorHint(reference));
}

const mirrorHint = ({ distribution }: ImageReference): string =>
  `another mirror may have it: '${distribution}' in the section [catalogue] of vireod.toml`;

function notFound(reference: ImageReference, reason: string, hint?: string): VirtError {
  return new VirtError('image.not-found', {
    wanted: `find the image '${formatImageReference(reference)}'`,
    reason,
    ...(hint !== undefined && { hint }),
  });
}
