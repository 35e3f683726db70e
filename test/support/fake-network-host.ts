/** A host of plain data: remembers what networks asked of it, and fails when it is told to. */
import type {
  ExistingLinkRequest,
  LinkStatistics,
  LooseTapRequest,
  MacvtapRequest,
  PortSettings,
  ReceiveFilter,
} from '../../src/net/links/requests.ts';
import type {
  BandwidthPlan,
  HostListener,
  HostNetworkFacts,
  Lease,
  ListenerQuery,
  NetworkHost,
  NetworkHostEvent,
  NetworkPlan,
  Tap,
  TapRequest,
} from '../../src/net/plan.ts';
import type { NetworkTestRequest } from '../../src/net/test/network-test.ts';
import type { TestStep } from '../../src/net/test/step.ts';

const emptyFacts: HostNetworkFacts = {
  links: [],
  addresses: [],
  routes: [],
  firewall: {
    backend: 'nftables',
    available: ['nftables'],
    isForwardPolicyDrop: false,
    isDockerPresent: false,
    isFirewalldRunning: false,
  },
  isIpv4Forwarding: false,
  isIpv6Forwarding: false,
  isVhostNetPresent: false,
};

export class FakeNetworkHost implements NetworkHost {
  /** `start default`, `attach vnet0 virbr0`, in order. */
  readonly done: string[] = [];
  /** The last plan of each network that is on. */
  readonly plans = new Map<string, NetworkPlan>();
  facts: HostNetworkFacts = emptyFacts;
  leaseList: Lease[] = [];
  /** Programs that listen on the host; whoever asks for their port gets them. */
  listeners: HostListener[] = [];
  /** Thrown by the next start or reconcile. */
  failure: Error | undefined;
  readonly taps: TapRequest[] = [];
  private readonly subscribers = new Set<(event: NetworkHostEvent) => void>();

  private async apply(what: string, plan: NetworkPlan): Promise<void> {
    this.done.push(`${what} ${plan.name}`);
    const { failure } = this;
    this.failure = undefined;
    if (failure) throw failure;
    this.plans.set(plan.name, plan);
  }

  start = (plan: NetworkPlan) => this.apply('start', plan);
  reconcile = (plan: NetworkPlan) => this.apply('reconcile', plan);
  reload = (plan: NetworkPlan) => this.apply('reload', plan);

  async stop(plan: NetworkPlan): Promise<void> {
    this.done.push(`stop ${plan.name}`);
    this.plans.delete(plan.name);
  }

  async forget(plan: NetworkPlan): Promise<void> {
    this.done.push(`forget ${plan.name}`);
  }

  leases = () => Promise.resolve(this.leaseList);

  async openTap(request: TapRequest): Promise<Tap> {
    this.taps.push(request);
    return { fds: [100], vhostFds: [], name: request.name ?? `vnet${this.taps.length - 1}` };
  }

  /** Thrown by the next change of a limit. */
  limitFailure: Error | undefined;
  readonly macvtaps: MacvtapRequest[] = [];
  readonly looseTaps: LooseTapRequest[] = [];
  /** Settings that ports were attached again with, by name. */
  readonly ports = new Map<string, PortSettings>();
  /** How many devices lie on an interface besides those that were asked for here. */
  readonly strangers = new Map<string, number>();

  async openMacvtap(request: MacvtapRequest): Promise<Tap> {
    this.macvtaps.push(request);
    return { fds: [101], vhostFds: [], name: request.name ?? `macvtap${this.macvtaps.length - 1}` };
  }

  async openLooseTap(request: LooseTapRequest): Promise<Tap> {
    this.looseTaps.push(request);
    return { fds: [102], vhostFds: [], name: request.name ?? 'vnet100' };
  }

  async openExisting({ name }: ExistingLinkRequest): Promise<Tap> {
    this.done.push(`open ${name}`);
    return { fds: [103], vhostFds: [], name };
  }

  usersOf = (lower: string): number =>
    this.macvtaps.filter((one) => one.lower === lower).length + (this.strangers.get(lower) ?? 0);

  async setBandwidth(name: string, plan: BandwidthPlan | undefined): Promise<void> {
    this.done.push(`limit ${name} ${JSON.stringify(plan ?? null)}`);
    const failure = this.limitFailure;
    this.limitFailure = undefined;
    if (failure) throw failure;
  }

  statistics = (): LinkStatistics => ({
    rxBytes: 1,
    rxPackets: 2,
    rxErrors: 3,
    rxDropped: 4,
    txBytes: 5,
    txPackets: 6,
    txErrors: 7,
    txDropped: 8,
  });

  setReceiveFilter(name: string, filter: ReceiveFilter): void {
    this.done.push(`filter ${name} ${JSON.stringify(filter)}`);
  }

  async sweep(owner: string): Promise<string[]> {
    this.done.push(`sweep ${owner}`);
    return [];
  }

  async attachTap(name: string, bridge: string, port?: PortSettings): Promise<void> {
    this.done.push(`attach ${name} ${bridge}`);
    if (port) this.ports.set(name, port);
  }

  async deleteTap(name: string): Promise<void> {
    this.done.push(`delete ${name}`);
  }

  /** What a test of a network finds. */
  testSteps: TestStep[] = [];

  async test(plan: NetworkPlan, { onStep }: NetworkTestRequest): Promise<TestStep[]> {
    this.done.push(`test ${plan.name}`);
    for (const step of this.testSteps) onStep?.(step);
    return this.testSteps;
  }

  probe = () => Promise.resolve(this.facts);

  findListeners = ({ firstPort, lastPort }: ListenerQuery) =>
    this.listeners.filter(({ port }) => port >= firstPort && port <= lastPort);

  subscribe(listener: (event: NetworkHostEvent) => void): () => void {
    this.subscribers.add(listener);
    return () => this.subscribers.delete(listener);
  }

  tell(event: NetworkHostEvent): void {
    for (const listener of this.subscribers) listener(event);
  }

  detach(): void {
    this.done.push('detach');
  }
}
