/** Typical definitions as people write them (test/golden/domains-run): each is defined, started by a real QEMU and runs. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { project, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { littleLinux } from '../support/guest-image.ts';
import { expectSchemaValid, schema } from '../support/libvirt-schema.ts';
import { describeWith } from '../support/needs.ts';

const definitions = join(project, 'test/golden/domains-run');
const needs = ['root', 'qemu-system-x86_64', 'qemu-img', 'xmllint', 'swtpm', schema, '/usr/share/OVMF'];

describeWith(needs, 'a typical definition', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let directory: string;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    directory = mkdtempSync('/tmp/vireo-run-');
    chmodSync(directory, 0o711);
    for (const name of ['disk.raw', 'cd.iso', 'floppy.img']) {
      writeFileSync(join(directory, name), '');
      truncateSync(join(directory, name), 1440 * 1024);
    }
    const create = ['create', '-q', '-f', 'qcow2'];
    execFileSync('qemu-img', [...create, join(directory, 'disk.qcow2'), '1M']);
    execFileSync('qemu-img', [...create, '-b', 'disk.raw', '-F', 'raw', join(directory, 'overlay.qcow2')]);
    const { kernel, initrd } = await littleLinux(directory);
    copyFileSync(kernel, join(directory, 'vmlinuz'));
    copyFileSync(initrd, join(directory, 'initrd'));
  });
  afterAll(async () => {
    await daemon.remove();
    rmSync(directory, { recursive: true });
    rmSync('/dev/shm/vireo-run-test', { force: true });
  });

  for (const file of readdirSync(definitions).sort())
    it(`${file} is defined in strict mode, runs, and is valid for libvirt's schema`, async () => {
      const xml = readFileSync(join(definitions, file), 'utf8').replaceAll('DIR/', `${directory}/`);
      const { domain } = await client.call('domain.define', { xml, strict: true });
      await client.call('domain.start', { domain: domain.uuid, paused: true });
      for (const inactive of [false, true])
        expectSchemaValid((await client.call('domain.xml', { domain: domain.uuid, inactive })).xml);
      await client.call('domain.resume', { domain: domain.uuid });
      expect(await client.call('domain.get', { domain: domain.uuid })).toMatchObject({ state: 'running' });
      const stored = (await client.call('domain.xml', { domain: domain.uuid, inactive: true, secure: true }))
        .xml;
      // Defined again, nothing moves.
      await client.call('domain.define', { xml: stored, strict: true });
      expect(
        (await client.call('domain.xml', { domain: domain.uuid, inactive: true, secure: true })).xml,
      ).toBe(stored);
      await client.call('domain.destroy', { domain: domain.uuid });
      await client.call('domain.undefine', { domain: domain.uuid, nvram: 'remove' });
    });
  it('with shared memory shares it between guests, though each has a user of its own', async () => {
    const xml = readFileSync(join(definitions, 'shared-memory.xml'), 'utf8');
    for (const name of ['one', 'two'])
      await client.call('domain.create-xml', {
        xml: xml.replace('<name>shared-memory', `<name>${name}`),
        paused: true,
      });
    const uids = qemuProcesses(daemon.root).map((pid) => statSync(`/proc/${pid}`).uid);
    expect(new Set(uids).size).toBe(2);
    expect(uids).toContain(statSync('/dev/shm/vireo-run-test').uid);
    for (const name of ['one', 'two']) await client.call('domain.destroy', { domain: name });
  });
});
