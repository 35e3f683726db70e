/** A host of plain data: remembers what networks asked of it, and fails when it is told to. */
import type {
  HostNetworkFacts,
  Lease,
  NetworkHost,
  NetworkHostEvent,
  NetworkPlan,
  Tap,
  TapRequest,
} from '../../src/net/plan.ts';

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
  /** Thrown by the next start or reconcile. */
  failure: Error | undefined;
  readonly taps: TapRequest[] = [];
  private readonly listeners = new Set<(event: NetworkHostEvent) => void>();

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

  async attachTap(name: string, bridge: string): Promise<void> {
    this.done.push(`attach ${name} ${bridge}`);
  }

  async deleteTap(name: string): Promise<void> {
    this.done.push(`delete ${name}`);
  }

  probe = () => Promise.resolve(this.facts);

  subscribe(listener: (event: NetworkHostEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  tell(event: NetworkHostEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  detach(): void {
    this.done.push('detach');
  }
}
