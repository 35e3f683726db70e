/** Node devices, secrets, network filters and the host's interfaces by an unmodified virsh. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually, TestDaemon, withoutDefaultNetwork } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const run = promisify(execFile);
const env = { ...process.env, LC_ALL: 'C' };
const UUID = '1b2c3d4e-0000-4000-8000-000000000001';

describeWith(['root', 'qemu-system-x86_64', 'virsh'], "libvirt's own clients and the host's objects", () => {
  let daemon: TestDaemon;
  let directory: string;
  let uri: string;
  const said = async (...args: string[]) =>
    (await run('virsh', ['-q', '-c', uri, ...args], { timeout: 60_000, env })).stdout.trim();
  const refused = async (...args: string[]) => {
    const error: unknown = await said(...args).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    return (error as { readonly stderr: string }).stderr;
  };
  const fileOf = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  };

  beforeAll(async () => {
    const root = mkdtempSync('/tmp/vireo-lvo-');
    directory = mkdtempSync('/tmp/vireo-lvox-');
    withoutDefaultNetwork(root);
    const file = join(root, 'etc/vireo/vireod.toml');
    writeFileSync(file, `${readFileSync(file, 'utf8')}[libvirt]\nread_only_socket = true\n`);
    daemon = await TestDaemon.start({ root });
    uri = `qemu:///system?socket=${root}/run/libvirt/libvirt-sock`;
  });
  afterAll(async () => {
    await daemon.remove();
    rmSync(directory, { recursive: true });
  });

  it('see the devices of the host, and move none that cannot be moved', async () => {
    const net = (await said('nodedev-list', '--cap', 'net')).split('\n');
    expect(net).toContain('net_lo_00_00_00_00_00_00');
    expect(await said('nodedev-dumpxml', 'net_lo_00_00_00_00_00_00')).toContain('<interface>lo</interface>');
    expect(await said('nodedev-list', '--cap', 'system')).toBe('computer');
    expect(await said('nodedev-list', '--tree')).toMatch(/^computer\n/);
    expect(await refused('nodedev-detach', 'computer')).toContain('device computer is not a PCI device');
    expect(await refused('nodedev-dumpxml', 'pci_none')).toContain(
      "Node device not found: no node device with matching name 'pci_none'",
    );
  });

  it('keep secrets, whose values readers do not get, and hear of them', async () => {
    const xml = `<secret><uuid>${UUID}</uuid><usage type='ceph'><name>client.admin</name></usage></secret>`;
    const listener = spawn('virsh', ['-c', uri, 'secret-event', '--event', 'lifecycle', '--loop'], { env });
    let heard = '';
    listener.stdout.on('data', (chunk: Buffer) => {
      heard += chunk.toString();
    });
    try {
      // Until the listener has registered, an event may pass it by.
      await eventually('the event of a definition', async () => {
        await said('secret-define', fileOf('secret.xml', xml));
        return heard.includes(`event 'lifecycle' for secret ${UUID}: Defined`);
      });
    } finally {
      listener.kill();
      await once(listener, 'exit');
    }
    expect(await said('secret-list')).toMatch(new RegExp(`${UUID} +ceph client.admin`));
    await said('secret-set-value', UUID, '--file', fileOf('value', 'swordfish'), '--plain');
    expect(await said('secret-get-value', UUID, '--plain')).toBe('swordfish');
    expect(await refused('-r', 'secret-get-value', UUID)).toContain(
      'operation forbidden: read only access prevents virSecretGetValue',
    );
    expect(await said('-r', 'secret-dumpxml', UUID)).toContain('<name>client.admin</name>');
    await said('secret-undefine', UUID);
    expect(await said('secret-list')).toBe('');
  });

  it('define network filters beside the built-in ones', async () => {
    expect(await said('nwfilter-list')).toMatch(/clean-traffic/);
    const xml = "<filter name='mine'><rule action='drop' direction='in'/></filter>";
    await said('nwfilter-define', fileOf('filter.xml', xml));
    expect(await said('nwfilter-dumpxml', 'mine')).toContain("<rule action='drop' direction='in'");
    await said('nwfilter-undefine', 'mine');
    expect(await refused('nwfilter-dumpxml', 'mine')).toContain("no nwfilter with matching name 'mine'");
    expect(await refused('nwfilter-undefine', 'clean-traffic')).toContain('it comes with Vireo');
    expect(await said('nwfilter-binding-list')).toBe('');
  });

  it("look at the host's interfaces, and change none", async () => {
    expect(await said('iface-list', '--all')).toMatch(/\blo +active/);
    expect(await said('iface-dumpxml', 'lo')).toContain("<ip address='127.0.0.1' prefix='8'/>");
    expect(await refused('iface-destroy', 'lo')).toContain('this function is not supported');
  });
});
