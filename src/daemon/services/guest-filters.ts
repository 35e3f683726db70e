/** Filters of guests' network cards: which rules a `<filterref>` means, as addresses are learned and guests come and go. */
import { reasonOf, VirtError } from '../../base/errors.ts';
import { close } from '../../base/ffi.ts';
import type { Logger } from '../../base/log.ts';
import type {
  ActualInterface,
  FunctionPool,
  GuestLink,
  LinkProvider,
  RetuneRequest,
} from '../../drivers/driver.ts';
import type { Interface } from '../../model/domain/devices/interface.ts';
import { familyOf } from '../../model/network/addresses.ts';
import type { FilterLookup } from '../../model/nwfilter/filter.ts';
import { type CompiledFilter, compileFilter, listsOf } from '../../net/filter/compile.ts';
import type { TapFilters } from '../../net/filter/tap-filters.ts';
import { type FilterVariables, LEARNED } from '../../net/filter/variables.ts';
import type { HostLink } from '../../net/plan.ts';
import type { NetworkService } from './network-service.ts';

/** A network card of a running guest, and its tap. */
export interface FilteredCard {
  readonly domain: { readonly uuid: string; readonly name: string };
  readonly index: number;
  readonly nic: Interface;
  readonly device: string;
}

export interface GuestFiltersOptions {
  /** Makes the taps that the filters are put on. */
  readonly links: LinkProvider;
  readonly filters: Pick<TapFilters, 'apply' | 'drop' | 'dropOthers'>;
  readonly networks: Pick<NetworkService, 'list' | 'leases' | 'whenUp'>;
  /** Cards of running guests that have a filter and a tap. */
  readonly cards: () => readonly FilteredCard[];
  /** Links of this host, by name. */
  readonly linkByName: (name: string) => HostLink;
  readonly linkByIndex: (index: number) => HostLink | undefined;
  readonly log: Logger;
  /** All filters there are, by name. */
  readonly lookup: FilterLookup;
}

/** Gives guests their links as another provider does, with the filter in force before the guest can send anything. */
export class GuestFilters implements LinkProvider {
  private readonly options: GuestFiltersOptions;
  /** Whose filter is on a tap: its name may be another guest's by the time the first one's end is noticed. */
  private readonly owners = new Map<string, string>();

  constructor(options: GuestFiltersOptions) {
    this.options = options;
  }

  /** @throws VirtError definition.unsupported with the path of the filterref, and what making the link throws */
  async open(request: Parameters<LinkProvider['open']>[0]): Promise<GuestLink> {
    const { links, filters } = this.options;
    const { definition: nic, interfaceIndex: index, domainUuid, domainName } = request;
    // Networks that start with the daemon tell the addresses of their guests when they have.
    if (nic.filterref !== undefined) await this.options.networks.whenUp();
    const filter = await this.compile({ nic, index, name: domainName });
    const link = await links.open(request);
    try {
      if (filter === undefined) await filters.drop(link.deviceName);
      else {
        this.refuseWithoutBridge(link.deviceName, index, domainName);
        await filters.apply(new Map([[link.deviceName, filter]]));
        this.owners.set(link.deviceName, domainUuid);
      }
      return link;
    } catch (error) {
      for (const fd of [...link.tapFds, ...link.vhostFds]) close(fd);
      const port = { domainName, definition: { ...request.definition, ...link.actual } };
      await links.close({ domainUuid, deviceName: link.deviceName, isKept: link.isKept ?? false, port });
      throw error;
    }
  }

  async close(request: Parameters<LinkProvider['close']>[0]): Promise<void> {
    const { domainUuid, deviceName } = request;
    await this.options.links.close(request);
    const owner = this.owners.get(deviceName);
    if (owner !== undefined && owner !== domainUuid) return;
    this.owners.delete(deviceName);
    await this.options.filters.drop(deviceName);
  }

  async check(request: Parameters<LinkProvider['open']>[0]): Promise<void> {
    await this.options.links.check?.(request);
  }

