/** One network as the daemon holds it, and the registry of all of them. */
import { VirtError } from '../../base/errors.ts';
import { JobQueue } from '../../base/jobs.ts';
import type { CompleteNetworkDef } from '../../model/network/network.ts';

/** What lists show of a definition; kept beside the text so that a list parses nothing. */
export interface NetworkFacts {
  readonly title?: string;
  readonly mode: string;
  readonly bridge?: string;
  /** `192.168.122.0/24` */
  readonly subnets: readonly string[];
}

/** The running side of a network. */
export interface LiveNetwork {
  /** The definition as it runs. */
  definition: CompleteNetworkDef;
  readonly startedAtMs: number;
}

/** A network as events name it. */
export interface NetworkIdentity {
  readonly uuid: string;
  readonly name: string;
}

/** A network: stored, active, or both. Definitions are kept as text and parsed when somebody needs them. */
export class Network {
  readonly uuid: string;
  readonly name: string;
  autostart = false;
  /** The stored definition; undefined for a transient network. */
  xml: string | undefined;
  /** Facts of the stored definition, as lists show them. */
  facts: NetworkFacts | undefined;
  /** Header facts of the stored file that this version doesn't know. */
  extra: Readonly<Record<string, unknown>> | undefined;
  live: LiveNetwork | undefined;
  /** What a start that is under way will make of it: two networks that overlap must not start at the same time. */
  starting: CompleteNetworkDef | undefined;
  readonly jobs: JobQueue;

  constructor(uuid: string, name: string) {
    this.uuid = uuid;
    this.name = name;
    this.jobs = new JobQueue(`network '${name}'`, 'network.busy');
  }

  get isPersistent(): boolean {
    return this.xml !== undefined;
  }

  get isActive(): boolean {
    return this.live !== undefined;
  }

  get identity(): NetworkIdentity {
    return { uuid: this.uuid, name: this.name };
  }

  /** The running side, or the error that says it must be active. */
  requireLive(wanted: string): LiveNetwork {
    if (this.live !== undefined) return this.live;
    throw new VirtError('network.inactive', {
      wanted,
      reason: `network '${this.name}' is not active`,
      hint: `start it with 'vireo network start ${this.name}'`,
    });
  }
}

/** All networks, by uuid and name; both are unique. */
export class NetworkRegistry {
  private readonly byUuid = new Map<string, Network>();
  private readonly byName = new Map<string, Network>();

  get all(): readonly Network[] {
    return [...this.byUuid.values()];
  }

  withUuid(uuid: string): Network | undefined {
    return this.byUuid.get(uuid);
  }

  withName(name: string): Network | undefined {
    return this.byName.get(name);
  }

  /** Finds by uuid or name, the uuid first. */
  find(text: string): Network | undefined {
    return this.byUuid.get(text.toLowerCase()) ?? this.byName.get(text);
  }

  /** Adds a network; name and uuid must be free. */
  add(network: Network): void {
    this.byUuid.set(network.uuid, network);
    this.byName.set(network.name, network);
  }

  /** Takes a network away that is neither stored nor active. */
  forgetIfGone(network: Network): void {
    if (network.isPersistent || network.isActive) return;
    if (this.byUuid.get(network.uuid) === network) this.byUuid.delete(network.uuid);
    if (this.byName.get(network.name) === network) this.byName.delete(network.name);
  }
}
