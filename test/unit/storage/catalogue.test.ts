/** The catalogue: every distribution's layout, from recorded forms of the files that they publish. */
import { describe, expect, it } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { parseImageReference } from '../../../src/model/storage/image-reference.ts';
import { resolveImage } from '../../../src/storage/catalogue/resolve.ts';
import { parseListing, parseSums } from '../../../src/storage/catalogue/sums.ts';

const sha256 = (digit: string) => digit.repeat(64);
const sha512 = (digit: string) => digit.repeat(128);

/** A page as Apache writes it: sorting links, the parent, the names. */
const page = (...names: string[]) =>
  `<html><body><table><tr><th><a href="?C=N;O=D">Name</a></th></tr><tr><td><a href="/pub/">Parent Directory</a></td></tr>${names
    .map((name) => `<tr><td><a href="${name}">${name}</a></td><td align="right">2026-01-01</td></tr>`)
    .join('\n')}</table><a href="https://evil.example/x.qcow2">x</a></body></html>`;

const fedoraSums = `-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

# Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2: 583532544 bytes
SHA256 (Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2) = ${sha256('a')}
# Fedora-Cloud-Base-UEFI-UKI-43-1.6.x86_64.qcow2: 583532544 bytes
SHA256 (Fedora-Cloud-Base-UEFI-UKI-43-1.6.x86_64.qcow2) = ${sha256('b')}
-----BEGIN PGP SIGNATURE-----

iQIzBAEBCAAdFiEExxxx
=abcd
-----END PGP SIGNATURE-----
`;

/** Mirrors by URL. */
const web: Readonly<Record<string, string>> = {
  'https://cloud.debian.org/images/cloud/trixie/latest/SHA512SUMS': `${sha512('1')}  debian-13-generic-amd64.qcow2\n${sha512('2')}  debian-13-genericcloud-amd64.qcow2\n${sha512('3')}  debian-13-genericcloud-arm64.qcow2\n`,
  'https://cloud-images.ubuntu.com/releases/24.04/release/SHA256SUMS': `${sha256('4')} *ubuntu-24.04-server-cloudimg-amd64.img\n${sha256('5')} *ubuntu-24.04-server-cloudimg-amd64.squashfs\n`,
  'https://dl.fedoraproject.org/pub/fedora/linux/releases/': page('9/', '42/', '43/', 'test/'),
  'https://dl.fedoraproject.org/pub/fedora/linux/releases/43/Cloud/x86_64/images/': page(
    'Fedora-Cloud-43-1.6-x86_64-CHECKSUM',
    'Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2',
  ),
  'https://dl.fedoraproject.org/pub/fedora/linux/releases/43/Cloud/x86_64/images/Fedora-Cloud-43-1.6-x86_64-CHECKSUM':
    fedoraSums,
  'https://dl-cdn.alpinelinux.org/alpine/': page('v3.9/', 'v3.10/', 'v3.22/', 'edge/', 'latest-stable/'),
  'https://dl-cdn.alpinelinux.org/alpine/v3.22/releases/cloud/': page(
    'nocloud_alpine-3.22.2-x86_64-bios-cloudinit-r0.qcow2',
    'nocloud_alpine-3.22.2-x86_64-bios-cloudinit-r0.qcow2.sha512',
    'nocloud_alpine-3.22.10-x86_64-bios-cloudinit-r0.qcow2',
    'nocloud_alpine-3.22.10-x86_64-uefi-cloudinit-r0.qcow2',
    'aws_alpine-3.22.11-x86_64-bios-cloudinit-r0.vhd',
  ),
  'https://dl-cdn.alpinelinux.org/alpine/v3.22/releases/cloud/nocloud_alpine-3.22.10-x86_64-bios-cloudinit-r0.qcow2.sha512': `${sha512('6')}\n`,
  'https://dl.rockylinux.org/pub/rocky/9/images/x86_64/Rocky-9-GenericCloud-Base.latest.x86_64.qcow2.CHECKSUM': `# Rocky-9-GenericCloud-Base.latest.x86_64.qcow2: 609157120 bytes\nSHA256 (Rocky-9-GenericCloud-Base.latest.x86_64.qcow2) = ${sha256('7')}\n`,
  'https://geo.mirror.pkgbuild.com/images/latest/Arch-Linux-x86_64-cloudimg.qcow2.SHA256': `${sha256('8')}  Arch-Linux-x86_64-cloudimg-20261115.123456.qcow2\n`,
};

