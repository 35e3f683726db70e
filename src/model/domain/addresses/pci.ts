/** Gives every PCI device its address, and adds the bridges and root ports that are needed for it. */
import type { Problem } from '../../../base/errors.ts';
import type { DomainDef } from '../domain.ts';
import { familyOf, type MachineFamily, pciRootOf } from '../machine.ts';
import { type FreeTest, ich9Function, placeFixed, reserveChipset } from './pci-chipset.ts';
import { type PciAddress, PciMap, type PciNeed } from './pci-map.ts';
import { isOpen, type PciDevice, pciAddressOf, pciControllers, pciDevices } from './pci-needs.ts';

type Controller = DomainDef['devices']['controllers'][number];
type ControllerModel = NonNullable<Controller['model']>;

/** Bus numbers are a byte. */
const MAX_BUSES = 256;

/**
 * Places all PCI devices of the draft in place. Explicit addresses stay; everything else takes the lowest place that
 * suits. Where there is none a controller is added and placing starts again, so the result depends on nothing but
 * the definition.
 */
export function assignPci(draft: DomainDef, problems: Problem[]): void {
  const family = familyOf(draft);
  if (pciRootOf(family) === undefined) return;
  const wantsSpare = isFirstPlacing(draft, family);
  // Buses are all that is added from here on.
  const endpoints = pciDevices(draft);
  addMissingBuses(draft, endpoints);
  problems.push(...placeFixed(draft, family, explicitlyFree([...endpoints, ...pciControllers(draft)])));
  // Each round that isn't the last adds a bus, and there are at most 256.
  while (placeAll(draft, { family, wantsSpare, endpoints }, problems)) continue;
  numberExpanders(draft);
  completePorts(draft);
  markMultifunction([...pciControllers(draft), ...endpoints]);
}

/**
 * Whether a place is kept for hotplug. On PCI Express only for a definition whose author left all PCI controllers to
 * us: whoever names root ports knows how many are wanted (libvirt's rule).
 */
function isFirstPlacing(draft: DomainDef, family: MachineFamily): boolean {
  return pciRootOf(family) !== 'pcie-root' || pciControllers(draft).length === 0;
}

/** True where no device or controller was given an address in the slot of bus 0. */
function explicitlyFree(everything: readonly PciDevice[]): FreeTest {
  return (slot, fn) =>
    !everything.some(({ device }) => {
      const address = pciAddressOf(device);
      return (
        address !== undefined &&
        address.bus === 0 &&
        address.slot === slot &&
        (fn === undefined || address.function === fn)
      );
    });
}

interface Placing {
  readonly family: MachineFamily;
  readonly wantsSpare: boolean;
  /** All devices that are no PCI bus. */
  readonly endpoints: readonly PciDevice[];
}

interface Placed {
  readonly device: PciDevice;
  readonly address: PciAddress;
}

/**
 * Places everything on an empty map. True when controllers had to be added on the way: then all is to be placed once
 * more, those first. Only the last round is written into the draft.
 */
function placeAll(
  draft: DomainDef,
  { family, wantsSpare, endpoints }: Placing,
  problems: Problem[],
): boolean {
  const everything: readonly PciDevice[] = [...pciControllers(draft), ...endpoints];
  const map = emptyMap(draft, family);
  problems.push(...reserveExplicit(map, everything));
  if (problems.length > 0) return false;
  const before = draft.devices.controllers.length;
  const placed: Placed[] = [];
  for (const one of everything.filter(({ device }) => isOpen(device, 'pci'))) {
    const address = placeOne(one, placed, everything, map) ?? grown(draft, map, one);
    if (address === undefined) {
      problems.push({ path: one.path, message: `there is no place for it on PCI, and none can be made` });
      return false;
    }
    map.reserve(address, one, one.need);
    placed.push({ device: one, address });
  }
  const spare = wantsSpare ? missingSpare(family, map, placed) : undefined;
  if (spare !== undefined) addBuses(draft, map, spare);
  if (draft.devices.controllers.length > before) return true;
  for (const { device, address } of placed) writeAddress(device, address);
  return false;
}

/** A place on a bus that was there; a controller never sits behind itself, so it looks at lower buses only. */
function placeOne(
  one: PciDevice,
  placed: readonly Placed[],
  everything: readonly PciDevice[],
  map: PciMap,
): PciAddress | undefined {
  const controller = one.isController ? (one.device as Controller) : undefined;
  if (controller?.type === 'pci') return map.find(one.need, controller.index);
  return siblingAddress(controller, one.need, placed, everything, map) ?? map.find(one.need);
}

