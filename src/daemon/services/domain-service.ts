/** The engine's domain side as the front ends use it: one object that holds the registry and the verbs. */
import { existsSync } from 'node:fs';
import { VirtError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { HypervisorDriver } from '../../drivers/driver.ts';
import type { GuestGroups } from '../../drivers/host-tuning/cgroups.ts';
import type { DomainStateName } from '../../model/domain/state.ts';
import type { SaveFormat } from '../../model/saved-state/image.ts';
import { BackupArchives } from '../archives/archives.ts';
import { type ArchiveWorld, PendingArchives } from '../archives/world.ts';
import type { Hooks } from '../hooks/hooks.ts';
import type { DaemonMode } from '../paths.ts';
import type { DefinitionStore, QuarantinedFile } from '../state/definitions.ts';
import type { RuntimeStore } from '../state/runtime.ts';
import { BlockJobWatch } from './block-job-watch.ts';
import { DefinitionFiles } from './definition-files.ts';
import { type Domain, type DomainRef, DomainRegistry } from './domain.ts';
import { DomainAgent } from './domain-agent.ts';
import { DomainBackups } from './domain-backups.ts';
import { DomainBlockJobs } from './domain-block-jobs.ts';
import { DomainBlocks } from './domain-blocks.ts';
import { type CheckpointOptions, DomainCheckpoints } from './domain-checkpoints.ts';
import { DomainClones } from './domain-clone.ts';
import { DomainControls } from './domain-controls.ts';
import { DomainCpus } from './domain-cpus.ts';
import { DomainCreation, type HostForCreation } from './domain-create.ts';
import { DomainDefinitions } from './domain-definitions.ts';
import { DomainDevices } from './domain-devices.ts';
import { DomainDumps } from './domain-dumps.ts';
import { DomainInterfaces } from './domain-interfaces.ts';
import { DomainLaunchSecurity } from './domain-launch-security.ts';
import { DomainLifecycle } from './domain-lifecycle.ts';
import { DomainMemory } from './domain-memory.ts';
import { type DomainMetadata, domainMetadata } from './domain-metadata.ts';
import { DomainParameters } from './domain-parameters.ts';
import { DomainPerf } from './domain-perf.ts';
import { DomainPlans } from './domain-plan.ts';
import { DomainPolicies } from './domain-policies.ts';
import { DomainPowerOrder } from './domain-power-order.ts';
import { DomainRecovery } from './domain-recovery.ts';
import { DomainSaves } from './domain-saves.ts';
import { DomainSnapshots } from './domain-snapshots.ts';
import { DomainStatisticsService } from './domain-statistics.ts';
import { DomainThrottleGroups } from './domain-throttle-groups.ts';
import { TransferNotes } from './domain-transfers.ts';
import { DomainVcpus } from './domain-vcpus.ts';
import { DomainWait } from './domain-wait.ts';
import type { EventBus } from './events.ts';
import { lettingGoOn } from './frozen.ts';
import { type AddressKnowledge, GuestAddresses } from './guest-addresses.ts';
import type { JobObject, Jobs } from './jobs.ts';
import { ManagedSaves } from './managed-saves.ts';
import { MonitorEvents } from './monitor-events.ts';
import type { SnapshotOptions } from './snapshot-world.ts';
import type { StorageService } from './storage-service.ts';
import { TpmStates } from './tpm-states.ts';
import type { ForwardedPort } from './user-forwards.ts';
import type { DomainFacts, DomainWorld, GuestLinkControl } from './world.ts';

export interface DomainServiceOptions {
  readonly mode: DaemonMode;
  readonly driver: HypervisorDriver;
  readonly definitions: DefinitionStore;
  readonly runtime: RuntimeStore;
  readonly events: EventBus;
  readonly jobs: Jobs;
  readonly hooks?: Hooks;
  readonly log: Logger;
  readonly jobWaitMs: number;
  readonly stopGraceMs: number;
  readonly host: HostForCreation;
  /** Where saved states of stored domains are kept, and how they are packed. */
  readonly savedStates: { readonly directory: string; readonly format: SaveFormat };
  /** Devices of the host that running guests are plugged into. */
  readonly links: GuestLinkControl;
  /** Bandwidth of networks that interfaces are guaranteed; left out where there are no networks. */
  readonly shares?: NonNullable<DomainWorld['shares']>;
  /** Ports of the host that active networks lead to their guests; left out where there are no networks. */
  readonly forwardedPorts?: () => readonly ForwardedPort[];
  readonly snapshots: SnapshotOptions;
  /** Where clones get their disks. */
  readonly storage: () => StorageService;
  /** Where the state of emulated TPMs is, by uuid. */
  readonly tpmDirectory: string;
  readonly checkpoints: CheckpointOptions;
  /** Directory of the certificates for pull backups over TLS. */
  readonly backupCertificates: string;
  /** Where backups in work and plans are remembered, and where disks of restored domains go. */
  readonly archives: { readonly pending: string; readonly plans: string; readonly images: string };
  /** Control groups of guests; undefined where they are not used. */
  readonly groups?: GuestGroups;
  /** Who knows addresses of guests on the host's side. */
  readonly addresses: Omit<AddressKnowledge, 'log'>;
}

/** Every filter that is given must hold. */
export interface DomainFilter {
  readonly active?: boolean | undefined;
  readonly persistent?: boolean | undefined;
  readonly autostart?: boolean | undefined;
  readonly saved?: boolean | undefined;
  readonly state?: DomainStateName | undefined;
}

export class DomainService {
  /** Store, forget, rename, XML. */
  readonly definitions: DomainDefinitions;
  /** Title, description, foreign metadata. */
  readonly metadata: DomainMetadata;
  /** Start, shut down, reboot, reset, suspend, resume, destroy. */
  readonly lifecycle: DomainLifecycle;
  /** Keys, screen, consoles, log, port forwards, raw monitor. */
  readonly controls: DomainControls;
  /** From a short description to a domain. */
  readonly creation: DomainCreation;
  readonly recovery: DomainRecovery;
  readonly files: DefinitionFiles;
  /** Which addresses guests have, and who says so. */
  readonly addresses: GuestAddresses;
  readonly waiting: DomainWait;
  /** Network cards: the cable, limits, counters. */
  readonly interfaces: DomainInterfaces;
  /** Memory: the balloon, the maximum, what the guest says of it. */
  readonly memory: DomainMemory;
  /** Virtual CPUs and IO threads: how many, and where they run. */
  readonly cpus: DomainCpus;
  readonly vcpus: DomainVcpus;
  /** Shares and limits on the host: scheduler, memory, blkio, NUMA. */
  readonly parameters: DomainParameters;
  readonly perf: DomainPerf;
  readonly launchSecurity: DomainLaunchSecurity;
  /** Samples of what guests use. */
  readonly statistics: DomainStatisticsService;
  /** Disks: size, limits, counters, errors. */
  readonly blocks: DomainBlocks;
  /** Groups of limits that disks share. */
  readonly throttleGroups: DomainThrottleGroups;
  /** Jobs on the images of running guests. */
  readonly blockJobs: DomainBlockJobs;
  /** What the guest agent does. */
  readonly agent: DomainAgent;
  /** Saved states, in files and kept by the daemon. */
  readonly saves: DomainSaves;
  /** Memory of guests in files for debuggers. */
  readonly dumps: DomainDumps;
  /** Guests that start and end with their host, in an order. */
  readonly powerOrder: DomainPowerOrder;
  /** How far saves and dumps are. */
  readonly transfers: TransferNotes;
  /** Devices: plugged in, taken out, changed. */
  readonly devices: DomainDevices;
  /** What a new definition would change. */
  readonly plans: DomainPlans;
  /** What happens on power-off, reboot and crash. */
  readonly policies: DomainPolicies;
  /** What the guests' monitors say by themselves. */
  readonly monitorEvents = new MonitorEvents();
  readonly snapshots: DomainSnapshots;
  /** What notes which parts of disks were written since a moment. */
  readonly checkpoints: DomainCheckpoints;
  /** Backups of running guests. */
  readonly backups: DomainBackups;
  /** Clones, and the templates of linked ones. */
  readonly clones: DomainClones;
  /** Backups in directories, and plans of them. */
  readonly archives: BackupArchives;
  private readonly world: DomainWorld;

  constructor(options: DomainServiceOptions) {
    const world = worldOf(options, this.monitorEvents);
    const definitions = new DomainDefinitions(world);
    const lifecycle = new DomainLifecycle(world, definitions);
    const notes = new TransferNotes(world.events);
    this.transfers = notes;
    this.world = world;
    this.definitions = definitions;
    this.lifecycle = lifecycle;
    this.metadata = domainMetadata(definitions, world.events);
    this.devices = new DomainDevices(world, definitions);
    this.interfaces = new DomainInterfaces(world, definitions);
    this.memory = new DomainMemory(world, definitions);
    this.cpus = new DomainCpus(world, definitions);
    this.vcpus = new DomainVcpus(world, definitions);
    this.parameters = new DomainParameters(world, definitions, options.groups);
    this.perf = new DomainPerf(world, definitions);
    this.launchSecurity = new DomainLaunchSecurity(world, definitions);
    this.statistics = new DomainStatisticsService(definitions, (domain) => this.perf.counts(domain));
    this.blocks = new DomainBlocks(world, definitions);
    this.throttleGroups = new DomainThrottleGroups(world, definitions);
    const blockJobWatch = new BlockJobWatch(world, definitions);
    world.followers.push(this.perf.follow, blockJobWatch.follow, lettingGoOn(world, lifecycle));
    this.blockJobs = new DomainBlockJobs(world, blockJobWatch);
    this.agent = new DomainAgent(world);
    this.plans = new DomainPlans(world, definitions);
    this.policies = new DomainPolicies(world, definitions);
    this.saves = new DomainSaves(world, { definitions, lifecycle, notes });
    this.dumps = new DomainDumps(world, { lifecycle, notes });
    this.controls = new DomainControls(world, definitions);
    this.creation = new DomainCreation(world, definitions, lifecycle, options.host);
    this.recovery = new DomainRecovery(world, lifecycle, definitions);
    const { blockJobs } = this;
    this.snapshots = new DomainSnapshots(
      { world, definitions, lifecycle, notes, blockJobs },
      options.snapshots,
    );
    const checkpoints = new DomainCheckpoints({ world, definitions }, options.checkpoints);
    this.checkpoints = checkpoints;
    this.snapshots.beforeMerge.push((domain) => checkpoints.refuseOffline(domain));
    const certificates = options.backupCertificates;
    this.backups = new DomainBackups(world, { checkpoints, notes, certificates });
    const { storage } = options;
    const { firmware } = options.snapshots;
    this.clones = new DomainClones(world, { definitions, storage, firmware });
    const { backups, snapshots } = this;
    const engine = { domains: world, definitions, checkpoints, backups, snapshots, lifecycle };
    this.archives = archivesOf(options, engine);
    this.files = new DefinitionFiles(world);
    this.addresses = new GuestAddresses({ ...options.addresses, log: options.log });
    this.waiting = new DomainWait(world, {
      addresses: this.addresses,
      forwardsTo: (domain, port) => this.controls.forwardsTo(domain, port),
    });
    const { saves, waiting } = this;
    this.powerOrder = new DomainPowerOrder(world, { definitions, lifecycle, saves, waiting });
  }

  /** Reads the stored definitions and finds the running guests again. */
  async open(): Promise<void> {
    this.files.load();
    const saving = this.world.runtime.loadAll().flatMap(({ record }) => record?.saving?.temporary ?? []);
    await this.world.managedSaves.open(new Set(saving));
    await this.recovery.reattach();
    await this.snapshots.recover();
    await this.checkpoints.recover();
    await this.archives.open();
  }

  /** @throws VirtError domain.not-found */
  find(ref: DomainRef): Domain {
    return this.world.registry.find(ref);
  }

  /**
   * Finds by a text that is a name or a uuid; the uuid of a domain comes first, so that a domain whose name looks
   * like another's uuid can't stand in for it.
   * @throws VirtError domain.not-found, domain.quarantined
   */
  findByText(text: string): Domain {
    const { registry } = this.world;
    const uuid = registry.withUuid(text.toLowerCase())?.uuid;
    try {
      return registry.find(uuid === undefined ? { name: text } : { uuid });
    } catch (error) {
      this.files.refuseQuarantined(text);
      throw error;
    }
  }

  /** @throws VirtError domain.exists where a domain of that name or uuid is stored */
  refuseTaken(uuid: string, name: string): void {
    const { registry } = this.world;
    for (const taken of [registry.withUuid(uuid), registry.withName(name)])
      if (taken !== undefined && (taken.isPersistent || taken.uuid !== uuid))
        throw new VirtError('domain.exists', {
          wanted: `bring domain '${name}' back`,
          reason: `there is a domain '${taken.name}' (${taken.uuid})`,
          hint: `rename it first: 'vireo domain rename ${taken.name} NAME'`,
        });
  }

  /** Looks again for what lies beside a domain's definition, after somebody put it there. */
  noteFiles(domain: Domain): void {
    if (existsSync(this.world.managedSaves.pathOf(domain))) this.world.managedSaves.note(domain);
    this.snapshots.lookAgain(domain);
  }

  hasUuid(uuid: string): boolean {
    return this.withUuid(uuid) !== undefined;
  }

  withUuid(uuid: string): Domain | undefined {
    return this.world.registry.withUuid(uuid);
  }

  /** All whose QEMU runs, those that could not be taken over included. */
  runningUuids(): ReadonlySet<string> {
    return new Set([...this.list({ active: true }).map(({ uuid }) => uuid), ...this.world.strangers.keys()]);
  }

  /** The domains that fit, by name. */
  list(filter: DomainFilter = {}): Domain[] {
    const fits = (domain: Domain) =>
      (filter.active === undefined || domain.isActive === filter.active) &&
      (filter.persistent === undefined || domain.isPersistent === filter.persistent) &&
      (filter.autostart === undefined || domain.autostart === filter.autostart) &&
      (filter.saved === undefined || this.saves.hasManagedSave(domain) === filter.saved) &&
      (filter.state === undefined || domain.state.state === filter.state);
    return this.world.registry.byName.filter(
      (domain) => (domain.isPersistent || domain.isActive) && fits(domain),
    );
  }

  /** What lists show of a domain; undefined only in the moment between its end and its removal. */
  facts(domain: Domain): DomainFacts | undefined {
    return DomainLifecycle.facts(domain);
  }

  /**
   * Calls off what moves a domain's data.
   * @throws VirtError job.not-found where nothing does, job.not-cancellable
   */
  abortJob({ uuid }: Domain): void {
    const { jobs } = this.world;
    const isOurs = ({ object }: { readonly object: JobObject }) =>
      object.type === 'domain' && object.uuid === uuid;
    const found = jobs.list().find((job) => isOurs(job) && job.unit === 'bytes');
    jobs.cancel(found?.id ?? 'none');
  }

  get quarantined(): readonly QuarantinedFile[] {
    return this.files.quarantined;
  }

  get counts(): { readonly domains: number; readonly active: number } {
    return { domains: this.world.registry.size, active: this.world.registry.activeCount };
  }

  /** Lets go of all guests without touching them, when the daemon stops. */
  detach(): void {
    for (const domain of this.world.registry.all) domain.live?.guest.detach();
  }
}

function worldOf(options: DomainServiceOptions, monitorEvents: MonitorEvents): DomainWorld {
  return {
    ...options,
    registry: new DomainRegistry(),
    strangers: new Map(),
    followers: [],
    monitorEvents,
    tpmStates: new TpmStates(options.tpmDirectory),
    managedSaves: new ManagedSaves(options.savedStates.directory),
    saveFormat: options.savedStates.format,
  };
}

function archivesOf(
  { archives, jobs, log, snapshots: { firmware } }: DomainServiceOptions,
  parts: Omit<ArchiveWorld, 'jobs' | 'log' | 'pending' | 'images' | 'firmware'>,
): BackupArchives {
  const pending = new PendingArchives({ directory: archives.pending, log });
  return new BackupArchives(
    { ...parts, jobs, log, pending, firmware, images: archives.images },
    { planDirectory: archives.plans },
  );
}
