/** One running guest: what it is asked and told, by topic. */
import type { Duplex } from 'node:stream';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { DomainState } from '../../model/domain/state.ts';
import type { GuestAgent } from '../guest-agent.ts';
import type { LiveMemory } from '../live-memory.ts';
import type { LiveTuning } from '../live-tuning.ts';
import type { LiveBackup, LiveCheckpoints } from './backups.ts';
import type { LiveBlockJobs } from './block-jobs.ts';
import type { GuestEvent, GuestExit } from './guest-events.ts';
import type { GuestRecord, SavingRecord, StillRecord } from './guest-record.ts';
import type { LiveLaunchSecurity } from './launch-security.ts';

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

/** Why virtual CPUs are stopped, where it is us who stop them. */
export type PauseReason = Extract<
  Extract<DomainState, { state: 'paused' }>['reason'],
  'user' | 'saving' | 'dumping' | 'creating snapshot' | 'from snapshot'
>;

/** What is done to a guest as a whole. */
export interface GuestControls {
  /** Stops the virtual CPUs; `reason` is what the state then says (left out: the user). */
  suspend(reason?: PauseReason): Promise<void>;
  /** Says why the virtual CPUs will be stopped, where QEMU does it by itself in the course of what it was asked. */
  expectStop(reason: PauseReason): void;
  resume(): Promise<void>;
  /**
   * After its state was written (`memory.save`) a guest that is to stay paused has its disks again, and can be saved
   * anew. QEMU does that only when the virtual CPUs are let run: they are stopped again at once.
   */
  takeDisksBack(): Promise<void>;
  /** Presses the ACPI power button; returns when it is pressed, not when the guest is off. */
  powerButton(): Promise<void>;
  reset(): Promise<void>;
  injectNmi(): Promise<void>;
  /** Key codes are QEMU's QKeyCode names. */
  sendKeys(keys: readonly string[], holdMs: number): Promise<void>;
  /**
   * Ends the process: SIGTERM, after `graceMs` SIGKILL unless `force` is false (then domain.busy is thrown). Returns
   * when the process is reaped.
   */
  kill(options: { readonly force: boolean; readonly graceMs: number }): Promise<GuestExit>;
}

/** What the guest agent is asked for by the daemon itself. */
export interface GuestAgentCalls {
  /** Asks the guest agent to shut down or reboot. */
  agentShutdown(mode: 'powerdown' | 'reboot' | 'halt'): Promise<void>;
  /**
   * Sees whether the guest agent answers; takes at most some seconds.
   * @throws VirtError agent.missing without a channel for it, agent.unresponsive
   */
  agentPing(): Promise<void>;
  /** The guest's interfaces by its agent. @throws VirtError agent.missing, agent.unresponsive, operation.failed */
  agentInterfaces(): Promise<AgentInterface[]>;
}

/** What a guest shows, and the ways to talk to it. */
export interface GuestScreens {
  screenshot(screen: number): Promise<Screenshot>;
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
  /** Has the VNC server read its certificates again. @throws VirtError qmp.failed where it uses none */
  reloadVncCertificates(): Promise<void>;
  /**
   * Waits until what the guest printed has reached whoever is connected to its consoles: the kernel drops what is
   * unread when QEMU closes a pseudo terminal. Bounded; returns at once when nobody is connected.
   */
  drainConsoles(): Promise<void>;
}

/** A guest's network cards. */
export interface GuestNetworkCards {
  /** Pulls the cable of a network card, or plugs it in. */
  setLink(interfaceAlias: string, isUp: boolean): Promise<void>;
  /** What the guest's driver wants the card to receive; undefined where QEMU is not told. */
  receiveFilter(interfaceAlias: string): Promise<ReceiveFilter | undefined>;
  addPortForward(interfaceAlias: string, forward: PortForward): Promise<void>;
  removePortForward(interfaceAlias: string, forward: PortForward): Promise<void>;
  /**
   * Addresses that guests were seen to use on QEMU's own user networks, by the alias of the interface: from connections
   * that are open now, so an idle guest shows none.
   */
  userNetworkAddresses(): Promise<readonly { readonly alias: string; readonly address: string }[]>;
}

/** An event as QEMU's monitor says it. */
export interface MonitorEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** QEMU's time stamp, with microseconds as the fraction. */
  readonly seconds: number;
}

/** One running guest: a QEMU process with its monitor. All waits have deadlines. */
export interface LiveGuest extends GuestControls, GuestAgentCalls, GuestScreens, GuestNetworkCards {
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
  /** Its memory and device state, on the way to files. */
  readonly memory: LiveMemory;
  /** What is asked of its agent. */
  readonly agent: GuestAgent;
  /** Jobs on its images. */
  readonly blockJobs: LiveBlockJobs;
  /** What notes which parts of its disks were written since a moment. */
  readonly checkpoints: LiveCheckpoints;
  /** The backup of its disks. */
  readonly backup: LiveBackup;
  /** How its start was measured, and secrets for it; only of guests with launch security of AMD. */
  readonly launchSecurity: LiveLaunchSecurity;

  /**
   * Runs one QMP command as it is (for experts and for tests): the reply's `return`. `fd` goes with it, for a command that
   * takes one (getfd, add-fd), and stays the caller's to close.
   */
  monitorCommand(command: string, args?: Readonly<Record<string, unknown>>, fd?: number): Promise<unknown>;
  /** Calls back for everything the monitor says by itself. */
  onMonitorEvent(listener: (event: MonitorEvent) => void): () => void;
  /** What a reset comes to that the guest does by itself. */
  setResetAction(action: 'reset' | 'power-off'): Promise<void>;
  /** Notes that its state is being written, or with undefined that this came to nothing; the caller writes the status. */
  setSaving(saving: SavingRecord | undefined): void;
  /** Notes what stands still for a moment of its disks, or with undefined that nothing does; the caller writes the status. */
  setStill(still: StillRecord | undefined): void;
  /**
   * For a save or dump that QEMU has not told the end of (`qmp.timeout`): as soon as QEMU answers, what is noted by
   * `setSaving` is settled as a daemon does that finds it, in the background. Its failure is logged.
   */
  settleSaving(): void;
  /** Lets go of the guest without touching it, when the daemon stops. */
  detach(): void;
}