/** A place on a bus that was added for it. */
function grown(draft: DomainDef, map: PciMap, one: PciDevice): PciAddress | undefined {
  return addBuses(draft, map, one.need) ? map.find(one.need) : undefined;
}

function emptyMap(draft: DomainDef, family: MachineFamily): PciMap {
  const map = new PciMap();
  map.addBus(0, pciRootOf(family) ?? 'pci-root');
  for (const one of draft.devices.controllers)
    if (one.type === 'pci' && one.index !== undefined && one.model !== undefined)
      map.addBus(one.index, one.model);
  reserveChipset(map, family, draft);
  return map;
}

function isBehindItself({ type, index }: Controller, address: PciAddress): boolean {
  return type === 'pci' && index === address.bus;
}

function reserveExplicit(map: PciMap, everything: readonly PciDevice[]): Problem[] {
  const problems: Problem[] = [];
  for (const one of everything) {
    const { device, need } = one;
    const address = pciAddressOf(device);
    if (address === undefined) continue;
    const refusal = isBehindItself(device as Controller, address)
      ? 'it would be behind itself'
      : map.refusal(address);
    if (refusal === undefined) map.reserve(address, one, need);
    else problems.push({ path: `${one.path}.address`, message: refusal });
  }
  return problems;
}

/** Companions of a USB 2.0 controller share its slot. */
function siblingAddress(
  controller: Controller | undefined,
  need: PciNeed,
  placed: readonly Placed[],
  everything: readonly PciDevice[],
  map: PciMap,
): PciAddress | undefined {
  const fn = controller === undefined ? undefined : ich9Function(controller);
  if (fn === undefined) return undefined;
  const isSibling = ({ device }: PciDevice): boolean =>
    device !== controller &&
    ich9Function(device as Controller) !== undefined &&
    (device as Controller).index === controller?.index;
  const earlier = placed.find((other) => isSibling(other.device))?.address;
  const given = everything.filter(isSibling).map(({ device }) => pciAddressOf(device));
  const slot = earlier ?? given.find((address) => address !== undefined) ?? map.find(need);
  if (slot === undefined) return undefined;
  const address = { domain: 0, bus: slot.bus, slot: slot.slot, function: fn };
  return map.ownerOf(address) === undefined ? address : undefined;
}

/**
 * When endpoints were placed one more place is kept for hotplug: a slot of a conventional bus, or a root port. A
 * definition that was complete gets none, so it never changes.
 */
function missingSpare(family: MachineFamily, map: PciMap, placed: readonly Placed[]): PciNeed | undefined {
  const isExpress = pciRootOf(family) === 'pcie-root';
  const need: PciNeed = isExpress ? 'pcie' : 'pci';
  const users: readonly PciNeed[] = isExpress ? ['pcie', 'pcie-to-pci-bridge'] : ['pci'];
  const isWanted = placed.some(({ device }) => users.includes(device.need));
  return isWanted && map.find(need) === undefined ? need : undefined;
}

function writeAddress({ device }: PciDevice, address: PciAddress): void {
  const old = device.address?.type === 'pci' ? device.address : undefined;
  device.address = { ...old, type: 'pci', ...address };
}

/** Function 0 announces that its slot has more functions (PCI 3.0, section 6.2.1). */
function markMultifunction(everything: readonly PciDevice[]): void {
  // A number for each slot: 32 on a bus, 256 buses in a domain.
  const slotOf = ({ domain, bus, slot }: PciAddress): number => (domain * 256 + bus) * 32 + slot;
  const shared = new Set<number>();
  for (const { device } of everything) {
    const address = pciAddressOf(device);
    if (address !== undefined && address.function > 0) shared.add(slotOf(address));
  }
  if (shared.size === 0) return;
  for (const { device } of everything) {
    const address = pciAddressOf(device);
    if (address?.function !== 0 || device.address?.type !== 'pci' || !shared.has(slotOf(address))) continue;
    device.address = { ...device.address, multifunction: device.address.multifunction ?? true };
  }
}

