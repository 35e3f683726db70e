/**
 * What a network needs of the host, as plain data: made from a definition by a pure function, carried out by host.ts.
 * Only networks with a bridge of their own have a plan (nat, route, open, none); those on an existing bridge or on
 * macvtap need nothing started. Every string here has passed the model's validation; the builders check it again.
 */

import type { LinkHost, PortSettings, PortVlan } from './links/requests.ts';
import type { NetworkTestRequest } from './test/network-test.ts';
import type { TestStep } from './test/step.ts';

/** How packets leave the network. `none` is libvirt's isolated network; `open` gets no rules at all. */
export type ForwardMode = 'nat' | 'route' | 'open' | 'none';

export type Family = 4 | 6;

export interface NetworkPlan {
  readonly uuid: string;
  readonly name: string;
  readonly bridge: BridgePlan;
  readonly forward: ForwardPlan;
  /** In the definition's order; the first of a family is the gateway guests are told. */
  readonly subnets: readonly SubnetPlan[];
  readonly routes: readonly RoutePlan[];
  readonly domain?: DomainPlan;
  readonly dns: DnsPlan;
  /** Lines of `<dnsmasq:option>`, only where the administrator allows them; they stand last in the file. */
  readonly dnsmasqOptions: readonly string[];
  /** Running guests by the names of their domains, for libnss_libvirt_guest. */
  readonly guests: readonly { readonly domain: string; readonly macs: readonly string[] }[];
  readonly portForwards: readonly PortForward[];
  readonly bandwidth?: BandwidthPlan;
  /** Of the inbound limit; none without one. Records of earlier versions have none either. */
  readonly shares?: readonly GuaranteedShare[];
}

/** What a guest gets at least of a network's inbound bandwidth when others want it too. */
export interface GuaranteedShare {
  /** Lower case, with colons. */
  readonly mac: string;
  readonly floorKBps: number;
}

export interface BridgePlan {
  /** At most 15 bytes. */
  readonly name: string;
  /** Lower case, with colons. */
  readonly mac: string;
  readonly mtu?: number;
  readonly isStp: boolean;
  /** Forward delay in seconds. */
  readonly delaySeconds: number;
  /** `libvirt`: ports neither learn nor flood, the daemon enters the guests' addresses. */
  readonly macTable: 'kernel' | 'libvirt';
  /** Ports of this bridge are in VLANs. */
  readonly isVlanFiltering?: boolean;
  /** VLANs that the host itself is in: those of the network; 1 without a tag when left out. */
  readonly vlans?: readonly PortVlan[];
  /** firewalld's zone for the bridge. */
  readonly zone?: string;
}

export interface ForwardPlan {
  readonly mode: ForwardMode;
  /** Host interfaces that traffic may leave by; empty: any. */
  readonly devices: readonly string[];
  /** Masquerade IPv6 as well (`<nat ipv6='yes'>`). */
  readonly isNatIpv6: boolean;
  /** Source addresses to use in place of the outgoing interface's. */
  readonly natAddresses?: { readonly start: string; readonly end: string };
  /** Source ports to use; 1024-65535 when left out. */
  readonly natPorts?: { readonly start: number; readonly end: number };
}

export interface SubnetPlan {
  readonly family: Family;
  /** The bridge's own address. */
  readonly address: string;
  readonly prefix: number;
  /** Answer reverse lookups of this subnet here and don't ask upstream (`localPtr`). */
  readonly isLocalPtr: boolean;
  readonly dhcp?: DhcpPlan;
  /** Directory served by TFTP. */
  readonly tftpRoot?: string;
}

export interface DhcpPlan {
  readonly ranges: readonly DhcpRange[];
  readonly hosts: readonly DhcpHost[];
  readonly bootp?: { readonly file: string; readonly server?: string };
}

/** Seconds, or for ever; the server's default (an hour) when left out. */
export type LeaseTime = number | 'infinite';

export interface DhcpRange {
  readonly start: string;
  readonly end: string;
  readonly leaseTime?: LeaseTime;
}

/** A reservation; one of mac (IPv4), id (IPv6 DUID) or name identifies the guest. */
export interface DhcpHost {
  readonly mac?: string;
  readonly id?: string;
  readonly name?: string;
  readonly address?: string;
  readonly leaseTime?: LeaseTime;
}

export interface RoutePlan {
  readonly family: Family;
  readonly destination: string;
  readonly prefix: number;
  readonly gateway: string;
  readonly metric?: number;
}

export interface DomainPlan {
  readonly name: string;
  /** Names of this domain are never asked upstream. */
  readonly isLocalOnly: boolean;
  /** Tell the host's resolver about it. */
  readonly isRegistered: boolean;
}

export interface DnsPlan {
  readonly isEnabled: boolean;
  /** False: names without a dot are never asked upstream. */
  readonly isPlainNamesForwarded: boolean;
  /** `address` alone: all queries go there; `domain` alone: that domain is not forwarded. */
  readonly forwarders: readonly { readonly domain?: string; readonly address?: string }[];
  readonly txt: readonly { readonly name: string; readonly value: string }[];
  readonly srv: readonly SrvPlan[];
  readonly hosts: readonly { readonly address: string; readonly names: readonly string[] }[];
  /** As hosts, for our DNS; they come and go with the guests. */
  readonly guestNames: readonly { readonly address: string; readonly names: readonly string[] }[];
}

export interface SrvPlan {
  readonly service: string;
  readonly protocol: string;
  readonly domain?: string;
  readonly target?: string;
  readonly port?: number;
  readonly priority?: number;
  readonly weight?: number;
}

