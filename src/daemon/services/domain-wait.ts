/** Waiting for a domain: a state, an address, its agent, its SSH server; by events, and by looking again. */
import { VirtError } from '../../base/errors.ts';
import type { DomainStateName } from '../../model/domain/state.ts';
import { assumedAddresses } from './assumed-addresses.ts';
import type { Domain } from './domain.ts';
import { type FoundAddresses, type GuestAddresses, hostSideSources, isLinkLocal } from './guest-addresses.ts';
import { answersSsh, type Endpoint } from './ssh-probe.ts';
import type { DomainWorld } from './world.ts';

/** What can be waited for: a state, or a sign of life from inside the guest. */
export type WaitGoal = DomainStateName | 'address' | 'agent' | 'ssh';

/** What was found: the guest's address, or where its SSH server answers. */
export interface Reached {
  readonly address?: string;
  readonly port?: number;
}

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Whether, while an address is waited for, the agent may be asked and the address be looked for; true when left out. */
  readonly mayAskGuest?: boolean;
}

/** What waiting needs besides the domain world. */
export interface WaitSources {
  readonly addresses: GuestAddresses;
  /** Ends on the host that lead to that port of the guest, as they are now. */
  forwardsTo(domain: Domain, guestPort: number): readonly Endpoint[];
}

/** How often the guest is looked at where no event tells. */
const LOOK_EVERY_MS = 500;
const SSH_PORT = 22;
/** One try of an SSH server; a hanging one is tried again. */
const SSH_TRY_MS = 3000;
/** More addresses of one guest are not tried at the same time. */
const MAX_ENDPOINTS = 8;

interface LookOptions {
  readonly over: AbortSignal;
  readonly mayAskGuest: boolean;
}

type Look = { readonly reached: Reached } | { readonly missing: string };

export class DomainWait {
  private readonly world: DomainWorld;
  private readonly sources: WaitSources;

  constructor(world: DomainWorld, sources: WaitSources) {
    this.world = world;
    this.sources = sources;
  }

  /**
   * Waits until the goal is reached; returns at once when it is. A domain that does not run may be started meanwhile.
   * @throws VirtError operation.timeout with what was still missing, domain.not-found when it disappears,
   *   agent.missing when it waits for an agent that cannot come, operation.aborted
   */
  async wait(domain: Domain, goal: WaitGoal, options: WaitOptions): Promise<Reached> {
    const wanted = `wait for domain '${domain.name}' ${goalText(goal)}`;
    const { mayAskGuest = true } = options;
    using watch = new Watch(this.world, domain, options);
    let missing = 'there was no time to look';
    for (;;) {
      const look = await watch.unlessOver(this.look(domain, goal, { over: watch.over, mayAskGuest }));
      if (look !== undefined && 'reached' in look) return look.reached;
      if (look !== undefined) missing = look.missing;
      if (options.signal?.aborted) throw new VirtError('operation.aborted', { wanted, reason: 'cancelled' });
      if (watch.over.aborted)
        throw new VirtError('operation.timeout', {
          wanted,
          reason: `after ${options.timeoutMs} ms ${missing}`,
        });
      if (this.world.registry.withUuid(domain.uuid) !== domain)
        throw new VirtError('domain.not-found', { wanted, reason: 'the domain is gone' });
      await watch.next(isSign(goal) ? LOOK_EVERY_MS : undefined);
    }
  }

  private async look(domain: Domain, goal: WaitGoal, { over, mayAskGuest }: LookOptions): Promise<Look> {
    if (!isSign(goal))
      return domain.state.state === goal ? { reached: {} } : { missing: `it is still ${domain.state.state}` };
    if (domain.live === undefined) return { missing: 'it is not running' };
    try {
      if (goal === 'agent') return await this.lookForAgent(domain);
      return goal === 'address'
        ? await this.lookForAddress(domain, mayAskGuest)
        : await this.lookForSsh(domain, over);
    } catch (error) {
      // The guest may end, or be busy, in the middle of it.
      if (!(error instanceof VirtError) || error.code === 'agent.missing') throw error;
      return { missing: error.reason };
    }
  }

  private async lookForAgent(domain: Domain): Promise<Look> {
    await domain.requireLive('wait for').guest.agentPing();
    return { reached: {} };
  }

  private async lookForAddress(domain: Domain, mayAskGuest: boolean): Promise<Look> {
    // The agent may take its time: it is asked when nobody else knows.
    const quick = await this.sources.addresses.find(domain, hostSideSources);
    const address =
      confirmedOf(quick) ??
      (mayAskGuest ? confirmedOf(await this.sources.addresses.find(domain, ['lease', 'agent'])) : undefined);
    if (address !== undefined) return { reached: { address } };
    const doubtful = addressesOf(quick);
    // The kernel asks the guest for its hardware address then, and the next look finds the answer.
    if (mayAskGuest) await Promise.all(doubtful.map(poke));
    return {
      missing:
        doubtful.length > 0
          ? `it had the address ${doubtful[0]} before, and does not answer there yet`
          : `no DHCP lease, guest agent, neighbour table entry or user network connection told an address${assumption(domain)}`,
    };
  }