/** Adds controllers for buses that explicit addresses name and nobody defines. */
function addMissingBuses(draft: DomainDef, endpoints: readonly PciDevice[]): void {
  const { controllers } = draft.devices;
  const isExpress = pciRootOf(familyOf(draft)) === 'pcie-root';
  const buses = [...endpoints, ...pciControllers(draft)].map(({ device }) => pciAddressOf(device));
  const indices = controllers.filter((one) => one.type === 'pci').map((one) => one.index ?? 0);
  const highest = Math.max(0, ...indices, ...buses.map((address) => address?.bus ?? 0));
  for (let bus = 1; bus <= Math.min(highest, MAX_BUSES - 1); bus++) {
    if (indices.includes(bus)) continue;
    const usedSlots = buses.filter((address) => address?.bus === bus).map((address) => address?.slot ?? 0);
    const isBridge = usedSlots.some((slot) => slot > 0);
    controllers.push(
      busController(bus, isExpress ? (isBridge ? 'pcie-to-pci-bridge' : 'pcie-root-port') : 'pci-bridge'),
    );
  }
}

/** Which controller makes room for a need; undefined where only the user can. */
function modelFor(need: PciNeed, isExpress: boolean): BusNeed | undefined {
  switch (need) {
    case 'pci':
      return isExpress ? 'pcie-to-pci-bridge' : 'pci-bridge';
    case 'pcie':
    case 'pcie-to-pci-bridge':
    case 'pcie-switch-upstream-port':
      return 'pcie-root-port';
    default:
      return undefined;
  }
}

type BusNeed = ControllerModel & PciNeed;

/**
 * Adds the controller that makes room, and for a conventional bridge a root port besides: it takes the lowest free
 * one, which mostly was meant for another device.
 */
function addBuses(draft: DomainDef, map: PciMap, need: PciNeed): boolean {
  const model = modelFor(need, pciRootOf(familyOf(draft)) === 'pcie-root');
  if (model === undefined) return false;
  if (model === 'pcie-to-pci-bridge' && !addBus(draft, map, 'pcie-root-port')) return false;
  return addBus(draft, map, model);
}

/** Adds one controller to draft and map, on the lowest place that suits it. */
function addBus(draft: DomainDef, map: PciMap, model: BusNeed): boolean {
  const { controllers } = draft.devices;
  const index =
    controllers.reduce((last, one) => (one.type === 'pci' ? Math.max(last, one.index ?? 0) : last), 0) + 1;
  const seat = map.find(model);
  // A bridge may push an endpoint away from a full bus in the next round; a root port can't.
  if (index >= MAX_BUSES || (seat === undefined && model !== 'pci-bridge')) return false;
  if (seat !== undefined) map.reserve(seat, { path: `PCI controller ${index}` }, model);
  controllers.push(busController(index, model));
  map.addBus(index, model);
  return true;
}

const modelNames: Readonly<Partial<Record<ControllerModel, NonNullable<Controller['modelName']>>>> = {
  'pci-bridge': 'pci-bridge',
  'pcie-to-pci-bridge': 'pcie-pci-bridge',
  'pcie-root-port': 'pcie-root-port',
  'pcie-switch-upstream-port': 'x3130-upstream',
};

function busController(index: number, model: ControllerModel): Controller {
  const modelName = modelNames[model];
  return { type: 'pci', index, model, ...(modelName !== undefined && { modelName }) };
}

/** The number of an expander's bus: two below the lowest, so that one bus fits behind it. */
function numberExpanders(draft: DomainDef): void {
  const expanders = pciControllers(draft).filter(({ need }) => need.endsWith('-expander-bus'));
  let lowest = Math.min(MAX_BUSES, ...expanders.map(({ device }) => device.target?.busNr ?? MAX_BUSES));
  for (const { device } of expanders) {
    if (device.target?.busNr !== undefined) continue;
    lowest -= 2;
    if (lowest > 0) device.target = { ...device.target, busNr: lowest };
  }
}

/** Chassis and port numbers, as libvirt derives them from index and address; those that are given stay. */
function completePorts(draft: DomainDef): void {
  for (const { device } of pciControllers(draft)) {
    const address = pciAddressOf(device);
    if (device.model === 'pci-bridge') device.target = { chassisNr: device.index ?? 0, ...device.target };
    if (device.model !== 'pcie-root-port' && device.model !== 'pcie-switch-downstream-port') continue;
    if (address === undefined) continue;
    const port = device.model === 'pcie-root-port' ? address.slot * 8 + address.function : address.slot;
    device.target = { chassis: device.index ?? 0, port, ...device.target };
  }
}
