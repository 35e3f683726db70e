/**
 * Guests on interfaces of the host by macvtap: a system daemon in a network namespace of its own, and a second namespace
 * at the other end of two wires, which gives addresses.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, qemuProcesses, TestDaemon, withoutDefaultNetwork } from '../support/daemon.ts';
import { littleLinux } from '../support/guest-image.ts';
import { addNamespace, ip, removeNamespace } from '../support/namespaces.ts';
import { describeWith } from '../support/needs.ts';

const here = `vireo-links-e2e-${process.pid}`;
const world = `${here}-world`;
const mac = '52:54:00:00:07:01';

const links = () => ip('-n', here, '-br', 'link');

function makeNamespaces(): void {
  for (const namespace of [here, world]) {
    addNamespace(namespace);
  }
  for (const number of [0, 1]) {
    const [near, far] = [`up${number}`, `eth${number}`];
    ip('-n', here, 'link', 'add', near, 'type', 'veth', 'peer', 'name', far, 'netns', world);
    ip('-n', here, 'link', 'set', near, 'up');
    ip('-n', world, 'link', 'set', far, 'up');
    ip('-n', world, 'addr', 'add', `10.9${number}.0.2/24`, 'dev', far);
  }
}

/** DHCP beyond the first wire; in the foreground, so that it ends with us. */
function serveAddresses(directory: string): ChildProcess {
  return spawn(
    'ip',
    [
      ...['netns', 'exec', world, 'dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--port=0'],
      ...['--interface=eth0', '--bind-interfaces', `--dhcp-host=${mac},10.90.0.7`, '--user=root'],
      ...['--dhcp-range=10.90.0.5,10.90.0.20,1h', `--dhcp-leasefile=${directory}/leases`, '--pid-file='],
    ],
    { stdio: 'ignore' },
  );
}

/** What the guest's web page says, '' when it is not reached in a second. */
function page(): string {
  const program =
    "fetch('http://10.90.0.7/', { signal: AbortSignal.timeout(1000) }).then((r) => r.text()).then((t) => process.stdout.write(t), () => {})";
  return execFileSync('ip', ['netns', 'exec', world, process.execPath, '-e', program], { encoding: 'utf8' });
}

describeWith(
  ['root', 'ip', 'dnsmasq', 'busybox', 'qemu-system-x86_64'],
  'a guest on an interface of the host',
  () => {
    let daemon: TestDaemon;
    let client: VireoClient;
    let server: ChildProcess;
    let directory: string;
    let files: Awaited<ReturnType<typeof littleLinux>>;

    beforeAll(async () => {
      makeNamespaces();
      directory = mkdtempSync(join(tmpdir(), 'vireo-links-'));
      chmodSync(directory, 0o755);
      withoutDefaultNetwork(directory);
      files = await littleLinux(join(directory, 'guest'));
      server = serveAddresses(directory);
      daemon = await TestDaemon.start({ root: directory, inside: ['ip', 'netns', 'exec', here] });
      client = await daemon.connect();
    });

    afterAll(async () => {
      // What a failed beforeAll did not get to is not there.
      await client?.close();
      await daemon?.remove();
      server?.kill('SIGKILL');
      for (const namespace of [here, world]) {
        removeNamespace(namespace);
      }
      rmSync(directory, { recursive: true, force: true });
    });

    const define = (name: string, nic: string) =>
      client.call('domain.define', {
        xml: `<domain type='qemu'><name>${name}</name><memory unit='MiB'>128</memory>
          <os><type arch='x86_64' machine='q35'>hvm</type><kernel>${files.kernel}</kernel><initrd>${files.initrd}</initrd>
          <cmdline>console=ttyS0 quiet no_timer_check vireo.hostname=${name}</cmdline></os><features><acpi/></features>
          <devices>${nic}<serial type='file'><source path='${directory}/${name}.log'/></serial></devices></domain>`,
      });
    const endGuests = (pids: readonly number[]) => {
      for (const pid of pids) process.kill(pid, 'SIGKILL');
    };

    it('has its place there, counts, loses its cable and gets it back', async () => {
      await client.call('network.create', {
        name: 'lan',
        mode: 'bridge',
        interfaces: ['up0', 'up1'],
        start: true,
      });
      await define(
        'web',
        `<interface type='network' trustGuestRxFilters='yes'><mac address='${mac}'/><source network='lan'/><model type='virtio'/></interface>`,
      );
      await client.call('domain.start', { domain: 'web' });
      const { xml } = await client.call('domain.xml', { domain: 'web' });
      expect(xml).toMatch(
        /<interface type='direct' trustGuestRxFilters='yes'>\s*<mac [^>]*>\s*<source dev='up0' mode='bridge' network='lan' portid='[0-9a-f-]{36}'\/>\s*<target dev='macvtap0'\/>/,
      );
      const stored = await client.call('domain.xml', { domain: 'web', inactive: true });
      expect(stored.xml).toContain("<source network='lan'/>");
      expect((await client.call('network.xml', { network: 'lan' })).xml).toContain(
        "<interface dev='up0' connections='1'/>",
      );
      await eventually('the page of the guest', () => page() === 'Hello from web.\n', 110_000);

      const { interfaces } = await client.call('domain.interface-stats', { domain: 'web' });
      expect(interfaces).toMatchObject([{ device: 'macvtap0', type: 'direct', link: 'up' }]);
      expect(interfaces[0]?.counters?.rxPackets).toBeGreaterThan(3);
      expect(interfaces[0]?.counters?.txPackets).toBeGreaterThan(3);

      await client.call('domain.set-link', { domain: 'web', interface: mac, state: 'down', live: true });
      expect(page()).toBe('');
      await client.call('domain.set-link', { domain: 'web', interface: 'macvtap0', state: 'up', live: true });
      await eventually('the page of the guest with its cable', () => page() === 'Hello from web.\n');
    });

    it('is found again by the next daemon, and its device goes with it', async () => {
      await client.close();
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      expect(page()).toBe('Hello from web.\n');
      expect(await client.call('domain.interface-stats', { domain: 'web', interface: mac })).toMatchObject({
        interfaces: [{ device: 'macvtap0' }],
      });
      expect(links()).toContain('macvtap0@up0');
      endGuests(qemuProcesses(directory));
      await eventually('the device is gone', () => !links().includes('macvtap'));
    });

    it('by passthrough has the interface alone, which gets its address back', async () => {
      const before = /^up1\S*\s+\S+\s+(\S+)/m.exec(links())?.[1];
      await client.call('network.create', {
        name: 'alone',
        mode: 'passthrough',
        interfaces: ['up1'],
        start: true,
      });
      const nic = "<interface type='network'><source network='alone'/><model type='virtio'/></interface>";
      await define('first', nic);
      await define('second', nic);
      await client.call('domain.start', { domain: 'first' });
      await expect(client.call('domain.start', { domain: 'second' })).rejects.toMatchObject({
        code: 'link.failed',
      });
      expect(links().match(/macvtap/g)).toHaveLength(1);
      // Both die at once: the next daemon takes away what is left.
      await client.close();
      await daemon.end('SIGKILL');
      endGuests(qemuProcesses(directory));
      expect(links()).toContain('macvtap');
      daemon = await TestDaemon.start({ root: directory, inside: ['ip', 'netns', 'exec', here] });
      client = await daemon.connect();
      await eventually('the device is gone', () => !links().includes('macvtap'));
      expect(/^up1\S*\s+\S+\s+(\S+)/m.exec(links())?.[1]).toBe(before);
    });
  },
);
