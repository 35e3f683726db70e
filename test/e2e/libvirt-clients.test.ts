/** More clients of libvirt, unmodified: python's binding through every list and event, Perl's, Wireshark, virt-xml, virt-clone. */
import { execFile } from 'node:child_process';
import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TestDaemon, withoutDefaultNetwork } from '../support/daemon.ts';
import { RecordedSession } from '../support/libvirt-clients/recorded-session.ts';
import { describeWith } from '../support/needs.ts';

const run = promisify(execFile);
/** A file of a Debian package whose directory has a version in it; the pattern itself, as a need, when it is not there. */
function installed(pattern: string): string {
  return globSync(pattern)[0] ?? pattern;
}
const sysVirt = installed('/usr/lib/*-linux-gnu/perl5/*/Sys/Virt.pm');
const dissector = installed('/usr/lib/*-linux-gnu/wireshark/plugins/*/epan/libvirt.so');

const scripts = join(import.meta.dirname, '../support/libvirt-clients');

const guestXml = `<domain type='qemu'><name>swept</name><title>t</title><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type></os><features><acpi/></features>
<devices><serial type='pty'/><console type='pty'/><graphics type='vnc' port='-1'/></devices></domain>`;

/** Networks that these clients define belong to nobody else: the daemon has a network namespace of its own. */
const inside = ['unshare', '--net', '--', 'sh', '-c', 'ip link set lo up; exec "$@"', 'sh'];

