/** What guests need of the host's links, as plain data; link-host.ts carries it out. */
import type { BandwidthPlan, RoutePlan, Tap, TapRequest } from '../plan.ts';

/** One VLAN of a bridge's port. */
export interface PortVlan {
  /** 1 to 4094. */
  readonly id: number;
  /** Frames that come in without a tag belong to it; one VLAN of a port at most. */
  readonly isNative: boolean;
  /** Frames of it leave without a tag. */
  readonly isUntagged: boolean;
}

/** How a bridge treats a port. */
export interface PortSettings {
  /** Not reachable from other isolated ports of the bridge. */
  readonly isolated?: boolean;
  /** See BridgePlan.macTable; `libvirt` needs the guest's address. */
  readonly macTable?: 'kernel' | 'libvirt';
  /** The guest's MAC address. */
  readonly mac: string;
  /** All VLANs of the port. Left out: the bridge does with it what it does with any new port. */
  readonly vlans?: readonly PortVlan[];
  /** The bridge is ours: it is made to tell VLANs apart when it does not yet. */
  readonly isOwnBridge?: boolean;
}

/** A macvtap for a guest, on an interface of the host. */
export interface MacvtapRequest {
  /** The host's interface below it. */
  readonly lower: string;
  readonly mode: MacvtapMode;
  /** The guest's MAC address, which is the device's own. */
  readonly mac: string;
  readonly mtu?: number;
  readonly queues: number;
  /** A name asked for by the definition; 'macvtapN' when left out. */
  readonly name?: string;
  /** Who made it, a colon, and for whom: written on the device, so that one that outlived its guest is known. */
  readonly owner: string;
  readonly bandwidth?: BandwidthPlan;
}

export type MacvtapMode = 'vepa' | 'bridge' | 'private' | 'passthrough';

/** A tap that is on no bridge; the administrator routes it, or plugs it in somewhere. */
export interface LooseTapRequest {
  readonly mac: string;
  readonly mtu?: number;
  readonly queues: number;
  readonly name?: string;
  /** Addresses of the host's end, and routes by it. */
  readonly addresses: readonly {
    readonly address: string;
    readonly prefix: number;
    readonly family: 4 | 6;
  }[];
  readonly routes: readonly RoutePlan[];
  readonly bandwidth?: BandwidthPlan;
}

/** A tap or macvtap that somebody else made and keeps. */
export interface ExistingLinkRequest {
  readonly name: string;
  readonly queues: number;
  readonly bandwidth?: BandwidthPlan;
}

/** Counters of one interface since it was made, as the guest sees them: `rx` is what the guest received. */
export interface LinkStatistics {
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

/** Which frames a guest wants to get, as its driver told QEMU. */
export interface ReceiveFilter {
  /** The address the guest gave its card. */
  readonly mac: string;
  readonly multicast: readonly string[];
  readonly isAllMulticast: boolean;
  readonly isPromiscuous: boolean;
}

/** The host's links for guests. All errors are VirtError link.failed unless told otherwise. */
export interface LinkHost {
  /** A tap on a bridge. */
  openTap(request: TapRequest): Promise<Tap>;
  openLooseTap(request: LooseTapRequest): Promise<Tap>;
  /** @throws VirtError link.failed when the interface is missing, down, or taken by a passthrough */
  openMacvtap(request: MacvtapRequest): Promise<Tap>;
  openExisting(request: ExistingLinkRequest): Promise<Tap>;
  /** Puts a running guest's tap (back) on a bridge, with its settings there. */
  attachTap(name: string, bridge: string, port?: PortSettings): Promise<void>;
  /** Takes a guest's link away. One that is gone is no error; a link that no guest can have had is refused. */
  deleteTap(name: string): Promise<void>;
  /** How many macvtaps and macvlans an interface carries, whoever made them. */
  usersOf(lower: string): number;
  /** Brings the limits of a guest's link to the plan; without one they are lifted. @throws VirtError program.* too */
  setBandwidth(name: string, plan: BandwidthPlan | undefined): Promise<void>;
  /** @throws VirtError domain.no-device when the link is gone */
  statistics(name: string): LinkStatistics;
  /** Lets a macvtap receive what its guest asked for, and nothing more. */
  setReceiveFilter(name: string, filter: ReceiveFilter): void;
  /**
   * Deletes macvtaps whose note is of that owner, but those whose note ends with one of the words kept; the names of
   * the deleted.
   */
  sweep(owner: string, kept: ReadonlySet<string>): Promise<string[]>;
}
