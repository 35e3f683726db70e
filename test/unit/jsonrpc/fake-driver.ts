/** A hypervisor of plain data: guests are objects that do what they are told and keep a list of it. */
import { randomUUID } from 'node:crypto';
import { openSync, readFileSync, writeSync } from 'node:fs';
import { Duplex, PassThrough } from 'node:stream';
import { VirtError } from '../../../src/base/errors.ts';
import type {
  AgentInterface,
  GuestEvent,
  GuestExit,
  GuestRecord,
  HypervisorDriver,
  LaunchMeasurement,
  LiveBackup,
  LiveBlockJobs,
  LiveCheckpoints,
  LiveGuest,
  LiveLaunchSecurity,
  MonitorEvent,
  ReceiveFilter,
  StartOptions,
} from '../../../src/drivers/driver.ts';
import { GuestAgent } from '../../../src/drivers/guest-agent.ts';
import type { LiveMemory, MemoryProgress } from '../../../src/drivers/live-memory.ts';
import type { CpuPlace, LiveTuning, MonitorSample } from '../../../src/drivers/live-tuning.ts';
import { whyNot } from '../../../src/drivers/qemu/hotplug/refused.ts';
import { replaceDevice, withDevice, withoutDevice } from '../../../src/model/domain/device-list.ts';
import type { DomainDef } from '../../../src/model/domain/domain.ts';
import type { DomainState } from '../../../src/model/domain/state.ts';

const memoryProgress: MemoryProgress = {
  totalBytes: 4096,
  doneBytes: 4096,
  remainingBytes: 0,
  writtenBytes: 5,
  constantPages: 0,
  normalPages: 1,
  normalBytes: 4096,
  pageBytes: 4096,
  bytesPerSecond: 1000,
  dirtyPagesPerSecond: 0,
  iterations: 1,
  totalMs: 3,
  downtimeMs: 2,
  setupMs: 1,
};

