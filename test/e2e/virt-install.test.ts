/** What virt-install and virt-manager write is defined, started by a real QEMU, and printed as libvirt's schema has it. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { TestDaemon } from '../support/daemon.ts';
import { littleLinux } from '../support/guest-image.ts';
import { expectSchemaValid, schema } from '../support/libvirt-schema.ts';
import { describeWith } from '../support/needs.ts';
import { virtInstallCases, virtInstallUri, virtInstallXml } from '../support/virt-install.ts';

const needs = [
  'root',
  'qemu-system-x86_64',
  'qemu-img',
  'virt-install',
  'xmllint',
  'swtpm',
  schema,
  '/usr/share/OVMF',
];

/** What anybody may plug into a guest that virt-install made. */
const plugged = "<interface type='user'><model type='virtio'/></interface>";

describeWith(needs, "virt-install's definition", () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let uri: string;
  let directory: string;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    // QEMU opens a shared directory by itself, as the guest's user, so that one may get there.
    directory = mkdtempSync('/tmp/vireo-vi-');
    chmodSync(directory, 0o711);
    mkdirSync(join(directory, 'share'));
    chmodSync(join(directory, 'share'), 0o777);
    for (const name of ['disk.raw', 'disk2.raw', 'cd.iso']) {
      writeFileSync(join(directory, name), '');
      truncateSync(join(directory, name), 1024 * 1024);
    }
    const { kernel, initrd } = await littleLinux(directory);
    copyFileSync(kernel, join(directory, 'vmlinuz'));
    copyFileSync(initrd, join(directory, 'initrd'));
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', join(directory, 'disk.qcow2'), '1M']);
    uri = await virtInstallUri(client, directory);
  });
  afterAll(async () => {
    await daemon.remove();
    rmSync(directory, { recursive: true });
  });

  for (const name of Object.keys(virtInstallCases))
    it(`${name} is defined in strict mode, started, takes a card while it runs, and is valid for libvirt's schema`, async () => {
      const xml = await virtInstallXml(uri, name, directory);
      const { domain, dropped } = await client.call('domain.define', { xml, strict: true });
      expect(dropped).toEqual([]);
      const paused = await client.call('domain.start', { domain: domain.uuid, paused: true });
      expect(paused).toMatchObject({ active: true, state: 'paused' });
      await client.call('domain.attach-device', { domain: domain.uuid, xml: plugged, live: true });
      for (const inactive of [false, true])
        expectSchemaValid((await client.call('domain.xml', { domain: domain.uuid, inactive })).xml);
      await client.call('domain.destroy', { domain: domain.uuid });
      await client.call('domain.undefine', { domain: domain.uuid, nvram: 'remove' });
    });

  it('with what only KVM has is refused, and says what works', async () => {
    const xml = (await virtInstallXml(uri, 'import', directory)).replace(
      '<devices>',
      "<cpu mode='host-passthrough'/><devices>",
    );
    await expect(client.call('domain.define', { xml })).rejects.toThrow(/needs KVM; use 'maximum'/);
  });
});
