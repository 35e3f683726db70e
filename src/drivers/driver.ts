/** What the daemon asks of a hypervisor driver, and what a driver asks of the host through the daemon. */
import type { FileHandle } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import type { Device, OneDevice } from '../model/domain/device-list.ts';
import type { BackingStore } from '../model/domain/devices/disk.ts';
import type { DomainDef } from '../model/domain/domain.ts';
import type { DomainState } from '../model/domain/state.ts';
import type { SecretReference } from '../model/secret/secret.ts';
import type { GuestAgent } from './guest-agent.ts';
import type { LiveTuning } from './live-tuning.ts';

/** Formats of disk images as definitions name them. */
export type StorageFormat = BackingStore['format']['type'];

/** How a start is wanted. */
export interface StartOptions {
  /** Leave the vCPUs stopped after the start. */
  readonly paused: boolean;
  readonly signal?: AbortSignal;
  /** Hears what is being done, in words for people. */
  readonly onStep?: (step: string) => void;
  /** Called when everything is in place but the emulator's process; when it throws, the start has failed with that. */
  readonly beforeLaunch?: (definition: DomainDef) => Promise<void>;
}

/**
 * What must be remembered of a running guest to find it again after a restart of the daemon: plain JSON, kept in the
 * runtime status file.
 */
export interface GuestRecord {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat; with the pid it names one process for good. */
  readonly startTimeTicks: string;
  readonly qemuPath: string;
  /** The guest's private runtime directory. */
  readonly directory: string;
  readonly qmpSocket: string;
  /** Path of the pseudo terminal by alias (serial0, console0, ...). */
  readonly ptys: Readonly<Record<string, string>>;
  /** Unix sockets of channels by alias, absolute. */
  readonly sockets: Readonly<Record<string, string>>;
  /** The guest's uid in system mode; undefined when it runs as the daemon's own user. */
  readonly uid?: number;
  readonly startedAtMs: number;
  /** QEMU's own log. */
  readonly logPath: string;
  /** Other logs that QEMU appends to (serial ports), which are kept below their limit. */
  readonly logs: readonly string[];
  /** TCP ports of graphics devices, by their place in the definition. */
  readonly graphicsPorts: readonly GraphicsPorts[];
  /** Processes that serve this guest alone (swtpm, virtiofsd, passt). */
  readonly helpers: readonly HelperRecord[];
  /** Host network devices made for this guest, by the place of their interface. */
  readonly links: Readonly<Record<string, string>>;
  /** Those of them that are the administrator's and stay. */
  readonly keptLinks?: readonly string[];
  /** Sockets outside `directory` that were made for this guest. */
  readonly foreignSockets: readonly string[];
  /** The vsock address that was chosen at the start. */
  readonly vsockCid?: number;
  /** A device that is being plugged in, as a document: a daemon that finds it sees whether QEMU has it. */
  readonly plugging?: string;
  /** Seconds the guest's clock was ahead at its start, where the definition lets the guest keep its own time. */
  readonly rtcAdjustmentSeconds?: number;
}

/** A helper process of a guest; pid and start time name it for good. */
export interface HelperRecord {
  readonly kind: string;
  /** The device that it serves, where there can be several. */
  readonly alias?: string;
  readonly pid: number;
  readonly startTimeTicks: string;
}

/** A process that stands in no record. */
export interface StrayProcess {
  readonly pid: number;
  readonly startTimeTicks: string;
  readonly argv: readonly string[];
}

/** Processes of one guest that no record names. Without a uuid there is no QEMU among them, only helpers. */
export interface StrayGuest {
  readonly directory: string;
  readonly uuid?: string;
  readonly processes: readonly StrayProcess[];
}

/** TCP ports of one graphics device. */
export interface GraphicsPorts {
  readonly port?: number;
  readonly tlsPort?: number;
  readonly websocket?: number;
}

