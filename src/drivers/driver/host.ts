/** What a driver asks of the host's owners: links, secrets, devices. */
import type { DomainDef } from '../../model/domain/domain.ts';
import type { SecretReference } from '../../model/secret/secret.ts';

/** A network device for a guest, made by whoever owns the host's links (net/, wired in daemon/engine.ts). */
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

/** A network of mode hostdev: its guests get virtual functions of a card, one for each interface. */
export interface FunctionPool {
  readonly network: string;
  /** The interface of the card whose functions are given; else those with these addresses. */
  readonly physical?: string;
  /** `0000:03:10.1` */
  readonly addresses: readonly string[];
  /** What the interface is while its guest runs, but for the function. */
  readonly actual: Partial<Pick<DomainDef['devices']['interfaces'][number], 'managed' | 'vlan'>>;
}

/** What a driver asks about devices of the host that are given to guests (drivers/host-devices/). */
export interface HostDeviceProvider {
  /**
   * Sets a function of a network aside for a guest that is about to take it: the PCI address. Taking it or `release` ends that.
   * @throws VirtError host-device.not-found, host-device.in-use when no function is free
   */
  reserveFunction(request: {
    readonly domainUuid: string;
    readonly pool: FunctionPool;
    readonly wanted: string;
  }): Promise<string>;
  /**
   * Makes all <hostdev> and all interfaces of type hostdev of a guest ready: finds and claims them, moves managed PCI devices to vfio-pci, and lets `uid`
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
  /** Gives back one device, or the function of an interface, of a guest that runs on. Idempotent. */
  releaseOne(
    domainUuid: string,
    device: DomainDef['devices']['hostdevs'][number] | DomainDef['devices']['interfaces'][number],
  ): Promise<void>;
  /** Gives all of a guest's devices back to the host. Idempotent; failures are logged, and tried again by the next call. */
  release(domainUuid: string): Promise<void>;
  /** The same for all guests but these, after a restart of the daemon. */
  releaseOthers(running: ReadonlySet<string>): Promise<void>;
  /** The SCSI generic node (`/dev/sg2`) of `HOST:BUS:TARGET:UNIT`; undefined when there is none. */
  scsiNode(place: string): string | undefined;
  /** Who has what: by `pci ADDRESS`, `usb NAME`, `mdev UUID`, `scsi HOST:BUS:TARGET:UNIT`, `vhost-scsi WWPN`. */
  holders(): ReadonlyMap<string, { readonly uuid: string; readonly name: string }>;
}

/** A card of a running guest with other limits, or another filter. */
export interface RetuneRequest {
  readonly domainUuid: string;
  readonly domainName: string;
  readonly interfaceIndex: number;
  readonly definition: DomainDef['devices']['interfaces'][number];
  readonly before: DomainDef['devices']['interfaces'][number];
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
    /** Whose it was, with the interface as it ran; left out where nobody knows any more. */
    readonly port?: {
      readonly domainName: string;
      readonly definition: DomainDef['devices']['interfaces'][number];
    };
  }): Promise<void>;
  /**
   * Plugs the link of a running guest in elsewhere; what the running definition then says.
   * @throws VirtError as open
   */
  move?(
    request: Parameters<LinkProvider['open']>[0] & { readonly deviceName: string },
  ): Promise<ActualInterface>;
  /**
   * Gives the link of a running guest the limits and the filter of its definition in place of those before.
   * @throws VirtError definition.unsupported, link.failed, program.*; what was before is in force then
   */
  retune?(request: RetuneRequest): Promise<void>;
  /** The functions of which an interface gets one; undefined where it is not on an active network of mode hostdev. */
  functionsFor?(
    definition: DomainDef['devices']['interfaces'][number],
    path: string,
  ): Promise<FunctionPool | undefined>;
  /** The MTU that the guest's card is to have, where its definition says none but its network does. */
  mtuOf?(definition: DomainDef['devices']['interfaces'][number]): Promise<number | undefined>;
}
