/** Shares of networks' inbound bandwidth that interfaces of guests are guaranteed (`<inbound floor=.../>`). */
import { isVirtError, VirtError } from '../../base/errors.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import { type CompleteNetworkDef, hasOwnBridge } from '../../model/network/network.ts';
import type { GuaranteedShare } from '../../net/plan.ts';
import type { Network } from './network.ts';
import type { NetworkPlans } from './network-plans.ts';
import { type NetworkPort, type NetworkWorld, runNetworkJob } from './network-world.ts';

/** What an interface is guaranteed, in kilobytes a second. */
export const floorOf = ({ bandwidth }: Pick<Interface, 'bandwidth'>): number | undefined =>
  bandwidth?.inbound?.floor;

/**
 * Who is guaranteed what: running interfaces, and what was promised or taken back by this daemon since, which their
 * definitions may not say yet.
 */
export class ShareBook {
  private readonly ports: () => readonly NetworkPort[];
  /** By the name of the network, then by MAC address; undefined was taken back. */
  private readonly changes = new Map<string, Map<string, number | undefined>>();

  constructor(ports: () => readonly NetworkPort[]) {
    this.ports = ports;
  }

  /** In the order of their addresses. */
  on(network: string): GuaranteedShare[] {
    const shares = new Map<string, number | undefined>();
    for (const { network: name, mac, definition } of this.ports())
      if (name === network) shares.set(mac, floorOf(definition));
    for (const [mac, floor] of this.changes.get(network) ?? []) shares.set(mac, floor);
    return [...shares]
      .flatMap(([mac, floorKBps]) => (floorKBps === undefined ? [] : [{ mac, floorKBps }]))
      .toSorted((a, b) => (a.mac < b.mac ? -1 : 1));
  }

  /** Notes a change; what it returns takes it back. */
  note(network: string, mac: string, floorKBps: number | undefined): () => void {
    const changes = this.changes.get(network) ?? new Map<string, number | undefined>();
    this.changes.set(network, changes);
    const before = changes.has(mac) ? { floor: changes.get(mac) } : undefined;
    // Of an interface that is gone nothing has to be kept.
    for (const [other, floor] of changes)
      if (floor === undefined && !this.ports().some((port) => port.mac === other)) changes.delete(other);
    changes.set(mac, floorKBps);
    return () => {
      if (before === undefined) changes.delete(mac);
      else changes.set(mac, before.floor);
    };
  }
}

/** An interface, and what it is to be guaranteed. */
export interface ShareWish {
  readonly network: string;
  readonly mac: string;
  /** Kilobytes a second; undefined for nothing any more. */
  readonly floorKBps: number | undefined;
  /** For errors. */
  readonly wanted: string;
}

export class NetworkShares {
  private readonly world: NetworkWorld;
  private readonly plans: NetworkPlans;
  private readonly book: ShareBook;

  constructor(world: NetworkWorld, plans: NetworkPlans, book: ShareBook) {
    this.world = world;
    this.plans = plans;
    this.book = book;
  }

  /**
   * Guarantees an interface a share before its guest uses it, or another one; on failure it is as before.
   * @throws VirtError definition.unsupported for a network without a limit of its own, link.failed when the shares
   *   would be more than the network has, or the kernel cannot
   */
  async promise({ network: name, mac, floorKBps, wanted }: ShareWish): Promise<void> {
    const network = this.world.registry.withName(name);
    if (network === undefined) return; // Who opens a link on it tells that.
    await runNetworkJob(this.world, network, 'share bandwidth', async () => {
      const { definition } = network.requireLive(wanted);
      const takeBack = this.book.note(name, mac, floorKBps);
      try {
        if (floorKBps !== undefined) refuseTooMuch(definition, this.book.on(name), wanted);
        await this.bring(network, definition);
      } catch (error) {
        takeBack();
        throw error;
      }
    });
  }

  /** The interface is gone, or its guest has not started; so may its network be. @throws VirtError link.failed, program.* */
  async end(name: string, mac: string): Promise<void> {
    const network = this.world.registry.withName(name);
    if (network?.live === undefined) {
      this.book.note(name, mac, undefined);
      return;
    }
    try {
      await runNetworkJob(this.world, network, 'share bandwidth', async () => {
        this.book.note(name, mac, undefined);
        if (network.live !== undefined) await this.bring(network, network.live.definition);
      });
    } catch (error) {
      if (!isVirtError(error, 'network.not-found')) throw error; // Gone meanwhile, and its shares with it.
    }
  }

  private async bring(network: Network, definition: CompleteNetworkDef): Promise<void> {
    if (!hasOwnBridge(definition)) return;
    await this.world.host.reload(await this.plans.plan(network, definition));
  }
}

/** As libvirt: all shares together are no more than the peak of the network, or its average where it has no peak. */
function refuseTooMuch(
  definition: CompleteNetworkDef,
  shares: readonly GuaranteedShare[],
  wanted: string,
): void {
  const { average, peak = average } = definition.bandwidth?.inbound ?? {};
  const refuse = (reason: string, hint: string) =>
    new VirtError('definition.unsupported', {
      wanted,
      reason: `bandwidth.inbound.floor: ${reason}`,
      hint,
      details: { problems: [{ path: 'bandwidth.inbound.floor', message: reason }] },
    });
  if (!hasOwnBridge(definition) || average === undefined || peak === undefined)
    throw refuse(
      `network '${definition.name}' has no inbound limit that a share could be guaranteed of`,
      "give the network <bandwidth><inbound average='...'/></bandwidth>, in kilobytes a second",
    );
  const sum = shares.reduce((total, { floorKBps }) => total + floorKBps, 0);
  if (sum > peak)
    throw refuse(
      `${sum} KB/s would be guaranteed on network '${definition.name}', which has ${peak}`,
      'lower the shares, or raise the limit of the network',
    );
}