  private async lookForSsh(domain: Domain, over: AbortSignal): Promise<Look> {
    const found = await this.sources.addresses.find(domain, hostSideSources);
    const direct = addressesOf(found, { isReachable: true }).map((address) => ({ address, port: SSH_PORT }));
    const endpoints = [...this.sources.forwardsTo(domain, SSH_PORT), ...direct].slice(0, MAX_ENDPOINTS);
    if (endpoints.length === 0) return this.lookForNeighbour(domain);
    const tries = endpoints.map(async (endpoint) => {
      if (await answersSsh(endpoint, { limitMs: SSH_TRY_MS, signal: over })) return endpoint;
      throw new Error('no banner');
    });
    const first = await Promise.any(tries).catch(() => undefined); // All failed: that is what `missing` tells.
    if (first !== undefined) return { reached: first };
    const tried = endpoints.map(({ address, port }) => `${address} port ${port}`).join(', ');
    return { missing: `no SSH server answered at ${tried}` };
  }

  /**
   * What only the guest itself claims is not connected to. When the kernel finds the address behind the guest's own MAC
   * address, the neighbour table vouches for it, and the next look uses that.
   */
  private async lookForNeighbour(domain: Domain): Promise<Look> {
    const claimed = await this.sources.addresses.find(domain, ['lease', 'agent']);
    await Promise.all(addressesOf(claimed).slice(0, MAX_ENDPOINTS).map(poke));
    return {
      missing: `it has no address that the host reaches, and no port of the host leads to its port ${SSH_PORT}`,
    };
  }
}

function isSign(goal: WaitGoal): goal is 'address' | 'agent' | 'ssh' {
  return goal === 'address' || goal === 'agent' || goal === 'ssh';
}

const signTexts = {
  address: 'to have an address',
  agent: 'to have its guest agent answer',
  ssh: 'to have its SSH server answer',
} as const;

function goalText(goal: WaitGoal): string {
  return isSign(goal) ? signTexts[goal] : `to be ${goal}`;
}

function addressesOf({ interfaces }: FoundAddresses, { isReachable = false } = {}): string[] {
  return (
    interfaces
      .flatMap(({ addresses }) => addresses)
      // An address inside a user network means nothing to the host.
      .filter(({ address, sources }) => !isLinkLocal(address) && !(isReachable && sources.includes('user')))
      .map(({ address }) => address)
  );
}

function confirmedOf(found: FoundAddresses): string | undefined {
  const all = found.interfaces.flatMap(({ addresses }) => addresses);
  return all.find(({ address, isConfirmed }) => isConfirmed && !isLinkLocal(address))?.address;
}

/** On a user network nobody can tell before the guest connects somewhere: what it most likely has, and what would tell. */
function assumption({ live }: Domain): string {
  const [likely] = assumedAddresses(live?.guest.definition.devices.interfaces ?? []);
  return likely === undefined
    ? ''
    : `; on its user network it most likely has ${likely.address}, which shows when it has a connection open or a guest agent`;
}

/** Sends one empty datagram to the discard port (RFC 863): the kernel has to find out who has that address. */
async function poke(address: string): Promise<void> {
  // Few ever need it, and it takes a megabyte.
  const { createSocket } = await import('node:dgram');
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.on('error', () => socket.close()); // Unreachable is an answer, too.
  socket.send('', 9, address, () => socket.close());
}

/** Wakes a waiter at each event that may matter, and knows when the time is over. */
class Watch implements Disposable {
  private readonly stop = new AbortController();
  private readonly timer: NodeJS.Timeout;
  private readonly unsubscribe: () => void;
  private readonly onAbort = () => this.end();
  private readonly signal: AbortSignal | undefined;
  private hasNews = false;
  private wake: () => void = () => undefined;

  constructor(world: DomainWorld, domain: Domain, { timeoutMs, signal }: WaitOptions) {
    this.signal = signal;
    this.timer = setTimeout(() => this.end(), timeoutMs);
    this.unsubscribe = world.events.subscribe((event) => {
      const isOfDomain = 'domain' in event && event.domain?.uuid === domain.uuid;
      if (isOfDomain || event.event.startsWith('network.lease')) this.tell();
    });
    if (signal?.aborted) this.end();
    else signal?.addEventListener('abort', this.onAbort, { once: true });
  }

  /** Aborted when the time is over or the waiter has gone. */
  get over(): AbortSignal {
    return this.stop.signal;
  }

  /** The result of `work`, or undefined when the wait is over before. */
  async unlessOver<T>(work: Promise<T>): Promise<T | undefined> {
    let leave: () => void = () => undefined;
    const over = new Promise<undefined>((resolve) => {
      leave = () => resolve(undefined);
      this.over.addEventListener('abort', leave, { once: true });
    });
    if (this.over.aborted) leave();
    work.catch(() => undefined); // When the wait is over, nobody hears of it any more.
    try {
      return await Promise.race([work, over]);
    } finally {
      this.over.removeEventListener('abort', leave);
    }
  }

  /** Settles at the next news, after `mostMs`, or when the wait is over. */
  async next(mostMs: number | undefined): Promise<void> {
    if (!this.hasNews && !this.over.aborted)
      await new Promise<void>((resolve) => {
        const timer = mostMs === undefined ? undefined : setTimeout(resolve, mostMs);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    this.hasNews = false;
  }

  private tell(): void {
    this.hasNews = true;
    this.wake();
  }

  private end(): void {
    this.stop.abort();
    this.wake();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.timer);
    this.unsubscribe();
    this.signal?.removeEventListener('abort', this.onAbort);
    this.stop.abort();
  }
}
