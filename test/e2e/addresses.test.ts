/**
 * Addresses of guests as a user asks for them: real guests with the real agent, in a network namespace of its own; and
 * waiting for an address, the agent, SSH. What DHCP does is told as it happens.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { project, TestDaemon } from '../support/daemon.ts';
import { agentCommand, agentFiles } from '../support/guest-agent.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { daemonInNamespace, untilDefaultIsActive } from '../support/namespaced-daemon.ts';
import { removeNamespace } from '../support/namespaces.ts';
import { describeWith } from '../support/needs.ts';

const here = `vireo-addr-${process.pid}`;

/** An SSH server as far as its banner goes, and a guest that asks for names all the time. */
const atStart = `#!/bin/sh
(while :; do echo 'SSH-2.0-little' | nc -l -p 22 >/dev/null; done) &
(while :; do nslookup vireo.test 10.0.2.3 >/dev/null 2>&1; sleep 1; done) &
${agentCommand}`;

const mac = '52:54:00:00:00:0a';
const needs = ['root', 'ip', 'dnsmasq', 'busybox', 'qemu-system-x86_64', 'qemu-ga', 'ldd'];

describeWith(needs, 'addresses of guests', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let files: Awaited<ReturnType<typeof littleLinux>>;

  beforeAll(async () => {
    ({ daemon, client } = await daemonInNamespace(here, 'vireo-addr-'));
    files = await littleLinux(join(daemon.root, 'linux'), [...agentFiles(), startScript(atStart)]);
    await untilDefaultIsActive(client);
  }, 300_000);
  afterAll(async () => {
    await daemon?.remove();
    removeNamespace(here);
  });

  const guestXml = (name: string, nic: string, channels = '') => `<domain type='qemu'>
    <name>${name}</name><memory unit='MiB'>192</memory>
    <os><type machine='pc'>hvm</type><kernel>${files.kernel}</kernel><initrd>${files.initrd}</initrd>
      <cmdline>console=ttyS0 quiet no_timer_check vireo.hostname=${name}</cmdline></os>
    <devices>${nic}<serial type='pty'><log file='${daemon.root}/${name}.log'/></serial>${channels}</devices>
    </domain>`;
  const channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
  const vireo = (...args: string[]) =>
    execFileSync(join(project, 'bin/vireo'), ['--root', daemon.root, ...args], { encoding: 'utf8' });
  const addressesOf = async (domain: string, source?: 'lease' | 'agent' | 'arp' | 'user') => {
    const { interfaces } = await client.call(
      'domain.addresses',
      { domain, ...(source && { sources: [source] }) },
      { timeoutMs: 20_000 },
    );
    return interfaces.flatMap(({ addresses }) => addresses);
  };
  const wait = (domain: string, until: 'address' | 'agent' | 'ssh' | 'running', timeoutMs = 100_000) =>
    client.call('domain.wait', { domain, until, timeoutMs }, { timeoutMs: timeoutMs + 5000 });

  it('are waited for, and DHCP tells of them as it gives them', async () => {
    const nic = `<interface type='network'><mac address='${mac}'/><source network='default'/><model type='virtio'/></interface>`;
    await client.call('domain.define', { xml: guestXml('alpha', nic, channel) });
    const early = wait('alpha', 'address', 50);
    await expect(early).rejects.toMatchObject({ code: 'operation.timeout', reason: /is not running/ });
    const stream = await client.subscribe({ events: ['network.lease-added'] });
    const waiting = wait('alpha', 'address');
    await (await daemon.connect()).call('domain.start', { domain: 'alpha' });
    const { reached } = await waiting;
    const [address] = await addressesOf('alpha', 'lease');
    expect(address).toMatchObject({ prefix: 24, sources: ['lease'], hostName: 'alpha', confirmed: true });
    expect(reached).toEqual({ address: address?.address, port: null });
    for await (const event of stream) {
      expect(event).toMatchObject({ lease: { address: address?.address, mac, domain: 'alpha' } });
      const file = join(daemon.root, 'var/lib/libvirt/dnsmasq/default.leases');
      expect(readFileSync(file, 'utf8')).toContain(mac);
      expect(Math.abs(Date.parse(event.time) - statSync(file).mtimeMs)).toBeLessThan(10_000); // now, and not when the guest began to ask
      break;
    }
  });

  it('come from DHCP, the agent and the neighbour table in one answer, and the shell shows it', async () => {
    await wait('alpha', 'agent');
    const [leased] = await addressesOf('alpha', 'lease');
    await expect
      .poll(async () => (await addressesOf('alpha'))[0]?.sources, { timeout: 20_000 })
      .toEqual(['lease', 'agent', 'arp']);
    expect((await addressesOf('alpha', 'agent'))[0]).toMatchObject({ address: leased?.address, prefix: 24 });
    const shown = vireo('domain', 'addresses', 'alpha');
    expect(shown).toMatch(/^INTERFACE +IN GUEST +MAC +ADDRESS +SOURCE/);
    const row = shown.split('\n').find((line) => line.includes(leased?.address ?? ''));
    expect(row).toMatch(/^vnet\d+ +eth0 +52:54:00:00:00:0a +192\.168\.122\.\d+\/24 +lease, agent, arp$/);
    expect(vireo('domain', 'wait', 'alpha', '--for', 'agent')).toBe("The guest agent of 'alpha' answers.\n");
  });

  it('lead to the SSH server, which is found without the agent', async () => {
    const [leased] = await addressesOf('alpha', 'lease');
    expect((await wait('alpha', 'ssh')).reached).toEqual({ address: leased?.address, port: 22 });
    expect(vireo('wait', 'alpha', '--for', 'ssh')).toBe(
      `SSH of 'alpha' answers at ${leased?.address} port 22.\n`,
    );
  });

  it('are told to be free when the guest gives them back', async () => {
    const [leased] = await addressesOf('alpha', 'lease');
    const stream = await client.subscribe({ events: ['network.lease-added', 'network.lease-removed'] });
    const ask = 'udhcpc -n -i eth0 -s /etc/udhcpc.sh -x hostname:alpha';
    // A client that runs on and sends DHCPRELEASE when it ends; then the address is asked for anew.
    const release = `${ask} -R -p /tmp/dhcp.pid && sleep 1 && kill $(cat /tmp/dhcp.pid)`;
    vireo('exec', 'alpha', '--', 'sh', '-c', `${release} && sleep 2 && ${ask} -q`);
    const told = [];
    for await (const event of stream) {
      expect(event).toMatchObject({ network: { name: 'default' }, lease: { mac, hostName: 'alpha' } });
      told.push(event.event);
      if (told.length === 2) break;
    }
    expect(told).toEqual(['network.lease-removed', 'network.lease-added']);
    expect((await addressesOf('alpha', 'lease'))[0]?.address).toBe(leased?.address);
  });

  it('are found again by a daemon that has seen nothing of it, and asked for anew', async () => {
    const [leased] = await addressesOf('alpha', 'lease');
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    expect((await wait('alpha', 'address', 30_000)).reached?.address).toBe(leased?.address);
    await wait('alpha', 'agent', 10_000);
  });

  it('of a user network are told when they were seen, and SSH is found behind a forward', async () => {
    const nic =
      "<interface type='user'><model type='virtio'/><portForward proto='tcp' address='127.0.0.1'><range start='23222' to='22'/></portForward></interface>";
    await client.call('domain.define', { xml: guestXml('beta', nic) });
    await client.call('domain.start', { domain: 'beta' });
    expect(await addressesOf('beta')).toMatchObject([{ address: '10.0.2.15', sources: ['assumed'] }]);
    await expect(wait('beta', 'agent', 1000)).rejects.toMatchObject({ code: 'agent.missing' });
    expect((await wait('beta', 'address')).reached).toEqual({ address: '10.0.2.15', port: null });
    expect(await addressesOf('beta')).toMatchObject([
      { address: '10.0.2.15', prefix: 24, sources: ['user'] },
    ]);
    expect((await wait('beta', 'ssh')).reached).toEqual({ address: '127.0.0.1', port: 23222 });
  });
});