  async move(
    request: Parameters<LinkProvider['open']>[0] & { readonly deviceName: string },
  ): Promise<ActualInterface> {
    const { links } = this.options;
    if (links.move === undefined) throw new Error('links of this host cannot be moved');
    return links.move(request);
  }

  /** The new filter is compiled before anything changes; when the limits cannot be had, the old one comes back. */
  async retune(request: RetuneRequest): Promise<void> {
    const { definition, before, interfaceIndex: index, domainName: name, deviceName, domainUuid } = request;
    const { links, filters } = this.options;
    if (links.retune === undefined) throw new Error('links of this host cannot be changed');
    const old = await this.compile({ nic: before, index, name });
    const filter = await this.compile({ nic: definition, index, name });
    const put = async (one: CompiledFilter | undefined) => {
      if (one === undefined) return filters.drop(deviceName);
      this.refuseWithoutBridge(deviceName, index, name);
      await filters.apply(new Map([[deviceName, one]]));
      this.owners.set(deviceName, domainUuid);
    };
    await put(filter);
    try {
      await links.retune(request);
    } catch (error) {
      await put(old);
      throw error;
    }
  }

  async functionsFor(nic: Interface, path: string): Promise<FunctionPool | undefined> {
    return this.options.links.functionsFor?.(nic, path);
  }

  async mtuOf(nic: Interface): Promise<number | undefined> {
    return this.options.links.mtuOf?.(nic);
  }

  /** Brings the filters of running guests in order after a restart of the daemon; what others left is taken away. */
  async recover(): Promise<void> {
    const cards = this.options.cards();
    await this.renew(cards);
    await this.options.filters
      .dropOthers(new Set(cards.map(({ device }) => device)))
      .catch((error: unknown) =>
        this.options.log.error(
          { reason: reasonOf(error) },
          'filters of guests that are gone could not be taken away',
        ),
      );
  }

  /** Leases of a network changed: addresses that were learned may be others now. */
  async follow(networkUuid: string): Promise<void> {
    const name = this.options.networks.list().find(({ uuid }) => uuid === networkUuid)?.name;
    const isMeant = ({ nic: { source } }: FilteredCard) =>
      source.type === 'network' && source.network === name;
    await this.renew(this.options.cards().filter(isMeant));
  }

  /** Cards of running guests that have a filter and a tap. */
  cards(): readonly FilteredCard[] {
    return this.options.cards();
  }

  /**
   * What these cards would have if `lookup` told the filters. Changes nothing.
   * @throws VirtError definition.unsupported with the path of the first card that could not have it
   */
  async rehearse(
    cards: readonly FilteredCard[],
    lookup: FilterLookup,
  ): Promise<ReadonlyMap<string, CompiledFilter>> {
    const compiled = new Map<string, CompiledFilter>();
    for (const { nic, index, domain, device } of cards) {
      const filter = await this.compile({ nic, index, name: domain.name }, lookup);
      if (filter !== undefined) compiled.set(device, filter);
    }
    return compiled;
  }

  /** Puts rehearsed filters on their taps, in one transaction. @throws VirtError program.*, definition.unsupported */
  async putInPlace(compiled: ReadonlyMap<string, CompiledFilter>): Promise<void> {
    if (compiled.size > 0) await this.options.filters.apply(compiled);
  }

  /** Brings these cards in order with the filters as they are now. Failures are logged. */
  async renewThose(cards: readonly FilteredCard[]): Promise<void> {
    await this.renew(cards);
  }

  /** Nobody waits for it, so a failure goes to the log; the rules before stay in force. */
  private async renew(cards: readonly FilteredCard[]): Promise<void> {
    const compiled = new Map<string, CompiledFilter>();
    for (const { nic, index, domain, device } of cards) {
      try {
        const filter = await this.compile({ nic, index, name: domain.name });
        if (filter !== undefined) compiled.set(device, filter);
        this.owners.set(device, domain.uuid);
      } catch (error) {
        this.tell(error, device);
      }
    }
    if (compiled.size === 0) return;
    await this.options.filters
      .apply(compiled)
      .catch((error: unknown) => this.tell(error, ...compiled.keys()));
  }