export class FakeGuest implements LiveGuest {
  readonly record: GuestRecord;
  readonly definition: DomainDef;
  readonly exited: Promise<GuestExit>;
  readonly done: string[] = [];
  state: DomainState = { state: 'running', reason: 'booted' };
  /** What its agent answers. */
  interfaces: Promise<AgentInterface[]> = Promise.resolve([]);
  userAddresses: { alias: string; address: string }[] = [];
  /** What its agent answers, by command; what is missing is not known to it. */
  readonly answers: Record<string, unknown> = {};
  readonly agent = new GuestAgent(async (command, args) => {
    this.done.push(`agent ${command} ${JSON.stringify(args ?? {})}`);
    if (Object.hasOwn(this.answers, command)) return this.answers[command];
    throw new VirtError('operation.failed', {
      reason: `the agent says: The command ${command} has not been found`,
      details: { class: 'CommandNotFound' },
    });
  });
  /** What the secure processor tells of its start. */
  measurement: LaunchMeasurement = {
    apiMajor: 1,
    apiMinor: 55,
    buildId: 21,
    state: 'launch-secret',
    policy: 1,
    measurement: 'bWVhc3VyZWQ=',
  };
  readonly launchSecurity: LiveLaunchSecurity = {
    measurement: () => Promise.resolve(this.measurement),
    injectSecret: ({ header, secret, address }) =>
      this.note(`secret ${header} ${secret} ${address ?? 'anywhere'}`),
  };
  /** What QEMU measures. */
  measured: MonitorSample = {};
  /** Where it has CPUs, and could have. */
  cpuPlaces: CpuPlace[] = [];
  readonly tuning: LiveTuning = {
    sample: () => Promise.resolve(this.measured),
    setBalloon: (bytes) => this.note(`balloon ${bytes}`),
    setBalloonPeriod: (seconds) => this.note(`balloon period ${seconds}`),
    cpus: () => Promise.resolve([...(this.measured.cpus ?? [])]),
    cpuPlaces: () => Promise.resolve(this.cpuPlaces),
    plugCpus: (firsts) => this.setCpus(firsts, true),
    unplugCpus: (firsts) => this.setCpus(firsts, false),
    addIothread: (id) => this.note(`iothread ${id}`),
    removeIothread: (id) => this.note(`no iothread ${id}`),
    setIothread: (id, settings) => this.note(`iothread ${id} ${JSON.stringify(settings)}`),
    resizeDisk: (alias, bytes) => this.note(`resize ${alias} ${bytes}`),
    setDiskLimits: (alias, limits) => this.note(`limits ${alias} ${JSON.stringify(limits)}`),
    setThrottleGroup: (name, limits, isThere) =>
      this.note(`group ${name} ${isThere ? 'set' : 'made'} ${JSON.stringify(limits)}`),
    removeThrottleGroup: (name) => this.note(`no group ${name}`),
    diskErrors: () => Promise.resolve([]),
    setWriteThreshold: (image, bytes) => this.note(`threshold ${image} ${bytes}`),
    peekMemory: (_kind, _address, length) => Promise.resolve(Buffer.alloc(length, 7)),
    startDirtyRate: (seconds) => this.note(`dirty rate ${seconds}`),
    wakeUp: () => this.note('wake up'),
  };
  /** Jobs on its images; `emit` tells what becomes of them. */
  readonly blockJobs: LiveBlockJobs = {
    records: [],
    list: () => Promise.resolve([]),
    setSpeed: (id, speed) => this.note(`speed ${id} ${speed}`),
    cancel: (id) => this.note(`cancel ${id}`),
    pivot: (id) => this.note(`pivot ${id}`),
    goOn: (id) => this.note(`go on ${id}`),
    giveUp: (id) => this.note(`give up ${id}`),
    clear: (id) => this.note(`clear ${id}`),
  };
  readonly checkpoints: LiveCheckpoints = {
    add: (name, disks) => this.note(`checkpoint ${name} ${disks.join()}`),
    broken: () => Promise.resolve([]),
    sizes: (_name, disks) => Promise.resolve(new Map(disks.map((disk) => [disk, 65_536]))),
  };
  /** `emit` tells how it ends. */
  readonly backup: LiveBackup = {
    record: undefined,
    begin: async ({ record, disks }) => {
      this.done.push(`backup ${record.mode} ${disks.map(({ disk, file }) => `${disk} ${file}`).join()}`);
      const taken = disks.map(({ disk, file, format }) => ({ disk, file, format }));
      Object.assign(this.backup, { record: { ...record, disks: taken, hasBegun: true } });
    },
    progress: () => Promise.resolve({ doneBytes: 1, totalBytes: 2 }),
    cancel: () => this.note('cancel backup'),
    clear: async () => {
      this.done.push('clear backup');
      Object.assign(this.backup, { record: undefined });
    },
  };
  /** What the guest prints on its console. */
  readonly console = new PassThrough();
  private exit: (exit: GuestExit) => void = () => {};
  private readonly listeners = new Set<(event: GuestEvent) => void>();

  constructor(definition: DomainDef, id: number) {
    const { devices } = definition;
    this.definition = {
      ...definition,
      devices: {
        ...devices,
        interfaces: devices.interfaces.map((nic, index) => ({ ...nic, alias: `net${index}` })),
        serials: devices.serials.map((serial, index) => ({ ...serial, alias: `serial${index}` })),
      },
    };
    this.record = {
      pid: 100_000 + id,
      startTimeTicks: '1',
      qemuPath: '/bin/false',
      directory: '/nowhere',
      qmpSocket: '/nowhere/qmp',
      ptys: {},
      sockets: {},
      startedAtMs: Date.now(),
      logPath: '/nowhere/log',
      logs: [],
      graphicsPorts: [],
      helpers: [],
      links: {},
      foreignSockets: [],
    };
    this.exited = new Promise((resolve) => {
      this.exit = resolve;
    });
  }

