/** Unmodified clients of libvirt against the daemon and a real QEMU: virsh, python's binding with its event loop, virt-install. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestDaemon, withoutDefaultNetwork } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { outcome } from '../support/outcome.ts';

const python = '/usr/bin/python3';

const guestXml = `<domain type='qemu'><name>g1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type></os><features><acpi/></features>
<devices><serial type='pty'/><console type='pty'/><graphics type='vnc' port='-1'/></devices></domain>`;

describeWith(['root', 'qemu-system-x86_64', 'virsh'], "libvirt's own clients", () => {
  let daemon: TestDaemon;
  let directory: string;
  let uri: string;
  const virsh = (...args: string[]) => outcome('virsh', ['-c', uri, ...args]);
  const said = async (...args: string[]) => {
    const { status, text } = await virsh(...args);
    expect({ args, status, text }).toMatchObject({ status: 0 });
    return text;
  };

  beforeAll(async () => {
    const root = mkdtempSync('/tmp/vireo-lv-');
    directory = mkdtempSync('/tmp/vireo-lvx-');
    withoutDefaultNetwork(root);
    const file = join(root, 'etc/vireo/vireod.toml');
    mkdirSync(join(root, 'etc/vireo'), { recursive: true });
    writeFileSync(file, `${readFileSync(file, 'utf8')}[libvirt]\nread_only_socket = true\n`);
    writeFileSync(join(directory, 'g.xml'), guestXml);
    daemon = await TestDaemon.start({ root });
    uri = `qemu:///system?socket=${root}/run/libvirt/libvirt-sock`;
  });
  afterAll(async () => {
    await daemon.remove();
    rmSync(directory, { recursive: true });
  });

  describe('virsh', () => {
    it('sees the daemon, the host and their versions', async () => {
      expect(await said('version')).toMatch(
        /Using API: QEMU 9\.0\.0\nRunning hypervisor: QEMU \d+\.\d+\.\d+/,
      );
      expect(await said('nodeinfo')).toMatch(/CPU model: +x86_64/);
      expect(await said('capabilities')).toContain("<domain type='qemu'");
      expect(await said('domcapabilities')).toContain('<domainCapabilities>');
      for (const command of [
        'hostname',
        'uri',
        'nodecpustats',
        'nodememstats',
        'freecell',
        'nodecpumap',
        'maxvcpus',
      ])
        expect((await said(command)).length).toBeGreaterThan(0);
    });

    it('defines a guest, starts it, looks at it, touches it and takes it away', async () => {
      expect(await said('define', join(directory, 'g.xml'))).toContain("Domain 'g1' defined");
      expect(await said('list', '--all')).toMatch(/- +g1 +shut off/);
      expect(await said('start', 'g1')).toBe("Domain 'g1' started");
      expect(await said('list')).toMatch(/\d+ +g1 +running/);
      expect(await said('domstate', 'g1', '--reason')).toBe('running (booted)');
      expect(await said('dominfo', 'g1')).toMatch(/Max memory: +65536 KiB[^]*Persistent: +yes/);
      expect(await said('vcpuinfo', 'g1')).toMatch(/State: +running/);
      expect(await said('vcpucount', 'g1')).toMatch(/current +live +1/);
      expect(await said('domstats', 'g1')).toMatch(
        /cpu\.time=\d+[^]*balloon\.maximum=65536[^]*vcpu\.0\.time=/,
      );
      expect(await said('dumpxml', 'g1')).toContain("<alias name='serial0'/>");
      expect(await said('dumpxml', 'g1', '--inactive')).not.toContain('<alias');
      expect(await said('ttyconsole', 'g1')).toMatch(/^\/dev\/pts\/\d+$/);
      expect(await said('vncdisplay', 'g1')).toMatch(/^127\.0\.0\.1:\d+$/);
      await said('suspend', 'g1');
      expect(await said('domstate', 'g1')).toBe('paused');
      await said('resume', 'g1');
      for (const command of [['reset'], ['inject-nmi'], ['send-key', 'g1', 'KEY_LEFTCTRL', 'KEY_C']])
        await said(...(command.length === 1 ? [...command, 'g1'] : command));
      expect(await said('screenshot', 'g1', join(directory, 'shot'))).toMatch(/Screenshot saved/);
      expect(readFileSync(join(directory, 'shot')).subarray(1, 4).toString()).toBe('PNG');
      await said('desc', 'g1', '--live', '--config', '--title', 'a title');
      expect(await said('desc', 'g1', '--config', '--title')).toBe('a title');
      await said('metadata', 'g1', 'urn:x', '--config', '--key', 'k', '--set', '<a/>');
      expect(await said('metadata', 'g1', 'urn:x', '--config')).toBe('<a/>');
      expect(await said('qemu-monitor-command', 'g1', '{"execute":"query-status"}')).toContain(
        '"running":true',
      );
      expect(await said('qemu-monitor-command', 'g1', '--hmp', 'info status')).toContain('running');
      await said('destroy', 'g1');
      await said('autostart', 'g1');
      expect(await said('list', '--all', '--autostart', '--persistent', '--name')).toBe('g1');
      await said('domrename', 'g1', 'g2');
      await said('undefine', 'g2');
      expect(await said('list', '--all', '--name')).toBe('');
    });

    it('gets errors in the words and with the status that scripts know', async () => {
      expect(await virsh('dominfo', 'nobody')).toEqual({
        status: 1,
        text: "error: failed to get domain 'nobody'",
      });
      expect((await virsh('net-info', 'nothing')).text).toContain(
        "error: Network not found: no network with matching name 'nothing'",
      );
      expect((await virsh('iface-begin')).text).toContain(
        'this function is not supported by the connection driver',
      );
      const lxc = await outcome('virsh', ['-c', uri.replace('qemu:', 'lxc:'), 'list']);
      expect(lxc.text).toContain('no connection driver available for lxc:///system');
    });

    it('may only look on the read-only socket', async () => {
      await said('define', join(directory, 'g.xml'));
      // Without -r the client library does not refuse by itself: the daemon does.
      const readOnly = uri.replace('libvirt-sock', 'libvirt-sock-ro');
      const look = await outcome('virsh', ['-c', readOnly, 'list', '--all', '--name']);
      expect(look).toEqual({ status: 0, text: 'g1' });
      expect(await outcome('virsh', ['-c', readOnly, 'start', 'g1'])).toMatchObject({
        status: 1,
        text: expect.stringMatching(/operation forbidden: read only access prevents virDomainCreate/),
      });
      expect((await outcome('virsh', ['-c', readOnly, 'dumpxml', 'g1', '--security-info'])).text).toContain(
        'operation forbidden',
      );
      await said('undefine', 'g1');
    });
  });

  it('find a session that has guests and no virtual networks', async () => {
    const session = await TestDaemon.start({ mode: 'session' });
    const at = ['-c', `qemu:///session?socket=${session.root}/run/libvirt/libvirt-sock`];
    const ask = (...args: string[]) => outcome('virsh', [...at, ...args]);
    try {
      expect((await ask('define', join(directory, 'g.xml'))).status).toBe(0);
      expect((await ask('start', 'g1')).text).toBe("Domain 'g1' started");
      expect((await ask('-r', 'list', '--name')).text).toBe('g1');
      expect(await ask('net-list', '--all', '--name')).toEqual({ status: 0, text: '' });
      writeFileSync(join(directory, 'n.xml'), '<network><name>n</name></network>');
      const refused = await ask('net-define', join(directory, 'n.xml'));
      expect(refused.status).toBe(1);
      expect(refused.text).toContain('virtual networks need the system connection');
      expect((await ask('destroy', 'g1')).status).toBe(0);
    } finally {
      await session.remove();
    }
  });

  describeWith([python, '/usr/lib/python3/dist-packages/libvirt.py'], "python's binding", () => {
    it('has its event loop served: callbacks, streams, old calls, keepalive, a display by descriptor', {
      timeout: 60_000,
    }, async () => {
      const script = join(import.meta.dirname, '../support/libvirt-events.py');
      const { status, text } = await outcome(python, [script, uri, join(directory, 'g.xml')]);
      expect({ status, text }).toMatchObject({ status: 0 });
      const told = JSON.parse(text.split('\n').at(-1) ?? '') as Record<string, unknown>;
      expect(told['lifecycle']).toEqual([
        ['defined', 0],
        ['started', 0],
        ['suspended', 0],
        ['resumed', 0],
        ['stopped', 1],
        ['undefined', 0],
      ]);
      expect(told).toMatchObject({
        own: 5,
        metadata: [[1, null]],
        png: true,
        alive: 1,
        ids: 1,
        missing: 42,
        greeting: 'RFB 003.008\n',
      });
    });
  });

  describeWith(['virt-install'], 'virt-install', () => {
    it('imports a guest as a transient one', { timeout: 60_000 }, async () => {
      const args =
        '--name vi --memory 64 --import --transient --disk none --network user --graphics vnc --osinfo generic --noautoconsole --virt-type qemu';
      const { status, text } = await outcome('virt-install', ['--connect', uri, ...args.split(' ')]);
      expect({ status, text }).toMatchObject({
        status: 0,
        text: expect.stringContaining('Domain creation completed.'),
      });
      expect(await said('list', '--transient', '--name')).toBe('vi');
      await said('destroy', 'vi');
    });
  });
});
