/** The host's IP forwarding: switched on by the first network that needs it, put back by the last. */
import type { Logger } from '../base/log.ts';
import { listRoutes } from './links/addresses.ts';
import { listLinks } from './links/rtnetlink.ts';
import type { NetworkPlan } from './plan.ts';
import type { HostState } from './state.ts';
import { readSysctl, writeSysctl } from './sysctl.ts';

const IPV4 = 'ipv4/ip_forward';
const IPV6 = 'ipv6/conf/all/forwarding';
/** RTPROT_RA (linux/rtnetlink.h): a route learned from router advertisements. */
const RTPROT_RA = 9;

function needed(plan: NetworkPlan): string[] {
  if (plan.forward.mode === 'none') return [];
  const has = (family: 4 | 6) => plan.subnets.some((subnet) => subnet.family === family);
  return [...(has(4) ? [IPV4] : []), ...(has(6) ? [IPV6] : [])];
}

export class Forwarding {
  private readonly state: HostState;
  private readonly log: Logger;
  // Looking, remembering and changing are one step: of two at once the second would remember the first's value.
  private last: Promise<unknown> = Promise.resolve();

  constructor(state: HostState, log: Logger) {
    this.state = state;
    this.log = log;
  }

  /** Switches on what the plan needs; the values before are remembered on /run. */
  acquire(plan: NetworkPlan): Promise<void> {
    if (needed(plan).every((name) => readSysctl(name) !== '0')) return Promise.resolve();
    return this.inTurn(() => this.acquireNow(plan));
  }

  private inTurn(work: () => Promise<void>): Promise<void> {
    const next = this.last.then(work);
    // The failure is its caller's to handle; the next in turn starts all the same.
    this.last = next.catch(() => undefined);
    return next;
  }

  private async acquireNow(plan: NetworkPlan): Promise<void> {
    const missing = needed(plan).filter((name) => readSysctl(name) === '0');
    if (missing.length === 0) return;
    const changes: [string, string][] = missing.flatMap((name) => [
      ...(name === IPV6 ? acceptRaChanges() : []),
      [name, '1'] as [string, string],
    ]);
    const before = { ...(await this.state.readSettings()) };
    for (const [name] of changes) before[name] ??= readSysctl(name) ?? '0';
    await this.state.writeSettings(before);
    for (const [name, value] of changes) writeSysctl(name, value);
    this.log.info(
      { settings: changes.map(([name]) => name), network: plan.name },
      'IP forwarding switched on',
    );
  }

  /** Puts back what no remaining network needs. */
  release(remaining: readonly NetworkPlan[]): Promise<void> {
    return this.inTurn(() => this.releaseNow(remaining));
  }

  private async releaseNow(remaining: readonly NetworkPlan[]): Promise<void> {
    const before = await this.state.readSettings();
    const still = new Set(remaining.flatMap(needed));
    const isKept = (name: string) => still.has(name === IPV4 ? IPV4 : IPV6);
    const kept = Object.entries(before).filter(([name]) => isKept(name));
    // Forwarding first: while it is on, accept_ra 1 would mean none.
    const back = Object.entries(before)
      .filter(([name]) => !isKept(name))
      .toSorted(([a], [b]) => Number(b === IPV6) - Number(a === IPV6));
    if (back.length === 0) return;
    if (isForwardingUsedByOthers()) {
      this.log.info('IP forwarding stays on: Docker or another bridge uses it');
    } else for (const [name, value] of back) writeSysctl(name, value);
    await this.state.writeSettings(Object.fromEntries(kept));
  }
}

/**
 * A host that forwards IPv6 ignores router advertisements, its own default route with them, unless accept_ra is 2
 * (Documentation/networking/ip-sysctl.rst). Only links that live by advertisements are changed.
 */
function acceptRaChanges(): [string, string][] {
  const links = listLinks();
  const names = new Set(
    listRoutes(links)
      .filter(({ family, protocol }) => family === 6 && protocol === RTPROT_RA)
      .flatMap(({ link }) => link ?? []),
  );
  return [...names]
    .map((name): [string, string] => [`ipv6/conf/${name}/accept_ra`, '2'])
    .filter(([name]) => readSysctl(name) === '1');
}

/** Docker switches forwarding on at its start only, and would not notice that it is gone. */
function isForwardingUsedByOthers(): boolean {
  return listLinks().some(
    ({ name, kind }) => kind === 'bridge' && /^(docker|br-[0-9a-f]{12}|podman|cni)/.test(name),
  );
}