/** Something a running guest did by itself. `seconds` is QEMU's own time stamp. */
export type GuestEvent = { readonly seconds: number } & (
  | { readonly kind: 'state'; readonly state: DomainState }
  | { readonly kind: 'reset'; readonly byGuest: boolean }
  /** The guest asked for power-off (or ours went through): vCPUs are stopped, QEMU waits to be ended. */
  /** `isReset`: it asked for a reset, which on_reboot has QEMU turn into a power-off. */
  | { readonly kind: 'powered-off'; readonly byGuest: boolean; readonly isReset?: boolean }
  | { readonly kind: 'panicked'; readonly info?: unknown }
  | { readonly kind: 'watchdog'; readonly action: string }
  /** The guest set its clock: how far it is ahead now of what the host's clock (or local time) says. */
  | { readonly kind: 'rtc-change'; readonly offsetSeconds: number }
  | { readonly kind: 'balloon'; readonly actualBytes: number }
  | { readonly kind: 'io-error'; readonly device: string; readonly action: string; readonly reason: string }
  /** The guest's driver changed what its card receives. */
  | { readonly kind: 'receive-filter'; readonly alias: string }
  /** The guest let go of a device; the running definition has it no more. */
  | { readonly kind: 'device-deleted'; readonly alias: string }
  /** The guest was asked to let go of a device, and said no. */
  | { readonly kind: 'device-kept'; readonly alias: string }
  | { readonly kind: 'tray'; readonly device: string; readonly open: boolean }
  /** A process that serves one of the guest's devices has ended before the guest. */
  | { readonly kind: 'helper-ended'; readonly helper: string; readonly alias: string }
  | { readonly kind: 'agent-channel'; readonly connected: boolean; readonly alias: string }
  /** A client of a display came, was let in, or left. */
  | ({ readonly kind: 'graphics' } & GraphicsClient)
  /** The guest went to sleep (`memory`: S3, `disk`: S4), or woke up. */
  | { readonly kind: 'sleep'; readonly to: 'memory' | 'disk' }
  | { readonly kind: 'wakeup' }
  /** An image was written beyond the byte that somebody had named. `device`: alias of the disk, or QEMU's node. */
  | {
      readonly kind: 'block-threshold';
      readonly device: string;
      readonly thresholdBytes: number;
      readonly excessBytes: number;
    }
  /** The host's hardware reported broken memory, and what became of it (qapi/run-state.json, MEMORY_FAILURE). */
  | {
      readonly kind: 'memory-failure';
      readonly recipient: 'hypervisor' | 'guest';
      readonly action: string;
      readonly actionRequired: boolean;
      readonly recursive: boolean;
    }
  /** The guest took or gave back memory of a device (virtio-mem). */
  | { readonly kind: 'memory-device-size'; readonly alias: string; readonly bytes: number }
  /** Any other QMP event, by its name. */
  | { readonly kind: 'other'; readonly name: string; readonly data: unknown }
);

/** A client of a graphics server, where it came from and how it proved who it is. */
export interface GraphicsClient {
  readonly phase: 'connect' | 'initialize' | 'disconnect';
  readonly local: GraphicsEndpoint;
  readonly remote: GraphicsEndpoint;
  /** `vnc`'s way to authenticate; empty where none was told. */
  readonly authScheme: string;
  readonly identities: readonly { readonly type: string; readonly name: string }[];
}

export interface GraphicsEndpoint {
  readonly family: 'ipv4' | 'ipv6' | 'unix';
  readonly node: string;
  readonly service: string;
}

/** How a guest came to its end. `stderrTail` is the end of QEMU's own log. */
export interface GuestExit {
  /** The wait status where QEMU was our child: code or signal; both undefined for a re-attached guest. */
  readonly exitCode?: number;
  readonly signal?: string;
  readonly stderrTail: string;
}

export interface Screenshot {
  readonly mime: 'image/png' | 'image/x-portable-pixmap';
  readonly bytes: Buffer;
}

/** A host port that leads into a guest's user-mode network. */
export interface PortForward {
  readonly protocol: 'tcp' | 'udp';
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly guestAddress: string;
  readonly guestPort: number;
}

/** Which frames a guest's driver wants of its card; addresses are lower case, with colons. */
export interface ReceiveFilter {
  readonly mac: string;
  readonly multicast: readonly string[];
  /** More groups than the card can tell apart, or all of them. */
  readonly isAllMulticast: boolean;
  readonly isPromiscuous: boolean;
}

/** A network interface of a guest as its agent tells it: nothing vouches for any of it. */
export interface AgentInterface {
  readonly name: string;
  /** Lower case, with colons; interfaces without hardware have none. */
  readonly mac?: string;
  readonly addresses: readonly {
    readonly family: 4 | 6;
    readonly address: string;
    readonly prefix: number;
  }[];
}

/** One running guest: a QEMU process with its monitor. All waits have deadlines. */
export interface LiveGuest {
  readonly record: GuestRecord;
  /** The definition as it runs: aliases, pty paths and ports filled in. */
  readonly definition: DomainDef;
  /** State as last told by QEMU; never waits. */
  readonly state: DomainState;
  /** Settles once, when the process is gone and reaped. */
  readonly exited: Promise<GuestExit>;
  onEvent(listener: (event: GuestEvent) => void): () => void;
  /** What is measured and changed in it. */
  readonly tuning: LiveTuning;
  /** What is asked of its agent. */
  readonly agent: GuestAgent;

