/** Kernels for guests out of packages as Debian and Ubuntu make them; apt is played by scripts, the packages are real. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { guestKernel } from '../../scripts/guest-image/kernel.ts';
import { describeWith } from '../support/needs.ts';

/** What a module says of itself that matters here, in the ELF section .modinfo. */
const moduleText = (name: string, depends: string) => `\x7fELF\0name=${name}\0depends=${depends}\0`;

describeWith(['dpkg-deb', 'zstd', 'xz'], 'the kernel of our guests', () => {
  let directory: string;
  let path: string | undefined;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vireo-kernel-'));
    path = process.env['PATH'];
    process.env['PATH'] = `${join(directory, 'bin')}:${path}`;
    // `show NAME` prints the file shown/NAME, or apt's words that there is none;
    // `download NAME` copies the package debs/NAME_1_all.deb.
    program(
      'apt-cache',
      `cat "${directory}/shown/$3" 2>/dev/null || { echo 'E: No packages found' >&2; exit 100; }`,
    );
    program('apt-get', `for name; do :; done; cp "${directory}/debs/\${name}_1_all.deb" .`);
  });
  afterEach(() => {
    process.env['PATH'] = path;
    rmSync(directory, { recursive: true, force: true });
  });

  function write(name: string, text: string): void {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text, 'latin1');
  }

  function program(name: string, script: string): void {
    write(`bin/${name}`, `#!/bin/sh\n${script}\n`);
    chmodSync(join(directory, 'bin', name), 0o755);
  }

  /** Makes a package of the files, which are packed by `compressor` when that is given. */
  async function makePackage(
    name: string,
    files: Record<string, string>,
    compressor?: string,
  ): Promise<void> {
    write(`shown/${name}`, `Package: ${name}\nVersion: 1\n`);
    write(
      `tree/${name}/DEBIAN/control`,
      `Package: ${name}\nVersion: 1\nArchitecture: all\nMaintainer: t <t@t>\nDescription: t\n`,
    );
    for (const [file, text] of Object.entries(files)) {
      write(`tree/${name}/${file}`, text);
      if (compressor !== undefined) await execa(compressor, ['-q', join(directory, 'tree', name, file)]);
      if (compressor === 'zstd') rmSync(join(directory, 'tree', name, file));
    }
    mkdirSync(join(directory, 'debs'), { recursive: true });
    await execa('dpkg-deb', ['-b', join(directory, 'tree', name), join(directory, `debs/${name}_1_all.deb`)]);
  }

  const modules = (version: string) => ({
    [`lib/modules/${version}/kernel/drivers/net/virtio_net.ko`]: moduleText('virtio_net', 'net_failover'),
    [`lib/modules/${version}/kernel/drivers/net/net_failover.ko`]: moduleText('net_failover', 'failover'),
    [`lib/modules/${version}/kernel/net/core/failover.ko`]: moduleText('failover', ''),
    [`lib/modules/${version}/kernel/drivers/usb/unwanted.ko`]: moduleText('unwanted', ''),
  });

  it('comes on Ubuntu from two packages, its modules packed with zstd, in loading order', async () => {
    write(
      'shown/linux-image-virtual',
      'Package: linux-image-virtual\nDepends: linux-image-6.8.0-31-generic, linux-firmware\n',
    );
    await makePackage('linux-image-6.8.0-31-generic', { 'boot/vmlinuz-6.8.0-31-generic': 'the kernel' });
    await makePackage('linux-modules-6.8.0-31-generic', modules('6.8.0-31-generic'), 'zstd');

    const said: string[] = [];
    const kernel = await guestKernel(join(directory, 'cache'), (line) => said.push(line));
    expect(kernel.packageName).toBe('linux-image-6.8.0-31-generic');
    expect(readFileSync(kernel.kernelPath, 'utf8')).toBe('the kernel');
    expect(kernel.modules).toEqual(['failover.ko', 'net_failover.ko', 'virtio_net.ko']);
    expect(readFileSync(join(kernel.moduleDirectory, 'failover.ko'), 'latin1')).toBe(
      moduleText('failover', ''),
    );
    expect(said).toHaveLength(1);
  });

  it('comes on Debian from one package, and is fetched once', async () => {
    write(
      'shown/linux-image-cloud-amd64',
      'Package: linux-image-cloud-amd64\nDepends: linux-image-6.12.9-cloud-amd64 (= 6.12.9-1)\n',
    );
    write(
      'shown/linux-image-cloud-arm64',
      'Package: linux-image-cloud-arm64\nDepends: linux-image-6.12.9-cloud-amd64 (= 6.12.9-1)\n',
    );
    const files = { 'boot/vmlinuz-6.12.9-cloud-amd64': 'the kernel', ...modules('6.12.9-cloud-amd64') };
    await makePackage('linux-image-6.12.9-cloud-amd64', files);

    const first = await guestKernel(join(directory, 'cache'), () => undefined);
    expect(first.modules).toEqual(['failover.ko', 'net_failover.ko', 'virtio_net.ko']);
    rmSync(join(directory, 'debs'), { recursive: true });
    const again = await guestKernel(join(directory, 'cache'), () => expect.fail('nothing is to be fetched'));
    expect(again).toEqual(first);
  });

  it('says what to do when apt knows none, and leaves nothing half made', async () => {
    program('apt-get', 'exit 0');
    const cache = join(directory, 'cache');
    await expect(guestKernel(cache, () => undefined)).rejects.toThrow(/apt-get update/);
    await expect(guestKernel(cache, () => undefined)).rejects.toThrow(/linux-image-virtual/);
  });

  it("tells apt's own trouble", async () => {
    program('apt-cache', `echo 'E: The package cache file is corrupted' >&2; exit 100`);
    await expect(guestKernel(join(directory, 'cache'), () => undefined)).rejects.toThrow(/is corrupted/);
  });
});
