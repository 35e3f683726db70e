/** The cable, limits and counters of network cards, over a hypervisor and a host of plain data. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { VirtError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { diskVolumes } from '../../../src/daemon/services/disk-volumes.ts';
import type { Domain } from '../../../src/daemon/services/domain.ts';
import { DomainService } from '../../../src/daemon/services/domain-service.ts';
import { EventBus } from '../../../src/daemon/services/events.ts';
import { createJobs } from '../../../src/daemon/services/jobs.ts';
import { domainOptions } from '../../support/domain-options.ts';
import { FakeNetworkHost } from '../../support/fake-network-host.ts';
import { code } from '../../support/network-rig.ts';
import { storageRig } from '../../support/storage-rig.ts';
import { FakeDriver } from '../jsonrpc/fake-driver.ts';

function makeRig() {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-interfaces-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const log = silentLogger;
  const events = new EventBus(log);
  const driver = new FakeDriver();
  const host = new FakeNetworkHost();
  const domains = new DomainService({
    ...domainOptions(directory),
    driver,
    events,
    links: host,
    jobs: createJobs(events),
    addresses: { leases: async () => [], neighbours: () => [] },
    host: {
      volumes: diskVolumes(storageRig({ directory: join(directory, 'storage') }).storage),
      logDirectory: '/nowhere',
      arch: 'x86_64',
      kvmProblem: async () => undefined,
    },
  });
  return { domains, driver, host };
}

const text = (nics: string) =>
  `<domain type='qemu'><name>web</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>${nics}</devices></domain>`;
const bridged =
  "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='tap1'/></interface>";
const user = "<interface type='user'><mac address='52:54:00:00:00:02'/></interface>";

async function running(nics = bridged + user) {
  const rig = makeRig();
  const { domain } = await rig.domains.definitions.define(text(nics), { mode: 'strict' });
  await rig.domains.lifecycle.start(domain, { paused: false });
  return { ...rig, domain, guest: rig.driver.lastGuest };
}

const stored = (domains: DomainService, domain: Domain) =>
  domains.definitions.definition(domain, { inactive: true }).devices.interfaces;

describe('the link of a network card', () => {
  it.each(['52:54:00:00:00:01', 'net0', 'tap1'])('is set by %s, in the guest and for later', async (name) => {
    const { domains, domain, guest } = await running();
    await domains.interfaces.setLink(domain, name, 'down', {});
    expect(guest.done).toContain('link net0 down');
    expect(guest.definition.devices.interfaces[0]).toMatchObject({ link: 'down' });
    expect(stored(domains, domain)[0]).toMatchObject({ link: 'down' });
    expect(stored(domains, domain)[1]?.link).toBeUndefined();
  });

  it('is set in one of both when that is asked for', async () => {
    const { domains, domain, guest } = await running();
    await domains.interfaces.setLink(domain, 'net1', 'down', { live: true });
    expect(guest.done).toContain('link net1 down');
    expect(stored(domains, domain)[1]?.link).toBeUndefined();
    await domains.interfaces.setLink(domain, 'net0', 'down', { stored: true });
    expect(guest.done).not.toContain('link net0 down');
    expect(stored(domains, domain)[0]?.link).toBe('down');
  });

  it('is not set where there is none', async () => {
    const { domains, domain } = await running();
    const set = (name: string, targets = {}) => domains.interfaces.setLink(domain, name, 'up', targets);
    await expect(set('net7')).rejects.toEqual(code('domain.no-device'));
    await expect(set('net0', { live: false })).rejects.toEqual(code('request.invalid'));
    await domains.lifecycle.destroy(domain, { graceful: false });
    await expect(set('net0', { live: true })).rejects.toEqual(code('domain.inactive'));
    await set('net0');
    expect(stored(domains, domain)[0]?.link).toBe('up');
  });
});

describe('the limits of a network card', () => {
  it('are changed one direction at a time, and lifted', async () => {
    const { domains, domain, host } = await running();
    const set = (wish: Parameters<typeof domains.interfaces.setBandwidth>[2]) =>
      domains.interfaces.setBandwidth(domain, 'tap1', wish, {});
    await set({ inbound: { average: 100, peak: 200, burst: 64 } });
    await set({ outbound: { average: 10 } });
    await set({ inbound: null });
    await set({ outbound: null });
    expect(host.done.filter((line) => line.startsWith('limit'))).toEqual([
      'limit tap1 {"inbound":{"averageKBps":100,"peakKBps":200,"burstKiB":64}}',
      'limit tap1 {"inbound":{"averageKBps":100,"peakKBps":200,"burstKiB":64},"outbound":{"averageKBps":10}}',
      'limit tap1 {"outbound":{"averageKBps":10}}',
      'limit tap1 null',
    ]);
    expect(stored(domains, domain)[0]).not.toHaveProperty('bandwidth');
  });

  it('stay as they were when the host cannot carry the new ones out', async () => {
    const { domains, domain, host } = await running();
    await domains.interfaces.setBandwidth(domain, 'tap1', { inbound: { average: 5 } }, {});
    host.limitFailure = new VirtError('link.failed', { reason: 'no classifier' });
    await expect(
      domains.interfaces.setBandwidth(domain, 'tap1', { outbound: { average: 5 } }, {}),
    ).rejects.toEqual(code('link.failed'));
    expect(host.done.at(-1)).toBe('limit tap1 {"inbound":{"averageKBps":5}}');
    expect(stored(domains, domain)[0]?.bandwidth).toEqual({ inbound: { average: 5 } });
  });

  it('are refused where they mean nothing', async () => {
    const { domains, domain } = await running();
    const set = (name: string, inbound: { average: number; peak?: number }) =>
      domains.interfaces.setBandwidth(domain, name, { inbound }, {});
    await expect(set('net1', { average: 5 })).rejects.toEqual(code('request.invalid'));
    await expect(set('net0', { average: 5, peak: 4 })).rejects.toEqual(code('request.invalid'));
  });
});

describe('the counters of network cards', () => {
  it('are told, or why there are none', async () => {
    const { domains, domain } = await running();
    expect(domains.interfaces.statistics(domain, undefined)).toMatchObject([
      { counters: { rxBytes: 1, txDropped: 8 }, reason: undefined },
      { counters: undefined, reason: expect.stringContaining('type user') as string },
    ]);
    expect(domains.interfaces.statistics(domain, 'tap1')).toHaveLength(1);
    expect(() => domains.interfaces.statistics(domain, 'net1')).toThrow(code('request.unsupported'));
    expect(() => domains.interfaces.statistics(domain, 'x')).toThrow(code('domain.no-device'));
  });
});

describe('what a card of a trusted guest receives', () => {
  const direct = (trust: string) =>
    `<interface type='direct'${trust}><mac address='52:54:00:00:00:01'/><source dev='eth0'/><target dev='mine'/></interface>`;

  it('is followed by its macvtap', async () => {
    const { guest, host } = await running(direct(" trustGuestRxFilters='yes'"));
    const filter = { mac: '52:54:00:00:00:09', multicast: [], isAllMulticast: false, isPromiscuous: true };
    guest.filter = filter;
    guest.emit({ kind: 'receive-filter', alias: 'net0', seconds: 0 });
    await expect.poll(() => host.done).toContain(`filter mine ${JSON.stringify(filter)}`);
  });

  it('of one that is not trusted is left alone', async () => {
    const { guest, host } = await running(direct(''));
    guest.filter = { mac: '52:54:00:00:00:09', multicast: [], isAllMulticast: false, isPromiscuous: true };
    guest.emit({ kind: 'receive-filter', alias: 'net0', seconds: 0 });
    await new Promise((done) => setTimeout(done, 80));
    expect(host.done.filter((line) => line.startsWith('filter'))).toEqual([]);
  });
});