  suspend(): Promise<void>;
  resume(): Promise<void>;
  /** Presses the ACPI power button; returns when it is pressed, not when the guest is off. */
  powerButton(): Promise<void>;
  /** Asks the guest agent to shut down or reboot. */
  agentShutdown(mode: 'powerdown' | 'reboot' | 'halt'): Promise<void>;
  /**
   * Sees whether the guest agent answers; takes at most some seconds.
   * @throws VirtError agent.missing without a channel for it, agent.unresponsive
   */
  agentPing(): Promise<void>;
  /** The guest's interfaces by its agent. @throws VirtError agent.missing, agent.unresponsive, operation.failed */
  agentInterfaces(): Promise<AgentInterface[]>;
  /**
   * Addresses that guests were seen to use on QEMU's own user networks, by the alias of the interface: from connections
   * that are open now, so an idle guest shows none.
   */
  userNetworkAddresses(): Promise<readonly { readonly alias: string; readonly address: string }[]>;
  reset(): Promise<void>;
  injectNmi(): Promise<void>;
  /** Key codes are QEMU's QKeyCode names. */
  sendKeys(keys: readonly string[], holdMs: number): Promise<void>;
  screenshot(screen: number): Promise<Screenshot>;
  /**
   * Ends the process: SIGTERM, after `graceMs` SIGKILL unless `force` is false (then domain.busy is thrown). Returns
   * when the process is reaped.
   */
  kill(options: { readonly force: boolean; readonly graceMs: number }): Promise<GuestExit>;
  /** Opens a serial, console or channel by alias (undefined: the first console or serial) as a byte stream. */
  openConsole(alias: string | undefined, options: { readonly force: boolean }): Promise<Duplex>;
  /**
   * Connects a client to a display, by its place in the definition: a connected socket, which belongs to the caller.
   * `skipAuth`: without the display's password.
   * @throws VirtError domain.no-device, qmp.*
   */
  openGraphics(index: number, options: { readonly skipAuth: boolean }): Promise<number>;
  /** The same with a connected socket of the caller's, which stays the caller's to close. */
  addGraphicsClient(index: number, fd: number, options: { readonly skipAuth: boolean }): Promise<void>;
  /**
   * Waits until what the guest printed has reached whoever is connected to its consoles: the kernel drops what is
   * unread when QEMU closes a pseudo terminal. Bounded; returns at once when nobody is connected.
   */
  drainConsoles(): Promise<void>;
  /** Pulls the cable of a network card, or plugs it in. */
  setLink(interfaceAlias: string, isUp: boolean): Promise<void>;
  /** What the guest's driver wants the card to receive; undefined where QEMU is not told. */
  receiveFilter(interfaceAlias: string): Promise<ReceiveFilter | undefined>;
  addPortForward(interfaceAlias: string, forward: PortForward): Promise<void>;
  removePortForward(interfaceAlias: string, forward: PortForward): Promise<void>;
  /** Runs one QMP command as it is (for experts and for tests): the reply's `return`. */
  monitorCommand(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** Lets go of the guest without touching it, when the daemon stops. */
  detach(): void;
}

/** One hypervisor. */
export interface HypervisorDriver {
  /**
   * Makes a parsed definition complete: emulator, machine type, MACs, controllers, addresses, targets; refuses what is
   * contradictory. The result, formatted and completed again, is the same.
   * @throws VirtError definition.unsupported, network.session, kvm.unusable, qemu.missing
   */
  complete(definition: DomainDef, previous?: DomainDef): Promise<DomainDef>;
  /**
   * Checks a complete definition against its emulator. Apart from `complete`, so that it can be done while the disk
   * writes what may yet be taken back.
   * @throws VirtError definition.unsupported, qemu.missing, qemu.lacks
   */
  check(definition: DomainDef): Promise<void>;
  /** The QEMU command line of a definition as it would be started, for display. */
  commandLine(definition: DomainDef): Promise<readonly string[]>;
  /** Starts a guest. On any failure nothing is left behind. `domainId` is the new libvirt id. */
  start(definition: DomainDef, domainId: number, options: StartOptions): Promise<LiveGuest>;
  /**
   * Plugs a device into a running guest, with the controllers it needs: the running definition then has it. `save`
   * writes the guest's status when the intent is noted. The answer is its alias.
   * @throws VirtError definition.unsupported, xml.invalid, file.*, network.*, link.failed, host-device.*, qmp.*
   */
  attachDevice(
    guest: LiveGuest,
    device: OneDevice,
    options: { readonly save: () => Promise<void> },
  ): Promise<string>;
  /**
   * Asks the guest to let go of a device of its running definition. `pending`: it has not within the configured time;
   * when it does, the device is removed, and the event told, all the same.
   * @throws VirtError definition.unsupported, domain.state, operation.failed when the guest refuses, qmp.*
   */
  detachDevice(guest: LiveGuest, device: OneDevice): Promise<'removed' | 'pending'>;
  /**
   * Changes a device of a running guest to what `device` says: medium, link, network, password.
   * @throws VirtError definition.unsupported naming what cannot change, domain.state when the guest locked the tray, qmp.*
   */
  updateDevice(
    guest: LiveGuest,
    change: { readonly old: OneDevice; readonly device: Device; readonly force: boolean },
  ): Promise<void>;
  /**
   * Finds a guest of an earlier daemon again. Undefined when that process is gone; then `tail` of its log can be
   * had with `logTail`.
   */
  reattach(record: GuestRecord, definition: DomainDef): Promise<LiveGuest | undefined>;
  /** The end of the QEMU log of a domain, at most `maxBytes`. */
  logTail(definition: DomainDef, maxBytes: number): Promise<string>;
  /** The end of the log file of the first serial device that has one; undefined when none has. */
  consoleLogTail(definition: DomainDef, maxBytes: number): Promise<string | undefined>;
  /** Removes what a dead guest of that record left behind. */
  cleanUp(record: GuestRecord, definition: DomainDef): Promise<void>;
  /** Finds running guests of ours that no record names; directories of guests that nobody has any more are removed. */
  findStrays(known: readonly GuestRecord[]): Promise<StrayGuest[]>;
  /** Ends one of them: its start was never acknowledged. */
  endStray(stray: StrayGuest): Promise<void>;
  /**
   * Makes a record of one whose own was lost, from what its QEMU says; undefined when it is not of that definition.
   * @throws VirtError qmp.* when its monitor does not answer
   */
  recordOf(stray: StrayGuest, definition: DomainDef): Promise<GuestRecord | undefined>;
  /** libvirt's capabilities document and domain capabilities document. */
  capabilitiesXml(): Promise<string>;
  domainCapabilitiesXml(query: {
    readonly emulator?: string;
    readonly arch?: string;
    readonly machine?: string;
    readonly virtType?: string;
  }): Promise<string>;
}

/** Which emulator is meant; what is left out is the host's best. */
export interface CpuQuery {
  readonly emulator?: string;
  readonly arch?: string;
  readonly machine?: string;
  readonly virtType?: string;
}

/** Processors under one emulator and accelerator. Features are in libvirt's names, sorted. */
export interface CpuWorld {
  /** All that guests can have here. */
  readonly hypervisor: readonly string[];
  readonly models: readonly string[];
  /** Models that can be used as they are. */
  readonly usableModels: readonly string[];
  /** Features by model; models that QEMU does not know, or can't tell of, are missing. */
  features(models: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>;
}

/** CPU models, as the emulators themselves tell of them. */
export interface CpuModelSource {
  /** Names of the models of an architecture. @throws VirtError qemu.missing, qemu.probe-failed */
  names(arch: string): Promise<readonly string[]>;
  /** @throws VirtError qemu.*, request.invalid, kvm.unusable */
  world(query: CpuQuery): Promise<CpuWorld>;
  /** The definition with `host-model` written out as a named model and its features. @throws VirtError qemu.* */
  expandHostModel(definition: DomainDef): Promise<DomainDef>;
}

/** What the header of a disk image says of other files; nothing of it is to be trusted. */
export interface ImageHeader {
  /** The image below: its name as it stands, and its format in QEMU's words where the header has it. */
  readonly backing?: { readonly name: string; readonly format: string | undefined };
  /** The data is in another file: its name, '' when the header tells none. */
  readonly dataFile?: string;
  /** How the data is encrypted, where it is. */
  readonly encryption?: string;
}

/** What the driver asks of the storage side: "what does this image say?" (storage/, wired in the daemon). */
export interface ImageReader {
  /**
   * Reads the header of an open image that begins at `offsetBytes`, as one of that format (libvirt's word) and of no
   * other.
   * @throws VirtError definition.unsupported when it is not, or is broken
   */
  readHeader(
    handle: FileHandle,
    image: { readonly format: string; readonly offsetBytes: number },
  ): Promise<ImageHeader>;
}

/** Where a volume of a pool is now. */
export interface VolumePlace {
  readonly path: string;
  readonly type: 'file' | 'block';
  /** What its pool knows of its format, in libvirt's words. */
  readonly format: StorageFormat | 'iso' | undefined;
}

/** A file that a running guest has open. */
export interface HeldFile {
  readonly path: string;
  /** Name of the domain. */
  readonly domain: string;
}

/** What the driver asks of the storage side: "where is this volume?" (wired in the daemon). */
export interface VolumeFinder {
  /** @throws VirtError pool.not-found, pool.inactive, volume.not-found, volume.busy, definition.unsupported */
  find(volume: { readonly pool: string; readonly volume: string }): Promise<VolumePlace>;
  /** Refuses files of volumes that are being changed right now. @throws VirtError volume.busy */
  refuseBusy(paths: readonly string[]): void;
  /** Which of these files guests other than that one have open, by device and inode. */
  holders(paths: readonly string[], exceptUuid: string | undefined): Promise<readonly HeldFile[]>;
}

/** A network device for a guest, made by whoever owns the host's links (net/, wired in daemon/main.ts). */
export interface GuestLink {
  /** Descriptors of the tap queues, in order; the driver closes them after the spawn. */
  readonly tapFds: readonly number[];
  readonly vhostFds: readonly number[];
  readonly deviceName: string;
  /** The device is the administrator's: it stays when the guest has ended. */
  readonly isKept?: boolean;
  /** What the running definition says in place of the stored one. */
  readonly actual?: ActualInterface;
}

/** How an interface is connected while its guest runs: what its network and port group decided. */
export type ActualInterface = Partial<
  Pick<
    DomainDef['devices']['interfaces'][number],
    'source' | 'vlan' | 'bandwidth' | 'trustGuestRxFilters' | 'portIsolated'
  >
>;

/** What a driver asks of secrets. */
export interface SecretProvider {
  /**
   * The value, private or not, in a buffer that the caller fills with zeros.
   * @throws VirtError secret.not-found, secret.no-value, file.*
   */
  valueForUse(reference: SecretReference): Buffer;
}

/** What a driver asks about devices of the host that are given to guests (drivers/host-devices/). */
export interface HostDeviceProvider {
  /**
   * Makes all <hostdev> of a guest ready: finds and claims them, moves managed PCI devices to vfio-pci, and lets `uid`
   * open their nodes. The answer is the definition with each USB device's place on its bus, and without optional ones
   * that are not there. On failure nothing is left taken.
   * @throws VirtError host-device.*, file.*
   */
  take(request: {
    readonly domainUuid: string;
    readonly domainName: string;
    readonly definition: DomainDef;
    /** The guest's user; undefined when that is the daemon's. */
    readonly uid?: number;
  }): Promise<DomainDef>;
  /** Gives back one device of a guest that runs on. Idempotent. */
  releaseOne(domainUuid: string, device: DomainDef['devices']['hostdevs'][number]): Promise<void>;
  /** Gives all of a guest's devices back to the host. Idempotent; failures are logged, and tried again by the next call. */
  release(domainUuid: string): Promise<void>;
  /** The same for all guests but these, after a restart of the daemon. */
  releaseOthers(running: ReadonlySet<string>): Promise<void>;
  /** Who has what: by `pci ADDRESS`, `usb NAME`, `mdev UUID`. */
  holders(): ReadonlyMap<string, { readonly uuid: string; readonly name: string }>;
}

/** What the driver asks of the network side: "give me a tap for this NIC". */
export interface LinkProvider {
  /** @throws VirtError network.session, network.inactive, network.not-found, link.failed */
  open(request: {
    readonly domainUuid: string;
    readonly domainName: string;
    readonly interfaceIndex: number;
    readonly definition: DomainDef['devices']['interfaces'][number];
    readonly queues: number;
  }): Promise<GuestLink>;
  /**
   * Sees at define time whether `open` could work, where the host can tell without making anything.
   * @throws VirtError as open
   */
  check?(request: Parameters<LinkProvider['open']>[0]): Promise<void>;
  /** What can be had instead of a virtual network, and what of it this host offers: for the hint of an error. */
  waysOut?(): Promise<string>;
  /** Takes the link away after the guest has ended, unless it is kept; idempotent. */
  close(request: {
    readonly domainUuid: string;
    readonly deviceName: string;
    readonly isKept?: boolean;
  }): Promise<void>;
  /**
   * Plugs the link of a running guest in elsewhere; what the running definition then says.
   * @throws VirtError as open
   */
  move?(
    request: Parameters<LinkProvider['open']>[0] & { readonly deviceName: string },
  ): Promise<ActualInterface>;
  /** The MTU that the guest's card is to have, where its definition says none but its network does. */
  mtuOf?(definition: DomainDef['devices']['interfaces'][number]): Promise<number | undefined>;
}