describeWith(['root', 'qemu-system-x86_64', 'unshare', 'ip'], "other clients of libvirt's", () => {
  let daemon: TestDaemon;
  let directory: string;
  let socket: string;
  let uri: string;
  let guest: string;

  beforeAll(async () => {
    directory = mkdtempSync('/tmp/vireo-lvc-');
    const root = mkdtempSync('/tmp/vireo-lvc-root-');
    // Its dnsmasq would outlive the test.
    withoutDefaultNetwork(root);
    daemon = await TestDaemon.start({ inside, root });
    socket = join(daemon.root, 'run/libvirt/libvirt-sock');
    uri = `qemu:///system?socket=${socket}`;
    guest = join(directory, 'g.xml');
    writeFileSync(guest, guestXml);
  });
  afterAll(async () => {
    await daemon.remove();
    rmSync(directory, { recursive: true });
  });

  async function printed(program: string, ...args: string[]): Promise<string> {
    const { stdout } = await run(program, args, { timeout: 60_000, env: { ...process.env, LC_ALL: 'C' } });
    return stdout.trim();
  }

  describeWith(['/usr/bin/python3', '/usr/lib/python3/dist-packages/libvirt.py'], "python's binding", () => {
    it('lists with every filter, and is told by every kind of event', { timeout: 60_000 }, async () => {
      const text = await printed('/usr/bin/python3', join(scripts, 'sweep.py'), uri, guest, directory);
      const told = JSON.parse(text.split('\n').at(-1) ?? '') as {
        lists: Record<string, number[]>;
        unsupported: string[];
        refused: Record<string, number>;
        events: Record<string, unknown[]>;
        lifecycle: unknown[];
      };
      // All; active, inactive; persistent, transient; running, paused, shut off, other; and four more pairs.
      expect(told.lists['listAllDomains']).toEqual([1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1]);
      // All; roots (of a snapshot: all below), with metadata, leaves, inner ones, without metadata, inactive, active,
      // of disks only, internal, external, in order.
      expect(told.lists['domain.listAllSnapshots']).toEqual([2, 1, 2, 1, 1, 0, 2, 0, 0, 2, 0, 2]);
      expect(told.lists['snapshot.listAllChildren']).toEqual([1, 1, 1, 1, 0, 0, 1, 0, 0, 1, 0, 1]);
      expect(told.lists['pool.listAllVolumes']).toEqual([2]);
      expect(told.lists['network.listAllPorts']).toEqual([0]);
      expect(told.unsupported).toEqual([]);
      // A filter that does not exist is an invalid argument, in every list.
      expect([...new Set(Object.values(told.refused))]).toEqual([8]);
      expect(told.lifecycle).toEqual([
        [2, 0],
        [3, 0],
        [4, 0],
        [5, 1],
        [1, 0],
      ]);
      expect(told.events['domain 1']?.length).toBeGreaterThan(0); // reboot
      expect(told.events['domain 23']).toEqual([[1]]); // the title has changed
      expect(told.events['network 0']).toEqual([
        [0, 0],
        [1, 0],
      ]);
    });
  });

  describeWith(['perl', sysVirt], 'Sys::Virt', () => {
    it('gets an answer from every call that only looks', { timeout: 60_000 }, async () => {
      const lines = (await printed('perl', join(scripts, 'getters.pl'), uri, guest)).split('\n');
      expect(lines.length).toBeGreaterThan(90);
      const failed = lines.filter((line) => !line.endsWith(' ok'));
      // 3: not supported; 38, 55, 74: the guest has no agent, or does not run.
      expect(failed.filter((line) => !/ (3|55|74)$/.test(line))).toEqual([]);
      const unsupported = failed.filter((line) => line.endsWith(' 3'));
      expect(unsupported.filter((line) => line.startsWith('conn.'))).toEqual([]);
    });
  });

  describeWith(['tshark', 'virsh', dissector], "Wireshark's dissector", () => {
    it('understands every packet of a session', { timeout: 90_000 }, async () => {
      const plugins = await printed('tshark', '-G', 'plugins');
      expect(plugins).toContain('libvirt.so');
      const session = await RecordedSession.start(join(directory, 'recorded'), socket);
      const virsh = async (...args: string[]) =>
        (
          await run('virsh', ['-c', `qemu:///system?socket=${session.path}`, ...args], {
            timeout: 30_000,
          }).catch(() => undefined)
        )?.stdout ?? '';
      const network = join(directory, 'n.xml');
      writeFileSync(network, '<network><name>seen</name><ip address="192.168.219.1" prefix="24"/></network>');
      for (const line of [
        `create ${guest}`,
        'list --all',
        'dominfo swept',
        'dumpxml swept',
        'domstats swept',
        'domiflist swept',
        `screenshot swept ${join(directory, 'shot')}`,
        'metadata swept urn:x --key k --set <a/>',
        'dominfo nobody',
        `net-define ${network}`,
        'net-dumpxml seen',
        'net-undefine seen',
        'nodeinfo',
        'nodecpustats',
        'capabilities',
        'domcapabilities --virttype qemu',
        'event --all --timeout 1',
        'destroy swept',
      ])
        await virsh(...line.split(' '));
      const capture = join(directory, 'session.pcap');
      session.end(capture);
      const read = (filter: string) =>
        printed(
          'tshark',
          '-r',
          capture,
          '-Y',
          filter,
          '-T',
          'fields',
          '-e',
          'frame.number',
          '-e',
          '_ws.col.Info',
        );
      expect((await read('libvirt')).split('\n').length).toBeGreaterThan(200);
      expect(await read('_ws.malformed')).toBe('');
    });
  });

  describeWith(['virt-xml', 'virt-clone'], "virtinst's tools", () => {
    it('edit and copy definitions', { timeout: 60_000 }, async () => {
      await printed('virsh', '-c', uri, 'define', guest);
      const edited = await printed(
        'virt-xml',
        '--connect',
        uri,
        'swept',
        '--edit',
        '--memory',
        '96',
        '--print-diff',
      );
      expect(edited).toContain('+  <memory unit="KiB">98304</memory>');
      await printed('virt-xml', '--connect', uri, 'swept', '--edit', '--metadata', 'title=edited');
      expect(await printed('virsh', '-c', uri, 'desc', 'swept', '--title')).toBe('edited');
      const copy = await printed(
        'virt-clone',
        '--connect',
        uri,
        '--original',
        'swept',
        '--name',
        'copy',
        '--auto-clone',
        '--print-xml',
      );
      expect(copy).toContain('<name>copy</name>');
      await printed('virsh', '-c', uri, 'undefine', 'swept');
    });
  });
});
