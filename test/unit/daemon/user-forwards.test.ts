/** Ports of guests with user networking, over a hypervisor of plain data, where virtual networks lead ports too. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { diskVolumes } from '../../../src/daemon/services/disk-volumes.ts';
import { DomainService } from '../../../src/daemon/services/domain-service.ts';
import { EventBus } from '../../../src/daemon/services/events.ts';
import { createJobs } from '../../../src/daemon/services/jobs.ts';
import { domainOptions } from '../../support/domain-options.ts';
import { FakeNetworkHost } from '../../support/fake-network-host.ts';
import { code, define, makeRig, xml } from '../../support/network-rig.ts';
import { storageRig } from '../../support/storage-rig.ts';
import { FakeDriver } from '../jsonrpc/fake-driver.ts';

/** Domains beside an active network that leads port 8080 of all addresses to a guest. */
async function besideNetwork() {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-user-forwards-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const log = silentLogger;
  const events = new EventBus(log);
  const rig = makeRig();
  const network = await define(rig, xml('lan', 10));
  const forward = { protocol: 'tcp', hostPort: 8080, guest: 'web', guestPort: 80 } as const;
  await rig.networks.forwards.add(network, forward);
  await rig.networks.lifecycle.start(network);
  const driver = new FakeDriver();
  const domains = new DomainService({
    ...domainOptions(directory),
    driver,
    events,
    links: new FakeNetworkHost(),
    forwardedPorts: () => rig.networks.forwards.active(),
    jobs: createJobs(events),
    addresses: { leases: async () => [], neighbours: () => [] },
    host: {
      volumes: diskVolumes(storageRig({ directory: join(directory, 'storage') }).storage),
      logDirectory: '/nowhere',
      arch: 'x86_64',
      kvmProblem: async () => undefined,
    },
  });
  return { networks: rig.networks, network, domains, driver };
}

const card = (rest: string) => `<interface type='user'><portForward ${rest}</portForward></interface>`;
const guest = (devices: string) =>
  `<domain type='qemu'><name>solo</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>${devices}</devices></domain>`;
const conflict = {
  code: 'forward.conflict',
  message: "cannot forward tcp port 8080 to domain 'solo': network 'lan' forwards it already",
  hint: "take another port of the host, or 'vireo network forward remove lan 8080'",
};

it('a guest does not start on a port that an active network leads elsewhere, and starts when it does not', async () => {
  const { networks, network, domains } = await besideNetwork();
  const devices = card("proto='tcp'><range start='8070' end='8090' to='70'/>");
  const { domain } = await domains.definitions.define(guest(devices), { mode: 'strict' });
  await expect(domains.lifecycle.start(domain, { paused: false })).rejects.toMatchObject(conflict);
  expect(domain.isActive).toBe(false);
  await networks.lifecycle.stop(network);
  await domains.lifecycle.start(domain, { paused: false });
  expect(domain.isActive).toBe(true);
});

it.each([
  ['UDP', "proto='udp'><range start='8080' to='80'/>"],
  ['another port', "proto='tcp'><range start='8081' to='80'/>"],
  [
    'a port left out of a range',
    "proto='tcp'><range start='8070' end='8090'/><range start='8080' exclude='yes'/>",
  ],
])('%s is free', async (_what, rest) => {
  const { domains } = await besideNetwork();
  const { domain } = await domains.definitions.define(guest(card(rest)), { mode: 'strict' });
  await domains.lifecycle.start(domain, { paused: false });
  expect(domain.isActive).toBe(true);
});

it('a running guest gets no such port by a new forward or a new card, and nothing of it is stored', async () => {
  const { domains, driver } = await besideNetwork();
  const { domain } = await domains.definitions.define(guest("<interface type='user'/>"), { mode: 'strict' });
  const forward = { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 8080, guestPort: 80 } as const;
  await domains.lifecycle.start(domain, { paused: false });
  await expect(domains.controls.addPortForward(domain, undefined, forward)).rejects.toEqual(
    code('forward.conflict'),
  );
  const plugging = domains.devices.attach(
    domain,
    { xml: card("proto='tcp'><range start='8080' to='80'/>"), mode: 'strict' },
    {},
  );
  await expect(plugging).rejects.toMatchObject(conflict);
  expect(driver.lastGuest.done).toEqual([]);
  expect(domains.controls.portForwards(domain)).toEqual([]);
  const other = await domains.controls.addPortForward(domain, undefined, { ...forward, hostPort: 8081 });
  expect(other).toMatchObject({ hostPort: 8081 });
});
