/** The second stage of a daemon: all services and what they stand on, before anybody can reach them. */
import { join } from 'node:path';
import { listenForUevents } from '../base/uevents.ts';
import { HostDevices } from '../drivers/host-devices/host-devices.ts';
import { listNodeDevices } from '../drivers/host-devices/node-devices/list.ts';
import type { QemuDriver } from '../drivers/qemu/driver.ts';
import { defaultLogLimits, rotateAll } from '../drivers/qemu/log-file.ts';
import type { EmulatorSource } from '../drivers/qemu/options.ts';
import type { HostFacts } from '../kvm/host-facts.ts';
import { hostFiles } from '../kvm/host-files.ts';
import { hostWriter } from '../kvm/host-writer.ts';
import { LinuxLinks } from '../net/links/link-host.ts';
import { listNeighbours } from '../net/links/neighbours.ts';
import { functionSettings, restoreFunction, setFunction } from '../net/links/virtual-functions.ts';
import type { LibvirtAdoption } from './adopt/adopt-libvirt.ts';
import { buildCheckpoints } from './checkpoints.ts';
import { buildAdoption } from './drop-in.ts';
import type { Ground } from './ground.ts';
import { StatisticsHistory } from './history/history.ts';
import { HistoryFiles } from './history/history-files.ts';
import { buildDriver, emulatorSource, guestGroups, kvmProblem } from './hypervisor.ts';
import { buildImages } from './images.ts';
import { buildNetworking, type Networking } from './networks.ts';
import { cleanEntries } from './recorder/clean-entries.ts';
import { FlightRecorder } from './recorder/flight-recorder.ts';
import { RecordFiles } from './recorder/record-files.ts';
import { listenTo } from './recorder/sources.ts';
import { diskVolumes } from './services/disk-volumes.ts';
import { DomainService } from './services/domain-service.ts';
import { HostService } from './services/host-service.ts';
import { MediatedDevices } from './services/mediated-devices.ts';
import { NodeDeviceService } from './services/node-device-service.ts';
import { PassedFiles } from './services/passed-files.ts';
import { SaslUsers } from './services/sasl-users.ts';
import { SecretService } from './services/secret-service.ts';
import { SessionLinks } from './services/session-links.ts';
import { buildSnapshots } from './snapshots.ts';
import { DefinitionStore } from './state/definitions.ts';
import { MdevDefinitions } from './state/mdev-definitions.ts';
import { RuntimeStore } from './state/runtime.ts';
import { SecretValues } from './state/secret-values.ts';
import { buildStorage, type Storage } from './storage.ts';
import { Undo } from './undo/undo.ts';
import { UndoStore } from './undo/undo-store.ts';

/** Everything that front doors lead to. */
export interface DaemonEngine {
  readonly host: HostService;
  readonly facts: HostFacts;
  readonly driver: QemuDriver;
  readonly emulators: EmulatorSource;
  readonly domains: DomainService;
  /** Undefined in a session. */
  readonly networking: Networking | undefined;
  /** In a session only. */
  readonly sessionLinks: SessionLinks | undefined;
  readonly storage: Storage;
  readonly images: ReturnType<typeof buildImages>;
  readonly secrets: SecretService;
  /** Descriptors that clients have handed over for disks. */
  readonly passedFiles: PassedFiles;
  /** Whom clients of other hosts may say they are. */
  readonly saslUsers: SaslUsers;
  readonly nodeDevices: NodeDeviceService;
  readonly hostDevices: HostDevices;
  readonly adoption: LibvirtAdoption;
  /** What happened around each guest lately, and the files of it. */
  readonly recorder: FlightRecorder;
  readonly records: RecordFiles;
  /** What guests used before, and the files of it. */
  readonly history: StatisticsHistory;
  readonly histories: HistoryFiles;
  /** Takes deletions back. */
  readonly undo: Undo;
}

