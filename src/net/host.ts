/** Networks on this host: bridge, firewall, DHCP and DNS, forwarding; kept in place by a guardian. */
import { join } from 'node:path';
import { isVirtError, reasonOf, VirtError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { Undo } from '../base/undo.ts';
import { findLink, makeBridge, removeBridge, setUpBridge, silenceBridge } from './bridge.ts';
import { needsDnsmasq } from './dnsmasq/config.ts';
import { DnsmasqSupervisor } from './dnsmasq/supervisor.ts';
import { findDnsmasqUser } from './dnsmasq/user.ts';
import { Firewall, type FirewallChoice } from './firewall/firewall.ts';
import { firewalldEpoch, joinZone, leaveZone } from './firewall/firewalld.ts';
import { Forwarding } from './forwarding.ts';
import { LinuxLinks } from './links/link-host.ts';
import { areSharesThere, bringShares, forgetShares, hasShares } from './links/shares.ts';
import { applyTrafficControl, checksumLines, limitLink } from './links/traffic-control.ts';
import { findListeners } from './listeners.ts';
import type {
  FirewallBackendName,
  HostListener,
  HostNetworkFacts,
  Lease,
  ListenerQuery,
  NetworkHost,
  NetworkHostEvent,
  NetworkPlan,
} from './plan.ts';
import { probeHost } from './probe.ts';
import { registerDomain } from './resolved.ts';
import { HostState, type NetworkRecord } from './state.ts';
import { type NetworkTestRequest, type TestHost, testNetwork } from './test/network-test.ts';
import type { TestStep } from './test/step.ts';

export interface NetworkHostOptions {
  /** Where libnss-libvirt and others look for leases: DIR/var/lib/libvirt/dnsmasq. */
  readonly dnsmasqDirectory: string;
  /** The daemon's own directory on /run. */
  readonly runtimeDirectory: string;
  readonly firewall: FirewallChoice;
  /** Who dnsmasq becomes; the first that this host has when left out. */
  readonly dnsmasqUser?: string;
  readonly log: Logger;
  /** How often the guardian looks, in milliseconds (default 4000). */
  readonly checkEveryMs?: number;
}

const CHECK_EVERY_MS = 4000;

/** Where records of networks and dnsmasq's pid files lie, below the daemon's directory on /run. */
export const networkRuntime = (runtimeDirectory: string): string => join(runtimeDirectory, 'network');

export function createNetworkHost(options: NetworkHostOptions): NetworkHost {
  return new LinuxNetworkHost(options);
}

class LinuxNetworkHost extends LinuxLinks implements NetworkHost {
  private readonly log: Logger;
  private readonly state: HostState;
  private readonly firewall: Firewall;
  private readonly forwarding: Forwarding;
  private readonly dnsmasq: DnsmasqSupervisor;
  private readonly checkEveryMs: number;
  private readonly listeners = new Set<(event: NetworkHostEvent) => void>();
  /** Networks that are on, by uuid. */
  private readonly active = new Map<string, NetworkPlan>();
  /** Networks whose bridge was found missing, and told. */
  private readonly lost = new Set<string>();
  private timer: NodeJS.Timeout | undefined;
  private canRepairChecksums = true;
  /** The life of firewalld whose zones the bridges are in. */
  private zonesOf: bigint | undefined;

  constructor(options: NetworkHostOptions) {
    super();
    const { log, runtimeDirectory } = options;
    const directory = networkRuntime(runtimeDirectory);
    this.log = log;
    this.state = new HostState(directory, log);
    this.firewall = new Firewall({ choice: options.firewall, log });
    this.forwarding = new Forwarding(this.state, log);
    this.checkEveryMs = options.checkEveryMs ?? CHECK_EVERY_MS;
    this.dnsmasq = new DnsmasqSupervisor({
      directory: options.dnsmasqDirectory,
      runtimeDirectory: directory,
      user: options.dnsmasqUser ?? findDnsmasqUser(),
      log,
      onLeases: (plan) => this.tell({ kind: 'leases', network: plan.uuid }),
      onRestart: (plan, reason) => this.tell({ kind: 'dnsmasq-restarted', network: plan.uuid, reason }),
    });
  }

  async start(plan: NetworkPlan): Promise<void> {
    await using undo = new Undo(this.log);
    const record = await this.state.read(plan.uuid);
    makeBridge(plan, record?.plan.bridge.name === plan.bridge.name);
    undo.add('delete the bridge', () => removeBridge(plan));
    await this.state.write({ plan, backend: record?.backend });
    undo.add('forget the network', () => this.state.remove(plan.uuid));
    setUpBridge(plan, undefined);
    undo.add('drop the rules', () => this.firewall.drop(plan, applied(record)));
    undo.add('take the bridge out of its zone', () => this.leaveZone(plan));
    undo.add('end dnsmasq', () => this.dnsmasq.stop(plan));
    // Both wait for other processes most of the time.
    await allOf([this.dnsmasq.apply(plan), this.applyRules(plan, record)]);
    await this.forwarding.acquire(plan);
    undo.add('put IP forwarding back', () => this.forwarding.release([...this.active.values()]));
    await registerDomain(plan, this.log);
    await this.state.write({ plan, backend: this.firewall.backendOf(plan) });
    this.watch(plan);
    undo.keep();
  }

  async stop(plan: NetworkPlan): Promise<void> {
    const record = await this.state.read(plan.uuid);
    const known = this.active.get(plan.uuid) ?? record?.plan ?? plan;
    this.active.delete(plan.uuid);
    this.lost.delete(plan.uuid);
    this.stopTimerWhenIdle();
    const isOurs = this.isOurs(known, record);
    if (isOurs) silenceBridge(known);
    const ends = await Promise.allSettled([
      isOurs && removeBridge(known),
      this.dnsmasq.stop(known),
      this.firewall.drop(known, applied(record)),
      isOurs && this.leaveZone(known),
      hasShares(known) && forgetShares(known.bridge.name),
    ]);
    // Last: as long as there is a record, a daemon that died in between knows what to take away.
    await this.state.remove(plan.uuid);
    const failures = ends.flatMap((end): unknown[] => (end.status === 'rejected' ? [end.reason] : []));
    const remaining = (await this.state.all()).map((other) => other.plan);
    await this.forwarding.release(remaining).catch((error: unknown) => failures.push(error));
    throwTogether(failures, `stop network '${plan.name}' completely`);
  }

  private async leaveZone(plan: NetworkPlan): Promise<void> {
    if (firewalldEpoch() !== undefined) await leaveZone(plan, { isFirewalldRunning: true });
  }

  /** Somebody else's bridge of the same name stays: ours has a record, or at least the plan's address. */
  private isOurs(plan: NetworkPlan, record: NetworkRecord | undefined): boolean {
    return record !== undefined || findLink(plan.bridge.name)?.mac === plan.bridge.mac;
  }

  async reconcile(plan: NetworkPlan): Promise<void> {
    const record = await this.state.read(plan.uuid);
    const before = this.active.get(plan.uuid) ?? record?.plan;
    makeBridge(plan, before?.bridge.name === plan.bridge.name);
    setUpBridge(plan, before);
    this.watch(plan);
    await allOf([this.applyRules(plan, record), this.applyDnsmasq(plan)]);
    await this.forwarding.acquire(plan);
    await registerDomain(plan, this.log);
    await this.state.write({ plan, backend: this.firewall.backendOf(plan) });
  }

  async reload(plan: NetworkPlan): Promise<void> {
    await this.reconcile(plan);
  }

  private async applyRules(plan: NetworkPlan, record: NetworkRecord | undefined): Promise<void> {
    const backend = await this.firewall.choose(plan);
    await allOf([
      this.firewall.apply(plan, applied(record), backend),
      this.applyTraffic(plan, backend, record?.plan),
      joinZone(plan, { isFirewalldRunning: firewalldEpoch() !== undefined }),
    ]);
  }

  /** A network that is on stays on: when its server does not start, it is tried again until it does. */
  private async applyDnsmasq(plan: NetworkPlan): Promise<void> {
    try {
      await this.dnsmasq.apply(plan);
    } catch (error) {
      this.dnsmasq.retry(plan, reasonOf(error));
      throw error;
    }
  }

  private async applyTraffic(
    plan: NetworkPlan,
    backend: FirewallBackendName,
    before: NetworkPlan | undefined,
  ): Promise<void> {
    await bringShares(plan, before);
    const { inbound, outbound } = plan.bandwidth ?? {};
    const limits = { ...(inbound && !hasShares(plan) && { inbound }), ...(outbound && { outbound }) };
    if (Object.keys(limits).length > 0) await limitLink(plan.bridge.name, limits, false);
    const hasDhcp = plan.subnets.some(({ family, dhcp }) => family === 4 && dhcp !== undefined);
    if (!hasDhcp || !this.canRepairChecksums || !needsDnsmasq(plan)) return;
    if (backend === 'iptables') return;
    try {
      await applyTrafficControl(checksumLines(plan.bridge.name));
    } catch (error) {
      if (!isVirtError(error, 'program.failed') && !isVirtError(error, 'program.missing')) throw error;
      this.canRepairChecksums = false;
      this.log.info(
        { reason: reasonOf(error) },
        'tc cannot fill in checksums here (act_csum): guests with very old DHCP clients may get no address',
      );
    }
  }

  async leases(plan: NetworkPlan): Promise<Lease[]> {
    return this.dnsmasq.leases(plan);
  }

  async forget(plan: NetworkPlan): Promise<void> {
    await this.dnsmasq.forget(plan);
  }

  async probe(): Promise<HostNetworkFacts> {
    return probeHost(this.firewall);
  }

  test(plan: NetworkPlan, request: NetworkTestRequest): Promise<TestStep[]> {
    const host: TestHost = {
      openTap: (wanted) => this.openTap(wanted),
      probe: () => this.probe(),
      reconcile: (wanted) => this.reconcile(wanted),
      backendOf: (wanted) => this.firewall.backendOf(wanted),
    };
    return testNetwork(host, plan, request);
  }

  findListeners(query: ListenerQuery): HostListener[] {
    return findListeners(query);
  }

  subscribe(listener: (event: NetworkHostEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private tell(event: NetworkHostEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  private watch(plan: NetworkPlan): void {
    this.active.set(plan.uuid, plan);
    this.lost.delete(plan.uuid);
    if (this.timer === undefined) this.zonesOf = firewalldEpoch();
    this.timer ??= setInterval(() => {
      this.look().catch((error: unknown) =>
        this.log.error({ err: error }, 'the networks could not be checked'),
      );
    }, this.checkEveryMs).unref();
  }

  /** One look of the guardian: some microseconds as long as nothing has happened. */
  private async look(): Promise<void> {
    this.dnsmasq.look();
    for (const plan of this.active.values()) this.lookForBridge(plan);
    for (const plan of await this.firewall.check()) {
      const reason = 'rules of the network had disappeared or changed';
      this.log.warn({ network: plan.name }, 'rules of the network had disappeared and were put back');
      this.tell({ kind: 'firewall-restored', network: plan.uuid, reason });
    }
    await this.restoreShares();
    await this.rejoinZones();
    for (const plan of this.active.values()) await this.forwarding.acquire(plan);
  }

  private async restoreShares(): Promise<void> {
    for (const plan of this.active.values()) {
      if (!hasShares(plan) || this.lost.has(plan.uuid) || areSharesThere(plan.bridge.name)) continue;
      await bringShares(plan, undefined);
      const reason = 'rules of guaranteed shares had disappeared';
      this.log.warn({ network: plan.name }, 'rules of guaranteed shares had disappeared and were put back');
      this.tell({ kind: 'firewall-restored', network: plan.uuid, reason });
    }
  }

  /** firewalld has started or reloaded since the last look, and knows nothing of our bridges any more. */
  private async rejoinZones(): Promise<void> {
    const epoch = firewalldEpoch();
    const isNew = epoch !== undefined && epoch !== this.zonesOf;
    this.zonesOf = epoch;
    if (!isNew) return;
    const facts = await this.firewall.facts();
    for (const plan of this.active.values()) {
      try {
        await joinZone(plan, facts);
        const reason = 'firewalld had forgotten the zone of the bridge';
        this.tell({ kind: 'firewall-restored', network: plan.uuid, reason });
      } catch (error) {
        // firewalld may not answer yet, or have gone again: the next look tries it anew.
        this.zonesOf = undefined;
        this.log.warn(
          { network: plan.name, reason: reasonOf(error) },
          'the bridge is in no zone of firewalld',
        );
      }
    }
  }

  private lookForBridge(plan: NetworkPlan): void {
    if (this.lost.has(plan.uuid) || findLink(plan.bridge.name) !== undefined) return;
    this.lost.add(plan.uuid);
    this.log.error({ network: plan.name, bridge: plan.bridge.name }, 'the bridge of the network is gone');
    this.tell({ kind: 'bridge-lost', network: plan.uuid });
  }

  private stopTimerWhenIdle(): void {
    if (this.active.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  detach(): void {
    this.active.clear();
    this.stopTimerWhenIdle();
    this.dnsmasq.detach();
    this.firewall.detach();
    this.listeners.clear();
  }
}

function applied(record: NetworkRecord | undefined) {
  return record?.backend === undefined ? undefined : { plan: record.plan, backend: record.backend };
}

/** Waits for all, then throws the first failure: nothing goes on behind the caller's back. */
async function allOf(work: readonly Promise<unknown>[]): Promise<void> {
  for (const end of await Promise.allSettled(work)) if (end.status === 'rejected') throw end.reason;
}

function throwTogether(failures: readonly unknown[], wanted: string): void {
  if (failures.length === 0) return;
  throw new VirtError('operation.failed', {
    wanted,
    reason: failures.map(reasonOf).join('; '),
    cause: failures[0],
  });
}
