/** libvirt's front door over the real domain service and a fake hypervisor, on a socket in a directory of its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import type { Engine } from '../../../src/daemon/frontends/libvirt/context.ts';
import { type LibvirtServer, serveLibvirt } from '../../../src/daemon/frontends/libvirt/server.ts';
import { diskVolumes } from '../../../src/daemon/services/disk-volumes.ts';
import { DomainService } from '../../../src/daemon/services/domain-service.ts';
import { EventBus } from '../../../src/daemon/services/events.ts';
import type { FilteredCard } from '../../../src/daemon/services/guest-filters.ts';
import type { HostService } from '../../../src/daemon/services/host-service.ts';
import { createJobs } from '../../../src/daemon/services/jobs.ts';
import { NwFilterService } from '../../../src/daemon/services/nwfilter-service.ts';
import { PassedFiles } from '../../../src/daemon/services/passed-files.ts';
import { DefinitionStore } from '../../../src/daemon/state/definitions.ts';
import type { CpuModelSource, MemoryEncryption } from '../../../src/drivers/driver.ts';
import { readHostFacts, readHostMemory } from '../../../src/kvm/host-facts.ts';
import { type HostFiles, hostFiles } from '../../../src/kvm/host-files.ts';
import { type HostWriter, hostWriter } from '../../../src/kvm/host-writer.ts';
import { setPagePool } from '../../../src/kvm/page-pools.ts';
import { readPageSharing, setPageSharing } from '../../../src/kvm/page-sharing.ts';
import { HostSuspension } from '../../../src/kvm/suspend.ts';
import { messageType } from '../../../src/libvirt/protocol/message.ts';
import { type RemoteMessageName, remoteProcedures } from '../../../src/libvirt/protocol/programs.ts';
import { decodeAll, type Xdr } from '../../../src/libvirt/xdr/xdr.ts';
import type { HostInterface } from '../../../src/net/links/host-interfaces.ts';
import { domainOptions } from '../../support/domain-options.ts';
import { FakeNetworkHost } from '../../support/fake-network-host.ts';
import { LibvirtClient } from '../../support/libvirt-client.ts';
import { makeNodeDevices } from '../../support/node-devices.ts';
import { makeSecrets } from '../../support/secrets.ts';
import { storageRig } from '../../support/storage-rig.ts';
import { FakeDriver } from '../jsonrpc/fake-driver.ts';

export interface Rig {
  readonly server: LibvirtServer;
  readonly driver: FakeDriver;
  readonly events: EventBus;
  readonly engine: Engine;
  readonly directory: string;
  /** Files that stand for the host's in /sys where it is changed. */
  readonly hostRoot: string;
  readonly socketPath: string;
  open(flags?: number): Promise<LibvirtClient>;
  connect(): Promise<LibvirtClient>;
}

/** Three models, one within the next. */
/** The first has what the hypervisor's own CPU leaves out, and can be used all the same. */
const fakeModels = new Map([
  ['Small', ['sse2', 'topoext']],
  ['Middle', ['aes', 'sse2']],
  ['Large', ['aes', 'avx', 'sse2']],
]);

const fakeCpus = (encryption: MemoryEncryption): CpuModelSource => ({
  names: async () => [...fakeModels.keys()],
  world: async () => ({
    hypervisor: ['aes', 'pni', 'sse2'],
    models: [...fakeModels.keys()],
    usableModels: ['Small', 'Middle'],
    features: async () => fakeModels,
  }),
  memoryEncryption: () => Promise.resolve(encryption),
  expandHostModel: async (definition) => ({
    ...definition,
    cpu: { features: [], ...definition.cpu, mode: 'custom', model: { name: 'Middle' } },
  }),
});

const notEncrypted: MemoryEncryption = {
  problem: { reason: 'SEV is of AMD', repair: 'run it elsewhere' },
};

/** What of the host a test makes up. */
export interface RigHost {
  /** What it has of AMD SEV; nothing. */
  readonly encryption?: MemoryEncryption;
  /** Where its devices are read from; this computer's. */
  readonly files?: HostFiles;
  /** What is written to its sysfs. */
  readonly write?: HostWriter;
  /** Whether a VFIO group of it is open; none is. */
  readonly isGroupBusy?: (group: number) => boolean;
  /** What is done to its devices. */
  readonly moved?: string[];
  /** Cards of running guests that filters are for. */
  readonly cards?: readonly FilteredCard[];
  /** Its network interfaces; none. */
  readonly interfaces?: readonly HostInterface[];
}