/** Puts the services together. Of the host only facts are read; no state is. */
export async function buildEngine(ground: Ground): Promise<DaemonEngine> {
  const { paths, config, log } = ground;
  const host = new HostService({ paths, config });
  const facts = await host.facts();
  const isSession = paths.mode === 'session';
  // Networks and storage ask who uses them, and domains need both: whoever asks, asks later.
  const networking = buildNetworking({ ...ground, domains: () => domains });
  const sessionLinks = isSession ? new SessionLinks({ links: new LinuxLinks() }) : undefined;
  const secrets = buildSecrets(ground);
  const hostDevices = new HostDevices({
    ...{ directory: paths.hostDevices, log },
    ...(!isSession && {
      functions: { settings: functionSettings, set: setFunction, restore: restoreFunction },
    }),
  });
  const storage = buildStorage({ ...ground, secrets, domains: () => domains });
  const passedFiles = new PassedFiles((uuid) => domains.withUuid(uuid));
  const emulators = emulatorSource(paths, config, log);
  const records = new RecordFiles(paths.flightRecords);
  const recorder = new FlightRecorder({
    ...{ files: records, log },
    clean: (uuid, entries) => cleanEntries(entries, domains.withUuid(uuid)),
  });
  const driver = await buildDriver({
    paths,
    config,
    log,
    host,
    links: networking?.links ?? sessionLinks,
    hostDevices,
    emulators,
    secrets,
    volumes: storage.volumes,
    passedFiles,
    recorder,
  });
  const guests = { driver, emulators, networking, sessionLinks, passedFiles };
  const parts = { ...guests, host, facts, storage, secrets, hostDevices };
  const domains: DomainService = buildDomains(ground, parts);
  listenTo(recorder, { events: ground.events, domains, memory: () => host.memory() });
  return {
    ...parts,
    saslUsers: new SaslUsers({ path: paths.saslUsers, log }),
    domains,
    recorder,
    records,
    ...buildHistory(ground, domains),
    undo: buildUndo(ground, parts, domains),
    images: buildImages({ ...ground, storage: storage.service, domains, hostArch: facts.arch }),
    nodeDevices: buildNodeDevices(ground, parts),
    adoption: buildAdoption(paths, {
      domains,
      networks: networking?.service,
      storage: storage.service,
      secrets,
      nwfilters: networking?.nwfilters,
      log,
    }),
  };
}

/** Statistics of all guests, kept for graphs. */
function buildHistory(
  { paths, config, log }: Ground,
  domains: DomainService,
): Pick<DaemonEngine, 'histories' | 'history'> {
  const histories = new HistoryFiles({ directory: paths.history, log });
  const sampleMs = config.statistics.sample_seconds * 1000;
  return { histories, history: new StatisticsHistory({ domains, files: histories, sampleMs, log }) };
}

function buildUndo(
  { paths, config, log }: Ground,
  { networking, storage }: Pick<DaemonEngine, 'networking' | 'storage'>,
  domains: DomainService,
): Undo {
  return new Undo({
    store: new UndoStore({ directory: paths.undo, log }),
    domains,
    networks: networking?.service,
    storage: storage.service,
    directories: paths,
    days: config.daemon.undo_days,
    log,
  });
}

function buildSecrets({ paths, events, log, jobWaitMs }: Ground): SecretService {
  return new SecretService({
    definitions: new DefinitionStore({
      directory: paths.secrets,
      quarantine: paths.secretQuarantine,
      noun: 'secret',
      log,
    }),
    values: new SecretValues({ directory: paths.secretValues }),
    events,
    log,
    jobWaitMs,
  });
}

function buildNodeDevices(
  { paths, events, log }: Ground,
  { facts, hostDevices }: Pick<DaemonEngine, 'facts' | 'hostDevices'>,
): NodeDeviceService {
  const files = hostFiles();
  const host = { files, hostName: facts.hostname, hostUuid: facts.uuid.value };
  const mediated = new MediatedDevices({
    mode: paths.mode,
    host: { files, write: hostWriter() },
    stored: new MdevDefinitions({ directory: paths.mediatedDevices, log }),
    present: () => listNodeDevices(host),
    autostartMarker: paths.mediatedDevicesMarker,
    log,
  });
  return new NodeDeviceService({
    host,
    mediated,
    devices: hostDevices,
    mode: paths.mode,
    events,
    log,
    uevents: listenForUevents,
  });
}