  private tell(error: unknown, ...taps: readonly string[]): void {
    this.options.log.error(
      { taps, reason: reasonOf(error) },
      "filters of guests' interfaces could not be renewed",
    );
  }

  private async compile(
    card: { readonly nic: Interface; readonly index: number; readonly name: string },
    lookup: FilterLookup = this.options.lookup,
  ): Promise<CompiledFilter | undefined> {
    const { nic, index, name } = card;
    const { filterref } = nic;
    if (filterref === undefined) return undefined;
    try {
      return compileFilter(filterref.filter, await this.variablesOf(nic), lookup);
    } catch (error) {
      if (!(error instanceof VirtError)) throw error;
      throw atPath(error, index, name);
    }
  }

  /** The card's parameters, its MAC address, and its IP address from where it can be learned. */
  private async variablesOf(nic: Interface): Promise<FilterVariables> {
    const { CTRL_IP_LEARNING: wish, ...given } = listsOf(nic.filterref?.parameters ?? []);
    const mac = nic.mac === undefined ? {} : { MAC: [nic.mac.address] };
    const learning = wish?.[0]?.toLowerCase() ?? 'any';
    if (!['any', 'dhcp', 'none'].includes(learning))
      throw new VirtError('definition.unsupported', {
        reason: `CTRL_IP_LEARNING is '${wish?.[0]}'`,
        hint: "it must be 'any', 'dhcp' or 'none'",
      });
    if (given['IP'] !== undefined || learning === 'none') return { ...mac, ...given };
    return { ...mac, IP: await this.learned(nic, learning === 'any'), ...given };
  }

  /** Addresses by reservation and lease; without one the first address that the guest uses, where that is allowed. */
  private async learned(nic: Interface, fromTraffic: boolean): Promise<readonly string[]> {
    const known = await this.knownAddresses(nic);
    if (known !== undefined && (known.length > 0 || !fromTraffic)) return known;
    if (fromTraffic) return [LEARNED];
    throw new VirtError('definition.unsupported', {
      reason: "CTRL_IP_LEARNING is 'dhcp', but the DHCP server of this bridge is not Vireo's",
      hint: "take 'any', or give the address: <parameter name='IP' value='…'/>",
    });
  }

  /** Undefined where the addresses are given out by others. */
  private async knownAddresses(nic: Interface): Promise<readonly string[] | undefined> {
    const { source, mac } = nic;
    if (source.type !== 'network' || mac === undefined) return undefined;
    const network = this.options.networks.list().find(({ name }) => name === source.network);
    const servers = network?.live?.definition.ips.flatMap(({ dhcp }) => dhcp ?? []) ?? [];
    if (network === undefined || servers.length === 0) return undefined;
    const reserved = servers.flatMap(({ hosts }) => hosts).filter((host) => host.mac === mac.address);
    const leases = (await this.options.networks.leases(network)).filter((lease) => lease.mac === mac.address);
    const all = [...reserved.flatMap(({ ip }) => ip ?? []), ...leases.map(({ address }) => address)];
    return [...new Set(all.filter((address) => familyOf(address) === 4))];
  }

  /** Rules of the bridge family see nothing of a device that is on no bridge. */
  private refuseWithoutBridge(device: string, index: number, name: string): void {
    const { linkByName, linkByIndex } = this.options;
    const { master } = linkByName(device);
    if (master !== undefined && linkByIndex(master)?.kind === 'bridge') return;
    throw atPath(
      new VirtError('definition.unsupported', {
        reason: `${device} is on no bridge, and filters work on bridges only`,
        hint: 'connect the interface to a network or a bridge, or leave the filter out',
      }),
      index,
      name,
    );
  }
}

function atPath(error: VirtError, index: number, domain: string): VirtError {
  const { code, reason, hint, details, cause } = error;
  return new VirtError(code, {
    wanted: `connect devices.interface[${index}] of domain '${domain}'`,
    reason: `devices.interface[${index}].filterref: ${reason}`,
    ...(hint !== undefined && { hint }),
    ...(details && { details }),
    cause,
  });
}
