/** Where each distribution keeps its cloud images and their checksums: what they publish, as a table. */
import type { DistributionName } from '../../model/storage/image-reference.ts';

export interface Release {
  readonly version: string;
  /** The code name and other words for it. */
  readonly aliases: readonly string[];
}

/** Where an image is, and how it is found there. */
export interface ImagePlace {
  /** Below the mirror, ending with a slash. */
  readonly directory: string;
  /** Its name, or what its name looks like; the highest one counts. */
  readonly image: string | RegExp;
  /** The checksum file: by name, by what its name looks like, or named as the image with something behind. */
  readonly sums: { readonly name: string } | { readonly like: RegExp } | { readonly suffix: string };
}

export interface Distribution {
  readonly title: string;
  /** Who cloud-init makes when nobody is named. */
  readonly user: string;
  /** The distribution's own server, without a slash at the end. */
  readonly mirror: string;
  /** Architectures by libvirt's name, with the distribution's word. */
  readonly architectures: Readonly<Record<string, string>>;
  /** The newest first: that is `latest`, unless `latest` says how it is found out. */
  readonly releases: readonly Release[];
  /** Versions of this look are tried even when they are newer than this table. */
  readonly otherVersions?: RegExp;
  /** A directory of the mirror whose subdirectories are versions. */
  readonly latest?: { readonly directory: string; readonly version: RegExp };
  place(release: Release, arch: string): ImagePlace;
}

const release = (version: string, ...aliases: string[]): Release => ({ version, aliases });

/** https://cloud.debian.org/images/cloud/ has a directory for each code name, and a SHA512SUMS in each build. */
const debian: Distribution = {
  title: 'Debian',
  user: 'debian',
  mirror: 'https://cloud.debian.org/images/cloud',
  architectures: { x86_64: 'amd64', aarch64: 'arm64', ppc64le: 'ppc64el' },
  releases: [release('13', 'trixie', 'stable'), release('12', 'bookworm'), release('11', 'bullseye')],
  place: ({ version, aliases }, arch) => ({
    directory: `${aliases[0]}/latest/`,
    image: `debian-${version}-genericcloud-${arch}.qcow2`,
    sums: { name: 'SHA512SUMS' },
  }),
};

/** https://cloud-images.ubuntu.com/releases/ is by version; the .img files are qcow2. */
const ubuntu: Distribution = {
  title: 'Ubuntu Server',
  user: 'ubuntu',
  mirror: 'https://cloud-images.ubuntu.com/releases',
  architectures: {
    x86_64: 'amd64',
    aarch64: 'arm64',
    ppc64le: 'ppc64el',
    s390x: 's390x',
    riscv64: 'riscv64',
  },
  releases: [
    release('26.04', 'resolute', 'lts'),
    release('25.10', 'questing'),
    release('24.04', 'noble'),
    release('22.04', 'jammy'),
  ],
  otherVersions: /^\d\d\.(04|10)$/,
  place: ({ version }, arch) => ({
    directory: `${version}/release/`,
    image: `ubuntu-${version}-server-cloudimg-${arch}.img`,
    sums: { name: 'SHA256SUMS' },
  }),
};

/** Names have the number of the compose in them, so the directory's page is asked; CHECKSUM is signed in the clear. */
const fedora: Distribution = {
  title: 'Fedora Cloud Base',
  user: 'fedora',
  mirror: 'https://dl.fedoraproject.org/pub/fedora/linux/releases',
  architectures: { x86_64: 'x86_64', aarch64: 'aarch64', ppc64le: 'ppc64le', s390x: 's390x' },
  releases: [release('44'), release('43')],
  otherVersions: /^\d\d$/,
  latest: { directory: '', version: /^(\d\d)\/$/ },
  place: ({ version }, arch) => ({
    directory: `${version}/Cloud/${arch}/images/`,
    image: new RegExp(`^Fedora-Cloud-Base-Generic[-.][A-Za-z0-9._-]*${arch}[A-Za-z0-9._-]*\\.qcow2$`),
    sums: { like: /^Fedora-Cloud-[A-Za-z0-9._-]+-CHECKSUM$/ },
  }),
};

/** One .sha512 for each image, which holds nothing but the digits. */
const alpine: Distribution = {
  title: 'Alpine Linux',
  user: 'alpine',
  mirror: 'https://dl-cdn.alpinelinux.org/alpine',
  architectures: { x86_64: 'x86_64', aarch64: 'aarch64' },
  releases: [release('3.23'), release('3.22'), release('3.21')],
  otherVersions: /^3\.\d\d$/,
  latest: { directory: '', version: /^v(3\.\d\d)\/$/ },
  place: ({ version }, arch) => ({
    directory: `v${version}/releases/cloud/`,
    image: new RegExp(
      `^nocloud_alpine-${version.replace('.', '\\.')}\\.\\d+-${arch}-${arch === 'x86_64' ? 'bios' : 'uefi'}-cloudinit-r\\d+\\.qcow2$`,
    ),
    sums: { suffix: '.sha512' },
  }),
};

const rocky: Distribution = {
  title: 'Rocky Linux',
  user: 'rocky',
  mirror: 'https://dl.rockylinux.org/pub/rocky',
  architectures: { x86_64: 'x86_64', aarch64: 'aarch64', ppc64le: 'ppc64le', s390x: 's390x' },
  releases: [release('10'), release('9'), release('8')],
  otherVersions: /^\d\d$/,
  place: ({ version }, arch) => ({
    directory: `${version}/images/${arch}/`,
    image: `Rocky-${version}-GenericCloud-Base.latest.${arch}.qcow2`,
    sums: { suffix: '.CHECKSUM' },
  }),
};

/** Arch Linux rolls on: there is one image. */
const arch: Distribution = {
  title: 'Arch Linux',
  user: 'arch',
  mirror: 'https://geo.mirror.pkgbuild.com/images',
  architectures: { x86_64: 'x86_64' },
  releases: [release('rolling')],
  place: (_release, word) => ({
    directory: 'latest/',
    image: `Arch-Linux-${word}-cloudimg.qcow2`,
    sums: { suffix: '.SHA256' },
  }),
};

export const distributions: Readonly<Record<DistributionName, Distribution>> = {
  debian,
  ubuntu,
  fedora,
  alpine,
  rocky,
  arch,
};