/** Host port(s) that lead to a guest; guest names are resolved to addresses by whoever makes the plan. */
export interface PortForward {
  readonly protocol: 'tcp' | 'udp';
  readonly family: Family;
  /** Address of the host to listen on; any when left out. */
  readonly hostAddress?: string;
  readonly hostPort: number;
  /** How many ports in a row, 1 in most cases. */
  readonly count: number;
  readonly guestAddress: string;
  readonly guestPort: number;
}

/** libvirt's units: kilobytes a second, and kilobytes for the burst. */
export interface BandwidthPlan {
  readonly inbound?: BandwidthLimit;
  readonly outbound?: BandwidthLimit;
}

export interface BandwidthLimit {
  readonly averageKBps: number;
  readonly peakKBps?: number;
  readonly burstKiB?: number;
}

/** One lease as the DHCP server wrote it. Names come from guests: shown escaped, never used as a path or in argv. */
export interface Lease {
  readonly family: Family;
  readonly address: string;
  readonly prefix: number;
  readonly mac?: string;
  /** Client id (IPv4) or DUID (IPv6). */
  readonly clientId?: string;
  readonly iaid?: string;
  readonly hostName?: string;
  /** Seconds since 1970; undefined: never. */
  readonly expiresAt?: number;
}

/** What the host already uses, for choosing a free subnet and bridge name. */
export interface HostNetworkFacts {
  readonly links: readonly HostLink[];
  readonly addresses: readonly HostAddress[];
  readonly routes: readonly HostRoute[];
  readonly firewall: {
    /** The backend in use, chosen by probing or configured. */
    readonly backend: FirewallBackendName;
    readonly available: readonly FirewallBackendName[];
    readonly isForwardPolicyDrop: boolean;
    readonly isDockerPresent: boolean;
    readonly isFirewalldRunning: boolean;
  };
  readonly isIpv4Forwarding: boolean;
  readonly isIpv6Forwarding: boolean;
  readonly isVhostNetPresent: boolean;
}

export type FirewallBackendName = 'nftables' | 'iptables' | 'none';

export interface HostLink {
  readonly index: number;
  readonly name: string;
  /** The kernel's word (`bridge`, `tun`, `veth`); undefined for hardware. */
  readonly kind: string | undefined;
  readonly mac: string | undefined;
  readonly mtu: number;
  readonly isUp: boolean;
  /** Index of the bridge or bond it belongs to. */
  readonly master: number | undefined;
}

export interface HostAddress {
  readonly family: Family;
  readonly link: string;
  readonly address: string;
  readonly prefix: number;
}

export interface HostRoute {
  readonly family: Family;
  /** '0.0.0.0' or '::' with prefix 0 for the default route. */
  readonly destination: string;
  readonly prefix: number;
  readonly gateway: string | undefined;
  readonly link: string | undefined;
}

/** Ports of the host that a forward would take. */
export interface ListenerQuery {
  readonly protocol: 'tcp' | 'udp';
  readonly family: Family;
  /** All addresses of the host when left out. */
  readonly hostAddress?: string;
  readonly firstPort: number;
  readonly lastPort: number;
}

/** A program of the host that listens on a port. */
export interface HostListener {
  readonly address: string;
  readonly port: number;
  /** Left out where the process cannot be seen. */
  readonly pid?: number;
  readonly program?: string;
}

/** What a caller needs to put a guest's NIC on a bridge. */
export interface TapRequest extends PortSettings {
  readonly bridge: string;
  readonly mtu?: number;
  readonly queues: number;
  /** Who may open it; only for taps that something else opens by name. */
  readonly uid?: number;
  /** A name asked for by the definition (`<target dev>`); 'vnetN' when left out. */
  readonly name?: string;
  readonly bandwidth?: BandwidthPlan;
}

export interface Tap {
  /** One descriptor a queue; the caller closes them. The tap lives as long as one is open somewhere. */
  readonly fds: readonly number[];
  /** One a queue where the host has vhost-net, else empty. */
  readonly vhostFds: readonly number[];
  readonly name: string;
}

/** What happens on the host without a caller having asked for it. */
export type NetworkHostEvent =
  | { readonly kind: 'leases'; readonly network: string }
  | { readonly kind: 'dnsmasq-restarted'; readonly network: string; readonly reason: string }
  | { readonly kind: 'firewall-restored'; readonly network: string; readonly reason: string }
  | { readonly kind: 'bridge-lost'; readonly network: string };

/** The host as the network service sees it; src/net/host.ts makes the real one. */
export interface NetworkHost extends LinkHost {
  /** @throws VirtError link.failed, network.exists, program.*, operation.failed; the host is then as before. */
  start(plan: NetworkPlan): Promise<void>;
  /** Idempotent; goes on past failures and reports them together. */
  stop(plan: NetworkPlan): Promise<void>;
  /** Brings the host to the plan without cutting traffic: after a daemon restart, or when the plan changed. */
  reconcile(plan: NetworkPlan): Promise<void>;
  leases(plan: NetworkPlan): Promise<Lease[]>;
  /** Removes what outlives a stop (leases still valid): for a network that is undefined. */
  forget(plan: NetworkPlan): Promise<void>;
  /** Reservations, DNS names or port forwards changed: files and rules are written anew, dnsmasq re-reads. */
  reload(plan: NetworkPlan): Promise<void>;
  probe(): Promise<HostNetworkFacts>;
  /** Uses an active network as a guest does, and tells what it finds. @throws VirtError operation.aborted, link.failed */
  test(plan: NetworkPlan, request: NetworkTestRequest): Promise<TestStep[]>;
  /** Sockets of the host that a port forward would cut off. @throws VirtError file.* */
  findListeners(query: ListenerQuery): HostListener[];
  /** Listeners hear of leases and repairs; returns the way to stop. */
  subscribe(listener: (event: NetworkHostEvent) => void): () => void;
  /** Stops watching; networks and their dnsmasq go on. */
  detach(): void;
}
