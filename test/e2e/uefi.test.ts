/** UEFI guests: firmware is chosen, starts, and keeps its variables from one run to the next. */
import { readFileSync, statSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const descriptors = '/usr/share/qemu/firmware';

describeWith(['root', 'qemu-system-x86_64', descriptors, '/usr/share/OVMF'], 'a UEFI guest', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
  });
  afterAll(() => daemon.remove());
  afterEach(async () => {
    for (const { uuid, active } of (await client.call('domain.list')).domains) {
      if (active) await client.call('domain.destroy', { domain: uuid });
      await client.call('domain.undefine', { domain: uuid, nvram: 'remove' });
    }
  });

  const uefi = (more = '') => `<domain type='qemu'><name>uefi</name><memory unit='MiB'>256</memory>
    <os firmware='efi'><type machine='q35'>hvm</type>${more}</os><features><acpi/></features>
    <devices><serial type='pty'/></devices></domain>`;

  async function define(xml = uefi()): Promise<string> {
    await client.call('domain.define', { xml });
    return (await client.call('domain.xml', { domain: 'uefi' })).xml;
  }

  const nvramOf = (xml: string): string => /<nvram[^>]*>([^<]+)<\/nvram>/.exec(xml)?.[1] ?? '';

  /** Boots, and reads what the firmware says on the serial port until it has nothing to boot. */
  async function firmwareSays(): Promise<string> {
    await client.call('domain.start', { domain: 'uefi', paused: true });
    const { stream } = await client.upgrade('domain.console', { domain: 'uefi' });
    await client.call('domain.resume', { domain: 'uefi' });
    return readUntil(stream, /BdsDxe: (failed to )?(load|start)|UEFI Interactive Shell|PXE/);
  }

  it('is given firmware and a file for its variables, which it keeps over restarts', async () => {
    const xml = await define(uefi("<loader secure='no'/>"));
    expect(xml).toMatch(/<loader readonly='yes' secure='no' type='pflash'/);
    const nvram = nvramOf(xml);
    expect(nvram).toMatch(new RegExp(`^${daemon.root}/var/lib/vireo/.*_VARS\\.fd$`));
    expect(() => statSync(nvram)).toThrow(/ENOENT/);
    expect(await firmwareSays()).toMatch(/BdsDxe|UEFI|PXE/);
    expect(statSync(nvram)).toMatchObject({ uid: 0, mode: 0o100600 });
    await client.call('domain.destroy', { domain: 'uefi' });
    const template = /template='([^']+)'/.exec(xml)?.[1] ?? '';
    const kept = readFileSync(nvram);
    // The firmware has written its boot entries.
    expect(kept.equals(readFileSync(template))).toBe(false);
    await client.call('domain.start', { domain: 'uefi', paused: true });
    expect(readFileSync(nvram).equals(kept)).toBe(true);
    await client.call('domain.destroy', { domain: 'uefi' });
    await client.call('domain.start', { domain: 'uefi', paused: true, resetNvram: true });
    expect(readFileSync(nvram).equals(readFileSync(template))).toBe(true);
  });

  it('is not forgotten before it is said what becomes of its variables', async () => {
    const nvram = nvramOf(await define());
    await client.call('domain.undefine', { domain: 'uefi' }); // It has none yet.
    await define();
    const fresh = nvramOf((await client.call('domain.xml', { domain: 'uefi' })).xml);
    expect(fresh).not.toBe(nvram);
    await client.call('domain.start', { domain: 'uefi', paused: true });
    await expect(client.call('domain.undefine', { domain: 'uefi' })).rejects.toThrow(/firmware variables/);
    await expect(client.call('domain.undefine', { domain: 'uefi', nvram: 'remove' })).rejects.toThrow(
      expect.objectContaining({ code: 'domain.active' }),
    );
    await client.call('domain.destroy', { domain: 'uefi' });
    await client.call('domain.undefine', { domain: 'uefi', nvram: 'keep' });
    expect(statSync(fresh).isFile()).toBe(true);
    await define(uefi().replace('<memory', `<uuid>${/([0-9a-f-]{36})_VARS/.exec(fresh)?.[1]}</uuid><memory`));
    await client.call('domain.undefine', { domain: 'uefi', nvram: 'remove' });
    expect(() => statSync(fresh)).toThrow(/ENOENT/);
  });

  it('with secure boot gets the variant with system management mode, and boots', async () => {
    const xml = await define(
      uefi(
        "<firmware><feature enabled='yes' name='secure-boot'/><feature enabled='yes' name='enrolled-keys'/></firmware>",
      ),
    );
    expect(xml).toMatch(/<loader readonly='yes' secure='yes' type='pflash'/);
    expect(xml).toContain("<smm state='on'/>");
    expect(await firmwareSays()).toMatch(/BdsDxe|UEFI|PXE/);
  });
});

function readUntil(stream: Duplex, wanted: RegExp): Promise<string> {
  return new Promise((done, fail) => {
    let seen = '';
    const timer = setTimeout(() => fail(new Error(`only this within 90 s: ${seen}`)), 90_000);
    stream.on('data', (chunk: Buffer) => {
      seen += chunk.toString('latin1');
      if (!wanted.test(seen)) return;
      clearTimeout(timer);
      done(seen);
    });
    stream.on('error', fail);
  });
}
