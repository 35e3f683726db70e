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

/** Who has a place, for messages. */
export interface PciOwner {
  readonly path: string;
}

interface Slot {
  /** By function. */
  readonly owners: (PciOwner | undefined)[];
  /** How many functions are taken. */
  taken: number;
  /** All functions belong to one need that shares. */
  shared: boolean;
}

interface Bus {
  readonly number: number;
  readonly rule: BusRule;
  readonly slots: (Slot | undefined)[];
  /** Below this slot everything is taken for good: keeps thousands of placings from walking the same full slots. */
  firstOpen: number;
}

/** All buses with their slots. */
export class PciMap {
  private readonly buses = new Map<number, Bus>();
  /** By number. */
  private readonly ordered: Bus[] = [];

  addBus(number: number, model: string): void {
    const rule = busRules[model];
    if (rule === undefined) return;
    const known = this.buses.get(number);
    const bus: Bus = { number, rule, slots: known?.slots ?? [], firstOpen: rule.minSlot };
    this.buses.set(number, bus);
    let place = this.ordered.length;
    while (place > 0 && (this.ordered[place - 1]?.number ?? 0) >= number) place -= 1;
    this.ordered.splice(place, known === undefined ? 0 : 1, bus);
  }

  /** Why that address can't be; undefined when it can. */
  refusal(address: PciAddress): string | undefined {
    if (address.domain !== 0) return `PCI domain ${address.domain} does not exist`;
    const rule = this.buses.get(address.bus)?.rule;
    if (rule === undefined) return `PCI bus ${address.bus} does not exist`;
    if (address.slot < rule.minSlot || address.slot > rule.maxSlot)
      return `slot ${address.slot} is out of range on PCI bus ${address.bus} (${rule.minSlot} to ${rule.maxSlot})`;
    const owner = this.ownerOf(address);
    return owner === undefined ? undefined : `PCI address ${formatPci(address)} is in use by ${owner.path}`;
  }

  ownerOf(address: PciAddress): PciOwner | undefined {
    return this.buses.get(address.bus)?.slots[address.slot]?.owners[address.function];
  }

  /** Takes a place on a bus that is there. */
  reserve(address: PciAddress, owner: PciOwner, need?: PciNeed): void {
    const bus = this.buses.get(address.bus);
    if (bus === undefined) throw new Error(`PCI bus ${address.bus} was not added`);
    const isShared = need !== undefined && shared.has(need);
    bus.slots[address.slot] ??= { owners: [], taken: 0, shared: isShared };
    const slot = bus.slots[address.slot] as Slot;
    if (slot.owners[address.function] === undefined) slot.taken += 1;
    slot.owners[address.function] = owner;
    slot.shared &&= isShared;
  }

  /**
   * The lowest free place for a need, without reserving it. With `below` only buses of lower numbers count, and root
   * ports: they are always on the root itself, so nothing can end up behind itself.
   */
  find(need: PciNeed, below: number = Number.POSITIVE_INFINITY): PciAddress | undefined {
    for (const bus of this.ordered) {
      const { number, rule } = bus;
      if (!rule.takes.includes(need) || (number >= below && rule !== busRules['pcie-root-port'])) continue;
      for (let slot = skipFull(bus); slot <= rule.maxSlot; slot++) {
        const fn = freeFunction(bus.slots[slot], need);
        if (fn !== undefined) return { domain: 0, bus: number, slot, function: fn };
      }
    }
    return undefined;
  }
}

/** Where a search on a bus may begin. */
function skipFull(bus: Bus): number {
  while (bus.firstOpen <= bus.rule.maxSlot && isFull(bus.slots[bus.firstOpen])) bus.firstOpen++;
  return bus.firstOpen;
}

function isFull(slot: Slot | undefined): boolean {
  return slot !== undefined && (!slot.shared || slot.taken === 8);
}

function freeFunction(slot: Slot | undefined, need: PciNeed): number | undefined {
  if (slot === undefined) return 0;
  if (!shared.has(need) || !slot.shared) return undefined;
  for (let fn = 0; fn < 8; fn++) if (slot.owners[fn] === undefined) return fn;
  return undefined;
}

/** `0000:00:1f.2`, as lspci writes it. */
export function formatPci(address: PciAddress): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
  return `${hex(address.domain, 4)}:${hex(address.bus, 2)}:${hex(address.slot, 2)}.${address.function}`;
}
