/** The real domain service over a fake hypervisor, behind a JSON-RPC server on a real socket. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { buildHandlers } from '../../../src/daemon/frontends/jsonrpc/bind.ts';
import type { DaemonSource } from '../../../src/daemon/frontends/jsonrpc/bind-daemon.ts';
import type { HostSource } from '../../../src/daemon/frontends/jsonrpc/bind-host.ts';
import { StatisticsHistory } from '../../../src/daemon/history/history.ts';
import { HistoryFiles } from '../../../src/daemon/history/history-files.ts';
import { FlightRecorder } from '../../../src/daemon/recorder/flight-recorder.ts';
import { reportOn } from '../../../src/daemon/recorder/guest-report.ts';
import { RecordFiles } from '../../../src/daemon/recorder/record-files.ts';
import { listenTo } from '../../../src/daemon/recorder/sources.ts';
import { diskVolumes } from '../../../src/daemon/services/disk-volumes.ts';
import { DomainService } from '../../../src/daemon/services/domain-service.ts';
import { EventBus } from '../../../src/daemon/services/events.ts';
import type { DatedLease } from '../../../src/daemon/services/guest-addresses.ts';
import { createJobs } from '../../../src/daemon/services/jobs.ts';
import { SaslUsers } from '../../../src/daemon/services/sasl-users.ts';
import { Undo } from '../../../src/daemon/undo/undo.ts';
import { UndoStore } from '../../../src/daemon/undo/undo-store.ts';
import { readHostFacts, readHostMemory } from '../../../src/kvm/host-facts.ts';
import type { Neighbour } from '../../../src/net/links/neighbours.ts';
import { domainOptions } from '../../support/domain-options.ts';
import { FakeNetworkHost } from '../../support/fake-network-host.ts';
import { imageServices } from '../../support/image-services.ts';
import { makeNodeDevices } from '../../support/node-devices.ts';
import { makeSecrets } from '../../support/secrets.ts';
import { storageRig } from '../../support/storage-rig.ts';
import { FakeDriver } from './fake-driver.ts';
import { startServer } from './support.ts';

const daemonSource: DaemonSource = {
  version: '9.9.9',
  mode: 'session',
  startedAtMs: Date.now() - 1000,
  hostName: 'here',
  paths: { runtime: '/run/x' },
  sockets: () => [{ frontend: 'jsonrpc', path: '/run/x/s' }],
  clients: () => ({ clients: 1, subscriptions: 0 }),
  logLevel: () => 'info',
  adoptLibvirt: async ({ dryRun }) => ({ from: '/none', dryRun, objects: [] }),
  setLogLevel: () => {},
};

const hostSource: HostSource = {
  facts: () => readHostFacts(),
  memory: () => readHostMemory(),
  kvm: () =>
    Promise.resolve({
      usable: false,
      device: '/dev/kvm',
      arch: 'x86_64',
      extensions: {},
      vcpus: { recommended: 0, max: 0 },
      vcpuMmapBytes: 0,
      cpu: { vendor: undefined, flag: undefined, underHypervisor: true },
      module: { name: 'kvm', loaded: false, nested: undefined },
      problem: { code: 'no-node', reason: 'no node', repair: 'load kvm' },
    } as unknown as Awaited<ReturnType<HostSource['kvm']>>),
  sev: () => Promise.resolve({ problem: { reason: 'no AMD', repair: 'buy one' } }),
  statistics: {
    cpuTimes: () => ({ userMs: 10, kernelMs: 20, idleMs: 30, iowaitMs: 0 }),
    cpuMap: () => ({ online: [true, false] }),
    cells: () => [{ cell: 0, totalKiB: 1024, freeKiB: 512, pages: [{ sizeKiB: 4, count: 256, free: 128 }] }],
    sysinfoXml: () => "<sysinfo type='smbios'/>\n",
  },
  devices: () => [
    {
      type: 'pci',
      ids: '8086:100e',
      address: '0000:00:03.0',
      class: 0x020000,
      driver: 'e1000',
      group: '3',
      numaNode: undefined,
      vendorName: 'Intel Corporation',
      productName: undefined,
      usedBy: { uuid: '00000000-0000-4000-8000-000000000001', name: 'web' },
    },
    {
      type: 'usb',
      ids: '046d:0825',
      name: '1-2',
      bus: 1,
      device: 7,
      serial: undefined,
      isHub: false,
      vendorName: undefined,
      productName: 'Webcam',
      usedBy: undefined,
    },
  ],
  interfaces: () => [
    {
      index: 7,
      name: 'virbr0',
      type: 'bridge',
      isUp: true,
      state: 'down',
      mac: '52:54:00:00:00:01',
      mtu: 1500,
      master: undefined,
      parent: undefined,
      vlanId: undefined,
      speedMbps: undefined,
      addresses: [{ family: 4, address: '192.168.122.1', prefix: 24 }],
      owner: { type: 'network', uuid: '11111111-4f50-4a61-8b72-93a4b5c6d7e8', name: 'default' },
    },
  ],
  check: () =>
    Promise.resolve([{ id: 'kvm', title: 'KVM', status: 'problem', detail: 'no node', repair: 'load' }]),
};

/** A daemon's services, its server, and all that they know of the world. */
export async function startDaemon(options: { readonly readOnly?: boolean } = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-bind-'));
  const driver = new FakeDriver();
  const log = silentLogger;
  const events = new EventBus(log);
  const jobs = createJobs(events);
  const { storage } = storageRig({ directory: join(directory, 'storage') });
  const knowledge: { leases: DatedLease[]; neighbours: Neighbour[] } = { leases: [], neighbours: [] };
  const domains = new DomainService({
    ...domainOptions(directory),
    storage: () => storage,
    driver,
    events,
    links: new FakeNetworkHost(),
    jobs,
    addresses: { leases: async () => knowledge.leases, neighbours: () => knowledge.neighbours },
    host: {
      logDirectory: '/var/log/vireo/qemu',
      volumes: diskVolumes(storage),
      arch: 'x86_64',
      kvmProblem: () => Promise.resolve({ reason: 'no node', hint: 'load kvm' }),
    },
  });
  await domains.open();
  const recorder = new FlightRecorder({ files: new RecordFiles(join(directory, 'flight')), log });
  const stopListening = listenTo(recorder, { events, domains, memory: () => hostSource.memory() });
  onTestFinished(async () => {
    stopListening();
    await recorder.close(); // What it wrote later would make the directory anew.
    rmSync(directory, { recursive: true, force: true });
  });
  const record = {
    note: recorder.note.bind(recorder),
    find: (ref: string | { readonly id: number }) =>
      typeof ref === 'string' ? domains.findByText(ref).uuid : domains.find(ref).uuid,
  };
  const undo = new Undo({
    store: new UndoStore({ directory: join(directory, 'undo'), log }),
    ...{ domains, networks: undefined, storage, days: 7, log },
    directories: {
      tpm: join(directory, 'tpm'),
      snapshots: join(directory, 'snapshots'),
      saves: join(directory, 'saves'),
    },
  });
  const handlers = buildHandlers({
    record,
    undo,
    history: {
      isOn: true,
      history: new StatisticsHistory({
        ...{ domains, sampleMs: 10_000, log },
        files: new HistoryFiles({ directory: join(directory, 'history'), log }),
      }),
    },
    reports: {
      read: (uuid, limit) => recorder.read(uuid, limit),
      report: (domain, signal) =>
        reportOn(
          domain,
          {
            domains,
            recorder,
            driver,
            networks: undefined,
            version: '0.0.0',
            check: () => hostSource.check({ signal }),
          },
          signal,
        ),
    },
    ...{ domains, jobs, driver, log, host: hostSource, daemon: daemonSource },
    secrets: makeSecrets(directory, events),
    saslUsers: new SaslUsers({ path: join(directory, 'sasl-users.json'), log }),
    nodeDevices: makeNodeDevices(events),
    ...{ storage, ...imageServices({ storage, domains, directory }) },
  });
  const rig = await startServer({ ...options, handlers, events: (listener) => events.subscribe(listener) });
  return { ...rig, driver, directory, knowledge, events, domains, undo, connect: () => connected(rig) };
}

async function connected(rig: { client(): Promise<VireoClient> }): Promise<VireoClient> {
  const client = await rig.client();
  onTestFinished(() => client.close());
  return client;
}

/** A domain with a user-mode card and a serial port; `rest` is more devices, `os` more of how it boots. */
export const xml = (name: string, rest = '', os = '') =>
  `<domain type='qemu'><name>${name}</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='pc'>hvm</type>${os}</os><devices><interface type='user'/><serial type='pty'/>${rest}</devices></domain>`;
