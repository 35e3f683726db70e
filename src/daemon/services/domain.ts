/** One domain as the daemon holds it, and the registry of all of them. */
import { VirtError } from '../../base/errors.ts';
import { JobQueue } from '../../base/jobs.ts';
import type { LiveGuest } from '../../drivers/driver.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { DomainState } from '../../model/domain/state.ts';
import type { EventDomain } from './events.ts';
import type { DomainFacts } from './world.ts';

/** How a client names a domain. When more than one is given, the uuid alone decides (docs/security.md, class C). */
export interface DomainRef {
  readonly uuid?: string;
  readonly name?: string;
  readonly id?: number;
}

/** The running side of a domain. */
export interface LiveDomain {
  readonly guest: LiveGuest;
  readonly id: number;
  /** The connection that takes the guest with it when it closes. */
  readonly autodestroyOwner?: object;
  /** Why we are ending the process, when it is us: decides the reason after its end. */
  stopReason?: 'shutdown' | 'destroyed' | 'crashed' | 'failed' | 'saved' | 'from snapshot';
  /** A reboot by the power button is under way: the next power-off is followed by a reset. */
  isRebooting: boolean;
  /** MAC addresses that guests gave their cards, by alias, where they are not those of the definition. */
  readonly ownMacs: Map<string, string>;
  /** A change that QEMU did not answer in time, until it has and the change is made or taken back; never rejects. */
  settling?: Promise<void>;
}

/** Why the last run ended, kept for `domain.get` after a crash. */
export interface LastExit {
  readonly reason: string;
  readonly atMs: number;
  /** The end of QEMU's own log. */
  readonly log?: string;
  /** After a crash: the signal or exit status of QEMU, where it is known. */
  readonly how?: string;
}

/** A domain: stored, running, or both. Definitions are kept as text and parsed when somebody needs them. */
export class Domain {
  readonly uuid: string;
  name: string;
  autostart = false;
  /** It starts with the host the next time, and only then. */
  autostartOnce = false;
  /** The stored definition (inactive, secure form); undefined for a transient domain. */
  xml: string | undefined;
  /** The text that was parsed last, and what came out; given up whenever memory is collected. */
  parsed: WeakRef<{ readonly xml: string; readonly definition: DomainDef }> | undefined;
  /** Facts of the stored definition, as lists show them. */
  facts: DomainFacts | undefined;
  /** Header facts of the stored file that this version doesn't know. */
  extra: Readonly<Record<string, unknown>> | undefined;
  /** The stored file was changed by hand and has not been parsed since. */
  isEdited = false;
  live: LiveDomain | undefined;
  state: DomainState = { state: 'shutoff', reason: 'unknown' };
  lastExit: LastExit | undefined;
  /** The clean-up after the last run, while it goes on. */
  finishing: Promise<void> | undefined;
  /** Operations that are about to make it persistent or active; until they end it stays in the registry. */
  claims = 0;
  /** Aborts the start that is under way. */
  startAbort: AbortController | undefined;
  private queue: JobQueue | undefined;

  constructor(uuid: string, name: string) {
    this.uuid = uuid;
    this.name = name;
  }

  /** Made when first needed: a thousand idle domains need no queues. */
  get jobs(): JobQueue {
    this.queue ??= new JobQueue(`domain '${this.name}'`);
    return this.queue;
  }

  get currentJob(): { readonly name: string; readonly startedAtMs: number } | undefined {
    return this.queue?.current;
  }

  get isPersistent(): boolean {
    return this.xml !== undefined;
  }

  get isActive(): boolean {
    return this.live !== undefined;
  }

  /** Neither stored nor running nor being started: what is left between a failed or finished end and its removal. */
  get isNothing(): boolean {
    return !this.isPersistent && !this.isActive && this.startAbort === undefined;
  }

  /** The domain as events name it. */
  get identity(): EventDomain {
    return { uuid: this.uuid, name: this.name, id: this.live?.id ?? null };
  }

  /** The running side, or the error that says it must run. */
  requireLive(wanted: string): LiveDomain {
    if (this.live === undefined)
      throw new VirtError('domain.inactive', {
        wanted: `${wanted} domain '${this.name}'`,
        reason: 'domain is not running',
        hint: `start it with 'vireo start ${this.name}'`,
      });
    return this.live;
  }
}

/** All domains, by uuid, name and id. Names and uuids are unique. */
export class DomainRegistry {
  private readonly byUuid = new Map<string, Domain>();
  private readonly named = new Map<string, Domain>();
  /** All by name, as long as no name came or went. */
  private sorted: readonly Domain[] | undefined;
  private readonly byId = new Map<number, Domain>();

  get all(): Iterable<Domain> {
    return this.byUuid.values();
  }

  /** All, in the order of their names. */
  get byName(): readonly Domain[] {
    this.sorted ??= [...this.byUuid.values()].sort((a, b) =>
      a.name < b.name ? -1 : a.name > b.name ? 1 : 0,
    );
    return this.sorted;
  }

  get size(): number {
    return this.byUuid.size;
  }

  get activeCount(): number {
    return this.byId.size;
  }

  withUuid(uuid: string): Domain | undefined {
    return this.byUuid.get(uuid);
  }

  withName(name: string): Domain | undefined {
    return this.named.get(name);
  }

  /** @throws VirtError domain.not-found */
  find(ref: DomainRef): Domain {
    const found =
      ref.uuid !== undefined
        ? this.byUuid.get(ref.uuid.toLowerCase())
        : ref.name !== undefined
          ? this.named.get(ref.name)
          : ref.id !== undefined
            ? this.byId.get(ref.id)
            : undefined;
    if (found && !found.isNothing) return found;
    const said = ref.uuid ?? ref.name ?? ref.id;
    throw new VirtError('domain.not-found', {
      reason: `no domain with matching ${ref.uuid !== undefined ? 'uuid' : ref.name !== undefined ? 'name' : 'id'} '${said}'`,
      hint: "'vireo list' shows all domains",
    });
  }

  /** Adds a domain; name and uuid must be free (checked by the caller with its own words). */
  add(domain: Domain): void {
    this.byUuid.set(domain.uuid, domain);
    this.named.set(domain.name, domain);
    this.sorted = undefined;
  }

  remove(domain: Domain): void {
    if (this.byUuid.get(domain.uuid) === domain) this.byUuid.delete(domain.uuid);
    if (this.named.get(domain.name) === domain) this.named.delete(domain.name);
    this.sorted = undefined;
  }

  /** Takes away a domain that is neither stored nor running, unless an operation is about to make it so. */
  forgetIfGone(domain: Domain): void {
    if (domain.isNothing && domain.claims === 0) this.remove(domain);
  }

  /** Keeps a domain in the registry while `work` is about to make it persistent or active. */
  async claim<T>(domain: Domain, work: () => Promise<T>): Promise<T> {
    domain.claims++;
    try {
      return await work();
    } finally {
      domain.claims--;
      this.forgetIfGone(domain);
    }
  }

  rename(domain: Domain, name: string): void {
    this.named.delete(domain.name);
    domain.name = name;
    this.named.set(name, domain);
    this.sorted = undefined;
  }

  setLive(domain: Domain, live: LiveDomain): void {
    domain.live = live;
    this.byId.set(live.id, domain);
  }

  clearLive(domain: Domain): void {
    if (domain.live) this.byId.delete(domain.live.id);
    domain.live = undefined;
  }
}