/** Filters whose rules go nowhere. */
function makeFilters(directory: string, events: EventBus, cards: readonly FilteredCard[]): NwFilterService {
  const filters = new NwFilterService({
    definitions: new DefinitionStore({
      directory: join(directory, 'nwfilters'),
      quarantine: join(directory, 'q'),
      noun: 'network filter',
      log: silentLogger,
    }),
    guests: {
      cards: () => [...cards],
      rehearse: async () => new Map(),
      putInPlace: async () => undefined,
      renewThose: async () => undefined,
    },
    events,
    log: silentLogger,
    jobWaitMs: 1000,
  });
  filters.open();
  return filters;
}

/** This computer's facts, with changes that go to files below `root`. */
function fakeHost(root: string): HostService {
  const below = { files: hostFiles(root), write: hostWriter(root) };
  const suspension = new HostSuspension(below);
  const host: Partial<HostService> = {
    facts: () => readHostFacts(),
    memory: () => readHostMemory(),
    pageSharing: () => readPageSharing(below.files),
    setPageSharing: (values) => setPageSharing(below, values),
    setPagePool: (wish) => setPagePool(below, wish),
    suspend: (...args) => suspension.suspend(...args),
  };
  return host as HostService;
}

/** An engine over a fake hypervisor, with its state below `directory`. */
export function fakeEngine(directory: string, host: RigHost = {}) {
  const driver = new FakeDriver();
  const log = silentLogger;
  const events = new EventBus(log);
  const storage = storageRig({ directory: join(directory, 'storage'), bus: events });
  const domains = new DomainService({
    ...domainOptions(directory),
    driver,
    events,
    jobs: createJobs(events),
    links: new FakeNetworkHost(),
    addresses: { leases: async () => [], neighbours: () => [] },
    host: {
      volumes: diskVolumes(storage.storage),
      logDirectory: '/var/log/vireo/qemu',
      arch: 'x86_64',
      kvmProblem: () => Promise.resolve(undefined),
    },
  });
  const engine: Engine = {
    mode: 'system',
    domains,
    networks: undefined,
    storage: storage.storage,
    nwfilters: makeFilters(directory, events, host.cards ?? []),
    nodeDevices: makeNodeDevices(events, { directory, ...host }),
    secrets: makeSecrets(directory, events),
    passedFiles: new PassedFiles((uuid) => domains.withUuid(uuid)),
    interfaces: () => host.interfaces ?? [],
    host: fakeHost(join(directory, 'host')),
    driver,
    cpus: fakeCpus(host.encryption ?? notEncrypted),
    emulatorVersion: () => Promise.resolve(7_002_004),
    hostName: 'here',
    log,
  };
  return { engine, driver, events, domains };
}

export async function startRig(options: RigHost & { readonly readOnlySocket?: boolean } = {}): Promise<Rig> {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-lv-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const { engine, driver, events, domains } = fakeEngine(directory, options);
  await domains.open();
  const server = await serveLibvirt({
    mode: 'system',
    engine,
    directory: join(directory, 'run'),
    fallbackDirectory: join(directory, 'own'),
    rights: { mode: 0o600 },
    readOnlySocket: options.readOnlySocket ?? false,
    subscribe: (listener) => events.subscribe(listener),
    onClientsChange: () => undefined,
    log: silentLogger,
  });
  onTestFinished(() => server.close(100));
  const clients: LibvirtClient[] = [];
  onTestFinished(() => {
    for (const client of clients) client.close();
  });
  const keep = (client: LibvirtClient) => {
    clients.push(client);
    return client;
  };
  const { socketPath } = server;
  return {
    server,
    driver,
    events,
    engine,
    directory,
    hostRoot: join(directory, 'host'),
    socketPath,
    open: async (flags) => keep(await LibvirtClient.open(socketPath, flags)),
    connect: async () => keep(await LibvirtClient.connect(socketPath)),
  };
}

/** The body of the next message of that kind, waiting for it. */
export async function nextEvent(client: LibvirtClient, name: RemoteMessageName): Promise<unknown> {
  const { number, body } = remoteProcedures[name];
  const packet = await client.next(
    ({ header }) => header.type === messageType.message && header.procedure === number,
  );
  return decodeAll(body as Xdr<unknown>, packet.body);
}

export const guestXml = (name: string) =>
  `<domain type='qemu'><name>${name}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os><devices><serial type='pty'/></devices></domain>`;