function resolve(text: string, mirrors = {}, hostArch = 'x86_64') {
  return resolveImage(parseImageReference(text), {
    mirrors,
    hostArch,
    fetchText: async (url) => {
      const found = web[url];
      if (found !== undefined) return found;
      throw new VirtError('download.failed', { reason: `${url}: the server answered 404 (Not Found)` });
    },
  });
}

describe('the catalogue', () => {
  it.each([
    ['debian:13', '13', 'trixie/latest/debian-13-genericcloud-amd64.qcow2', sha512('2')],
    ['debian', '13', 'trixie/latest/debian-13-genericcloud-amd64.qcow2', sha512('2')],
    ['debian:trixie:arm64', '13', 'trixie/latest/debian-13-genericcloud-arm64.qcow2', sha512('3')],
    ['ubuntu:noble', '24.04', '24.04/release/ubuntu-24.04-server-cloudimg-amd64.img', sha256('4')],
    ['fedora', '43', '43/Cloud/x86_64/images/Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2', sha256('a')],
    [
      'alpine:latest',
      '3.22',
      'v3.22/releases/cloud/nocloud_alpine-3.22.10-x86_64-bios-cloudinit-r0.qcow2',
      sha512('6'),
    ],
    ['rocky:9', '9', '9/images/x86_64/Rocky-9-GenericCloud-Base.latest.x86_64.qcow2', sha256('7')],
    ['arch', 'rolling', 'latest/Arch-Linux-x86_64-cloudimg.qcow2', sha256('8')],
  ])('finds %s', async (text, version, path, hex) => {
    const found = await resolve(text);
    expect(found.version).toBe(version);
    expect(found.url.endsWith(`/${path}`), found.url).toBe(true);
    expect(found.checksum.hex).toBe(hex);
  });

  it('says which URL could not be read, and which setting names a mirror', async () => {
    const mirrors = { debian: 'https://mirror.example/debian/' };
    await expect(resolve('debian:12', mirrors)).rejects.toMatchObject({
      code: 'download.failed',
      message: expect.stringContaining('https://mirror.example/debian/bookworm/latest/SHA512SUMS'),
      hint: expect.stringContaining("'debian' in the section [catalogue]"),
    });
  });

  it('tells what there is instead of a version or an architecture that there is not', async () => {
    await expect(resolve('debian:99')).rejects.toMatchObject({
      code: 'image.not-found',
      hint: expect.stringContaining('13 = trixie'),
    });
    await expect(resolve('arch:latest:aarch64')).rejects.toMatchObject({ code: 'image.not-found' });
    await expect(resolve('ubuntu:24.04:ppc64el')).rejects.toMatchObject({
      code: 'image.not-found',
      message: expect.stringContaining('no checksum of ubuntu-24.04-server-cloudimg-ppc64el.img'),
    });
    for (const bad of ['windows:11', 'debian:13/../x', 'debian:', '/etc/passwd', 'debian:13:x:y'])
      expect(() => parseImageReference(bad)).toThrow(expect.objectContaining({ code: 'image.not-found' }));
  });
});

describe('index files', () => {
  it('give nothing that leads out of their directory', () => {
    expect(
      parseSums(`${sha256('a')}  ../x\n${sha256('a')}  /etc/x\nSHA256 (a/b) = ${sha256('a')}\n`),
    ).toEqual([]);
    expect(parseListing(page('ok.img', '../x', '/abs', 'javascript:x', 'a%2fb', '.hidden'))).toEqual([
      'ok.img',
    ]);
  });

  it('are nothing when they are noise', () => {
    for (const noise of ['', '\0\xff', '<html>', `${'a'.repeat(65)} x`, 'a'.repeat(1_000_000)]) {
      expect(parseSums(noise)).toEqual([]);
      expect(parseListing(noise)).toEqual([]);
    }
  });
});