function buildDomains(
  { paths, config, events, jobs, hooks, log, jobWaitMs }: Ground,
  parts: Pick<DaemonEngine, 'host' | 'facts' | 'driver' | 'networking' | 'storage'>,
): DomainService {
  const { host, facts, driver, networking, storage } = parts;
  return new DomainService({
    mode: paths.mode,
    driver,
    definitions: new DefinitionStore({ directory: paths.definitions, quarantine: paths.quarantine, log }),
    runtime: new RuntimeStore({ directory: paths.status, log }),
    events,
    jobs,
    hooks,
    log,
    ...(paths.mode === 'system' && { groups: guestGroups }),
    jobWaitMs,
    stopGraceMs: config.qemu.stop_grace_seconds * 1000,
    savedStates: { directory: paths.saves, format: config.qemu.save_format },
    storage: () => storage.service,
    snapshots: buildSnapshots({ paths, log, volumes: storage.volumes, users: storage.users }),
    tpmDirectory: paths.tpm,
    checkpoints: buildCheckpoints({ paths, log, volumes: storage.volumes }),
    backupCertificates: config.backup.tls_directory,
    archives: { pending: paths.backupsInWork, plans: paths.backupPlans, images: paths.images },
    links: new LinuxLinks(),
    ...(networking && { shares: networking.service.shares }),
    ...(networking && { forwardedPorts: () => networking.service.forwards.active() }),
    addresses: {
      leases: async (network) => (await networking?.service.datedLeases(network)) ?? [],
      neighbours: listNeighbours,
    },
    host: {
      arch: facts.arch,
      logDirectory: paths.guestLogs,
      volumes: diskVolumes(storage.service),
      kvmProblem: () => kvmProblem(host),
    },
  });
}

/** Reads what is stored, finds running guests again, and clears away what ended ones left. Before any door opens. */
export async function openEngine({
  secrets,
  networking,
  domains,
  hostDevices,
  storage,
  recorder,
}: DaemonEngine): Promise<void> {
  await secrets.open();
  await networking?.open();
  await domains.open();
  for (const uuid of domains.runningUuids()) recorder.note(uuid, 'event', 'a new daemon found it running');
  await hostDevices.releaseOthers(domains.runningUuids());
  await networking?.sweepLinks(domains.runningUuids());
  storage.service.open();
}

/** Caps logs that grew unwatched, and starts what is to be started with the host. Networks and storage first: guests that are started then find them. */
export async function bringUp(
  { networking, storage, domains, records, undo, history, histories }: DaemonEngine,
  { paths, config, events, log }: Ground,
): Promise<void> {
  if (config.statistics.history) history.start(events);
  await rotateAll(paths.guestLogs, defaultLogLimits, log);
  await Promise.all([networking?.bringUp(), storage.bringUp()]);
  await domains.recovery.autostart(join(paths.runtime, 'autostarted'));
  undo.start();
  const isKnown = (uuid: string): boolean => domains.hasUuid(uuid);
  await records.sweep(isKnown);
  await histories.sweep(isKnown);
}

/** Reads all stored definitions again. */
export async function rescan({ domains, networking, secrets, storage }: DaemonEngine): Promise<void> {
  await domains.files.rescan();
  await networking?.service.rescan();
  await networking?.nwfilters.rescan();
  await secrets.rescan();
  await storage.service.rescan();
}

/** Lets go of guests, networks and pools without touching them. */
export function detach({ domains, networking, storage, undo }: DaemonEngine): void {
  undo.stop();
  domains.detach();
  networking?.detach();
  storage.service.detach();
}