  onEvent(listener: (event: GuestEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  emit(event: GuestEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  expectStop = (reason: string) => void this.done.push(`expect stop: ${reason}`);
  takeDisksBack = async () => void this.done.push('take disks back');
  settleSaving = () => void this.done.push('settle saving');
  setStill = (still: GuestRecord['still']) => void Object.assign(this.record, { still });
  setSaving = (saving: unknown) => void this.done.push(saving === undefined ? 'not saving' : 'saving');
  /** What it writes as its state. */
  readonly memory: LiveMemory = {
    requireSparse: () => Promise.resolve(),
    save: async (fd) => {
      writeSync(fd, 'STATE');
      this.done.push('save');
      return memoryProgress;
    },
    dump: async (fd, format) => {
      writeSync(fd, `DUMP ${format}`);
      this.done.push(`dump ${format}`);
    },
  };

  private async note(what: string): Promise<void> {
    this.done.push(what);
  }

  private setCpus(firsts: readonly number[], isPresent: boolean): Promise<void> {
    this.cpuPlaces = this.cpuPlaces.map((place) =>
      firsts.includes(place.first) ? { ...place, isPresent } : place,
    );
    return this.note(`cpus ${firsts.join()} ${isPresent ? 'in' : 'out'}`);
  }

  private readonly monitorListeners = new Set<(event: MonitorEvent) => void>();
  onMonitorEvent(listener: (event: MonitorEvent) => void): () => void {
    this.monitorListeners.add(listener);
    return () => this.monitorListeners.delete(listener);
  }
  /** Says something on its monitor. */
  say(event: MonitorEvent): void {
    for (const listener of this.monitorListeners) listener(event);
  }
  setResetAction = (action: string) => this.note(`reset means ${action}`);
  reloadVncCertificates = () => this.note('reload certificates');
  suspend = (reason = 'user') => this.note(reason === 'user' ? 'suspend' : `suspend for ${reason}`);
  resume = () => this.note('resume');
  reset = () => this.note('reset');
  injectNmi = () => this.note('nmi');
  sendKeys = (keys: readonly string[], holdMs: number) => this.note(`keys ${keys.join('+')} ${holdMs}`);
  agentShutdown = (mode: string) => this.note(`agent ${mode}`);
  agentPing = (): Promise<void> => this.interfaces.then(() => undefined);
  agentInterfaces = (): Promise<AgentInterface[]> => this.interfaces;
  userNetworkAddresses = () => Promise.resolve(this.userAddresses);
  setLink = (alias: string, isUp: boolean) => this.note(`link ${alias} ${isUp ? 'up' : 'down'}`);
  /** What its cards want to receive. */
  filter: ReceiveFilter | undefined;
  receiveFilter = () => Promise.resolve(this.filter);
  addPortForward = (alias: string) => this.note(`forward ${alias}`);
  removePortForward = (alias: string) => this.note(`unforward ${alias}`);
  detach = () => void this.done.push('detach');

  async powerButton(): Promise<void> {
    this.done.push('power button');
    this.emit({ kind: 'powered-off', byGuest: true, seconds: 0 });
  }

  async screenshot() {
    return { mime: 'image/png' as const, bytes: Buffer.from('picture') };
  }

  async kill(): Promise<GuestExit> {
    this.done.push('kill');
    const exit = { signal: 'SIGTERM', stderrTail: '' };
    this.exit(exit);
    return exit;
  }

  /** A descriptor that stands for a display. */
  async addGraphicsClient(): Promise<void> {}

  openGraphics(index: number): Promise<number> {
    this.done.push(`graphics ${index}`);
    return Promise.resolve(openSync('/dev/null', 'r'));
  }

  drainConsoles(): Promise<void> {
    return Promise.resolve();
  }

  async openConsole(alias: string | undefined): Promise<Duplex> {
    this.done.push(`console ${alias ?? ''}`);
    return Duplex.from({ readable: this.console, writable: new PassThrough() });
  }

  async monitorCommand(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    return { command, args };
  }
}

export class FakeDriver implements HypervisorDriver {
  readonly guests: FakeGuest[] = [];
  /** Holds starts back until it settles. */
  startGate: Promise<void> = Promise.resolve();

  get lastGuest(): FakeGuest {
    const guest = this.guests.at(-1);
    if (guest === undefined) throw new Error('no guest was started');
    return guest;
  }

  /** What the emulator thinks of a definition. */
  check: (definition: DomainDef) => Promise<void> = () => Promise.resolve();

  async complete(definition: DomainDef, previous?: DomainDef): Promise<DomainDef> {
    return { ...definition, uuid: definition.uuid ?? previous?.uuid ?? randomUUID() };
  }

  async commandLine(definition: DomainDef): Promise<readonly string[]> {
    return ['qemu', '-name', definition.name];
  }

  async start(definition: DomainDef, domainId: number, options: StartOptions): Promise<LiveGuest> {
    options.onStep?.('starting the fake');
    const aborted = new Promise<never>((_, reject) =>
      options.signal?.addEventListener('abort', () => reject(options.signal?.reason as Error)),
    );
    await Promise.race([this.startGate, aborted]);
    const guest = new FakeGuest(definition, domainId);
    this.guests.push(guest);
    if (options.incoming !== undefined) {
      guest.done.push(`load ${readFileSync(options.incoming.fd, 'utf8')}`);
      await options.incoming.onLoaded?.(guest);
    }
    if (options.paused) guest.state = { state: 'paused', reason: 'user' };
    return guest;
  }

  /** What was done to devices, in words. */
  readonly plugged: string[] = [];
  whyNotPluggable: HypervisorDriver['whyNotPluggable'] = whyNot;
  attachDevice: HypervisorDriver['attachDevice'] = async (guest, one, { save }) => {
    await save();
    this.plugged.push(`attach ${one.element}`);
    Object.assign(guest.definition, { devices: withDevice(guest.definition.devices, one) });
    return `${one.element}0`;
  };
  detachDevice: HypervisorDriver['detachDevice'] = async (guest, one) => {
    this.plugged.push(`detach ${one.element}`);
    Object.assign(guest.definition, { devices: withoutDevice(guest.definition.devices, one) });
    return 'removed';
  };
  updateDevice: HypervisorDriver['updateDevice'] = async (guest, { old, device }) => {
    this.plugged.push(`update ${old.element}`);
    Object.assign(guest.definition, { devices: replaceDevice(guest.definition.devices, old, device) });
  };
  addOverlays: HypervisorDriver['addOverlays'] = async (_guest, overlays) =>
    void this.plugged.push(`overlay ${overlays.map(({ file }) => file).join(' ')}`);
  adoptOverlays: HypervisorDriver['adoptOverlays'] = () => undefined;
  isOnNewImages: HypervisorDriver['isOnNewImages'] = () => Promise.resolve(false);
  isSameMachine: HypervisorDriver['isSameMachine'] = () => true;
  saveSnapshot: HypervisorDriver['saveSnapshot'] = async (_guest, { name }) =>
    void this.plugged.push(`save ${name}`);
  loadSnapshot: HypervisorDriver['loadSnapshot'] = async (_guest, { name }) =>
    void this.plugged.push(`load ${name}`);
  hasFailedToLoad: HypervisorDriver['hasFailedToLoad'] = () => Promise.resolve(false);
  deleteSnapshot: HypervisorDriver['deleteSnapshot'] = async (_guest, { name }) =>
    void this.plugged.push(`delete ${name}`);
  removeCheckpoint: HypervisorDriver['removeCheckpoint'] = (guest, name, disks) => {
    (guest as FakeGuest).done.push(`no checkpoint ${name} ${disks.join()}`);
    return Promise.resolve();
  };
  startBlockJob: HypervisorDriver['startBlockJob'] = async (_guest, request, { save }) => {
    await save();
    this.plugged.push(`block ${request.kind} ${request.disk}`);
    return { id: `${request.kind}-${request.disk}`, kind: request.kind, disk: request.disk };
  };
  reattach = () => Promise.resolve(undefined);
  consoleLogTail = () => Promise.resolve(undefined);
  /** Names of domains whose logs were removed. */
  readonly removedLogs: string[] = [];
  removeLogs = (definition: DomainDef) => {
    this.removedLogs.push(definition.name);
    return Promise.resolve();
  };
  logTail = (definition: DomainDef, maxBytes: number) => Promise.resolve(`${definition.name} ${maxBytes}`);
  cleanUp = () => Promise.resolve();
  findStrays = () => Promise.resolve([]);
  endStray = () => Promise.resolve();
  recordOf = () => Promise.resolve(undefined);
  capabilitiesXml = () => Promise.resolve('<capabilities/>');
  domainCapabilitiesXml = (query: object) =>
    Promise.resolve(`<domainCapabilities>${JSON.stringify(query)}</domainCapabilities>`);
}
