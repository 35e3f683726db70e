/** Filters on real guests: a system daemon in a network namespace, and a Linux guest that forges what it sends. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { daemonInNamespace, untilDefaultIsActive } from '../support/namespaced-daemon.ts';
import { ip, removeNamespace } from '../support/namespaces.ts';
import { describeWith } from '../support/needs.ts';

const here = `vireo-filter-${process.pid}`;
const gateway = '192.168.122.1';
const stolen = '192.168.122.77';
const mac = '52:54:00:00:00:0c';

const inside = (...argv: string[]) =>
  execFileSync('ip', ['netns', 'exec', here, ...argv], { encoding: 'utf8', stdio: 'pipe' });

/** Tells again and again what gets through: with its own address, with a stolen one, with another MAC address. */
const forger = `#!/bin/sh
(
n=0
while sleep 1; do
  n=$((n + 1))
  try() { if ping -c 1 -W 2 "$@" ${gateway} >/dev/null 2>&1; then echo yes; else echo no; fi; }
  own=$(try)
  ip addr add ${stolen}/24 dev eth0
  stolen=$(try -I ${stolen})
  ip addr del ${stolen}/24 dev eth0
  ip link set eth0 address 52:54:00:00:00:dd
  forged=$(try)
  ip link set eth0 address ${mac}
  echo "round $n: own $own, stolen $stolen, forged $forged."
done
) > /dev/ttyS0 2>&1 &
`;

describeWith(['root', 'ip', 'nft', 'dnsmasq', 'busybox', 'qemu-system-x86_64'], 'guests with filters', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let files: Awaited<ReturnType<typeof littleLinux>>;

  beforeAll(async () => {
    ({ daemon, client } = await daemonInNamespace(here, 'vireo-filter-'));
    files = await littleLinux(join(daemon.root, 'linux'), [startScript(forger)]);
    await untilDefaultIsActive(client);
  }, 300_000);
  afterAll(async () => {
    await daemon?.remove();
    removeNamespace(here);
  });

  const guestXml = (filter: string) => `<domain type='qemu'>
    <name>forger</name><memory unit='MiB'>160</memory>
    <os><type machine='pc'>hvm</type><kernel>${files.kernel}</kernel><initrd>${files.initrd}</initrd>
      <cmdline>console=ttyS0 quiet no_timer_check vireo.hostname=forger</cmdline></os>
    <devices>
      <interface type='network'><mac address='${mac}'/><source network='default'/><model type='virtio'/>
        ${filter}</interface>
      <serial type='pty'><log file='${daemon.root}/forger.log'/></serial>
    </devices></domain>`;

  /** What the guest tells of its rounds, newest last. */
  const rounds = async () => {
    const { text } = await client.call('domain.log', { domain: 'forger', source: 'console' });
    return [...text.matchAll(/round \d+: (own .*)\./g)].map((match) => match[1]);
  };
  /** The next round that begins after now. */
  const nextRound = async () => {
    const before = (await rounds()).length;
    await eventually('two more rounds', async () => (await rounds()).length >= before + 2, 100_000);
    return (await rounds()).at(-1);
  };
  const rules = () => inside('nft', 'list', 'ruleset');

  it.each([
    [
      "<filterref filter='no-such-filter'/>",
      /interface\[0\]\.filterref: there is no filter 'no-such-filter'/,
    ],
    ["<filterref filter='allow-dhcp-server'/>", /the parameter DHCPSERVER is missing/],
    [
      "<filterref filter='clean-traffic'><parameter name='CTRL_IP_LEARNING' value='maybe'/></filterref>",
      /CTRL_IP_LEARNING is 'maybe'/,
    ],
  ])('%s is refused at the start, and leaves no tap', async (filter, reason) => {
    await client.call('domain.define', { xml: guestXml(filter) });
    await expect(client.call('domain.start', { domain: 'forger' })).rejects.toThrow(reason);
    await client.call('domain.undefine', { domain: 'forger' });
    expect(ip('-n', here, 'link')).not.toContain('vnet');
    expect(rules()).not.toContain('vireo_filter');
  });

  it('cannot forge addresses with clean-traffic, and work with their own', async () => {
    await client.call('domain.define', {
      xml: guestXml("<filterref filter='clean-traffic'/>"),
      startAfter: true,
    });
    expect(await nextRound()).toBe('own yes, stolen no, forged no');
    const { leases } = await client.call('network.leases', { network: 'default' });
    const address = leases.find((lease) => lease.domain === 'forger')?.address;
    // What the lease says has taken the place of the first address that was seen.
    expect(rules()).toContain(`ip saddr ${address} `);
    expect(rules()).not.toContain('learned');
  }, 250_000);

  it('stay filtered when the rules are flushed, and when the daemon is killed', async () => {
    inside('nft', 'delete', 'table', 'bridge', 'vireo_filter');
    await eventually('the filter is back', () => rules().includes('vireo_filter'));
    expect(await nextRound()).toBe('own yes, stolen no, forged no');
    await client[Symbol.asyncDispose]();
    await daemon.end('SIGKILL');
    expect(rules()).toContain('vireo_filter');
    inside('nft', 'delete', 'table', 'bridge', 'vireo_filter');
    daemon = await TestDaemon.start({ root: daemon.root, inside: ['ip', 'netns', 'exec', here] });
    client = await daemon.connect();
    await eventually('the filter is back', () => rules().includes('vireo_filter'));
    expect(await nextRound()).toBe('own yes, stolen no, forged no');
  }, 250_000);

  it('leave no rule when they end', async () => {
    await client.call('domain.destroy', { domain: 'forger' });
    await eventually('the filter is gone', () => !rules().includes('vireo_filter'));
    await client.call('domain.undefine', { domain: 'forger' });
  });

  it('forge at will without a filter: the test above would notice', async () => {
    await client.call('domain.define', { xml: guestXml(''), startAfter: true });
    expect(await nextRound()).toMatch(/^own yes, stolen yes/);
    await client.call('domain.destroy', { domain: 'forger' });
  }, 250_000);
});
