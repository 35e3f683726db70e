/** Which PCI slots of a guest exist, and which are taken: one map of all its buses. */

export interface PciAddress {
  readonly domain: number;
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
}

/**
 * What a device wants of the bus it sits on. `pci` and `pcie` are endpoints that may be hotplugged, the rest are
 * controllers of the model that the name says.
 */
export type PciNeed =
  | 'pci'
  | 'pcie'
  /** An endpoint that belongs to the root complex (virtio-iommu). */
  | 'pcie-integrated'
  | 'pci-bridge'
  | 'dmi-to-pci-bridge'
  | 'pcie-to-pci-bridge'
  | 'pcie-root-port'
  | 'pcie-switch-upstream-port'
  | 'pcie-switch-downstream-port'
  | 'pci-expander-bus'
  | 'pcie-expander-bus';

interface BusRule {
  readonly minSlot: number;
  readonly maxSlot: number;
  /** What is put here when nobody says where; an explicit address may put anything anywhere. */
  readonly takes: readonly PciNeed[];
}

/**
 * The buses by the controller model that makes them (QEMU's docs/pcie.txt and docs/pcie_pci_bridge.txt). Endpoints
 * are placed by themselves only where they could be hotplugged; so none on pcie-root and dmi-to-pci-bridge.
 */
const busRules: Readonly<Record<string, BusRule>> = {
  'pci-root': { minSlot: 1, maxSlot: 31, takes: ['pci', 'pci-bridge', 'pci-expander-bus'] },
  'pci-bridge': { minSlot: 1, maxSlot: 31, takes: ['pci', 'pci-bridge'] },
  'pci-expander-bus': { minSlot: 0, maxSlot: 31, takes: ['pci', 'pci-bridge'] },
  'pcie-root': {
    minSlot: 1,
    maxSlot: 31,
    takes: ['pcie-root-port', 'pcie-integrated', 'dmi-to-pci-bridge', 'pcie-expander-bus'],
  },
  'pcie-expander-bus': { minSlot: 0, maxSlot: 31, takes: ['pcie-root-port', 'dmi-to-pci-bridge'] },
  'pcie-root-port': {
    minSlot: 0,
    maxSlot: 0,
    takes: ['pcie', 'pcie-switch-upstream-port', 'pcie-to-pci-bridge'],
  },
  'pcie-switch-upstream-port': { minSlot: 0, maxSlot: 31, takes: ['pcie-switch-downstream-port'] },
  'pcie-switch-downstream-port': {
    minSlot: 0,
    maxSlot: 0,
    takes: ['pcie', 'pcie-switch-upstream-port', 'pcie-to-pci-bridge'],
  },
  'dmi-to-pci-bridge': { minSlot: 0, maxSlot: 31, takes: ['pci-bridge'] },
  'pcie-to-pci-bridge': { minSlot: 1, maxSlot: 31, takes: ['pci', 'pci-bridge'] },
};

/** Needs that share a slot with others of their kind, one function each: saves slots of pcie-root. */
const shared: ReadonlySet<PciNeed> = new Set(['pcie-root-port']);

interface Slot {
  readonly owners: Map<number, string>;
  /** All functions belong to one need that shares. */
  shared: boolean;
}

/** All buses with their slots. An owner is the path of a device, for messages. */
export class PciMap {
  private readonly rules = new Map<number, BusRule>();
  private ordered: (readonly [number, BusRule])[] = [];
  /** Below this slot of a bus everything is taken for good. */
  private readonly firstOpen = new Map<number, number>();
  private readonly slots = new Map<string, Slot>();

  addBus(bus: number, model: string): void {
    const rule = busRules[model];
    if (rule === undefined) return;
    this.rules.set(bus, rule);
    this.ordered = [...this.rules].sort(([a], [b]) => a - b);
  }

  hasBus(bus: number): boolean {
    return this.rules.has(bus);
  }

  /** Why that address can't be; undefined when it can. */
  refusal(address: PciAddress): string | undefined {
    if (address.domain !== 0) return `PCI domain ${address.domain} does not exist`;
    const rule = this.rules.get(address.bus);
    if (rule === undefined) return `PCI bus ${address.bus} does not exist`;
    if (address.slot < rule.minSlot || address.slot > rule.maxSlot)
      return `slot ${address.slot} is out of range on PCI bus ${address.bus} (${rule.minSlot} to ${rule.maxSlot})`;
    const owner = this.ownerOf(address);
    return owner === undefined ? undefined : `PCI address ${formatPci(address)} is in use by ${owner}`;
  }

  ownerOf(address: PciAddress): string | undefined {
    return this.slots.get(`${address.bus}.${address.slot}`)?.owners.get(address.function);
  }

  isSlotFree(bus: number, slot: number): boolean {
    return !this.slots.has(`${bus}.${slot}`);
  }

  reserve(address: PciAddress, owner: string, need?: PciNeed): void {
    const key = `${address.bus}.${address.slot}`;
    const isShared = need !== undefined && shared.has(need);
    const slot = this.slots.get(key) ?? { owners: new Map<number, string>(), shared: isShared };
    slot.owners.set(address.function, owner);
    slot.shared &&= isShared;
    this.slots.set(key, slot);
  }

  /**
   * The lowest free place for a need, without reserving it. With `below` only buses of lower numbers count, and root
   * ports: they are always on the root itself, so nothing can end up behind itself.
   */
  find(need: PciNeed, below: number = Number.POSITIVE_INFINITY): PciAddress | undefined {
    for (const [bus, rule] of this.ordered) {
      if (!rule.takes.includes(need) || (bus >= below && rule !== busRules['pcie-root-port'])) continue;
      for (let slot = this.skipFull(bus, rule); slot <= rule.maxSlot; slot++) {
        const fn = this.freeFunction(bus, slot, need);
        if (fn !== undefined) return { domain: 0, bus, slot, function: fn };
      }
    }
    return undefined;
  }

  /** Where a search on a bus may begin; keeps thousands of placings from walking the same full slots. */
  private skipFull(bus: number, rule: BusRule): number {
    let slot = this.firstOpen.get(bus) ?? rule.minSlot;
    while (slot <= rule.maxSlot && this.isFull(bus, slot)) slot++;
    this.firstOpen.set(bus, slot);
    return slot;
  }

  private isFull(bus: number, slot: number): boolean {
    const found = this.slots.get(`${bus}.${slot}`);
    return found !== undefined && (!found.shared || found.owners.size === 8);
  }

  private freeFunction(bus: number, slot: number, need: PciNeed): number | undefined {
    const found = this.slots.get(`${bus}.${slot}`);
    if (found === undefined) return 0;
    if (!shared.has(need) || !found.shared) return undefined;
    for (let fn = 0; fn < 8; fn++) if (!found.owners.has(fn)) return fn;
    return undefined;
  }
}

/** `0000:00:1f.2`, as lspci writes it. */
export function formatPci(address: PciAddress): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
  return `${hex(address.domain, 4)}:${hex(address.bus, 2)}:${hex(address.slot, 2)}.${address.function}`;
}
