/** What the daemon asks of a hypervisor driver, and what a driver asks of the host through the daemon. */
import type { FileHandle } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import type { DomainDef } from '../model/domain/domain.ts';
import type { DomainState } from '../model/domain/state.ts';

/** How a start is wanted. */
export interface StartOptions {
  /** Leave the vCPUs stopped after the start. */
  readonly paused: boolean;
  readonly signal?: AbortSignal;
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
  /** Sockets outside `directory` that were made for this guest. */
  readonly foreignSockets: readonly string[];
  /** The vsock address that was chosen at the start. */
  readonly vsockCid?: number;
}

/** A helper process of a guest; pid and start time name it for good. */
export interface HelperRecord {
  readonly kind: string;
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
  | { readonly kind: 'rtc-change'; readonly offsetSeconds: number }
  | { readonly kind: 'balloon'; readonly actualBytes: number }
  | { readonly kind: 'io-error'; readonly device: string; readonly action: string; readonly reason: string }
  | { readonly kind: 'device-deleted'; readonly alias: string }
  | { readonly kind: 'tray'; readonly device: string; readonly open: boolean }
  | { readonly kind: 'agent-channel'; readonly connected: boolean; readonly alias: string }
  /** Any other QMP event, by its name. */
  | { readonly kind: 'other'; readonly name: string; readonly data: unknown }
);

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

  suspend(): Promise<void>;
  resume(): Promise<void>;
  /** Presses the ACPI power button; returns when it is pressed, not when the guest is off. */
  powerButton(): Promise<void>;
  /** Asks the guest agent to shut down or reboot. */
  agentShutdown(mode: 'powerdown' | 'reboot' | 'halt'): Promise<void>;
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
   * Waits until what the guest printed has reached whoever is connected to its consoles: the kernel drops what is
   * unread when QEMU closes a pseudo terminal. Bounded; returns at once when nobody is connected.
   */
  drainConsoles(): Promise<void>;
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
   * Makes a parsed definition complete and checks it against the emulator: emulator, machine type, MACs, controllers,
   * addresses, targets. The result, formatted and prepared again, is the same.
   * @throws VirtError definition.unsupported, kvm.unusable, qemu.missing, qemu.lacks
   */
  prepare(definition: DomainDef, previous?: DomainDef): Promise<DomainDef>;
  /** The QEMU command line of a definition as it would be started, for display. */
  commandLine(definition: DomainDef): Promise<readonly string[]>;
  /** Starts a guest. On any failure nothing is left behind. `domainId` is the new libvirt id. */
  start(definition: DomainDef, domainId: number, options: StartOptions): Promise<LiveGuest>;
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

/** A network device for a guest, made by whoever owns the host's links (net/, wired in daemon/main.ts). */
export interface GuestLink {
  /** Descriptors of the tap queues, in order; the driver closes them after the spawn. */
  readonly tapFds: readonly number[];
  readonly vhostFds: readonly number[];
  readonly deviceName: string;
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
  /** Takes the link away after the guest has ended; idempotent. */
  close(request: { readonly domainUuid: string; readonly deviceName: string }): Promise<void>;
}
