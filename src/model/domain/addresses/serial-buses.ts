/** Ports on virtio-serial controllers and slots on smartcard readers. */
import type { Problem } from '../../../base/errors.ts';
import type { AddressOf } from '../devices/address.ts';
import type { DomainDef } from '../domain.ts';
import { ensureControllers, findController, MAX_CONTROLLERS } from './controllers.ts';
import type { Addressable } from './pci-needs.ts';

/** Ports of one virtio-serial controller when the definition doesn't say (QEMU's virtio-serial-bus.h). */
const DEFAULT_PORTS = 31;

interface Port {
  readonly path: string;
  readonly device: Addressable;
  /** Port 0 belongs to the first console (virtio 1.1, section 5.3). */
  readonly isConsole: boolean;
}

function virtioPorts({ devices }: DomainDef): Port[] {
  const consoles = devices.consoles.flatMap((device, index) =>
    device.target?.type === 'virtio' ? [{ path: `devices.consoles[${index}]`, device, isConsole: true }] : [],
  );
  const channels = devices.channels.flatMap((device, index) =>
    device.target.type === 'virtio' ? [{ path: `devices.channels[${index}]`, device, isConsole: false }] : [],
  );
  // Channels first, as QEMU numbers consoles without a port when all others have theirs.
  return [...channels, ...consoles];
}

const key = (controller: number, port: number): string => `${controller}:${port}`;

export function assignVirtioSerial(draft: DomainDef, problems: Problem[]): void {
  const ports = virtioPorts(draft);
  if (ports.length === 0) return;
  const given = ports.flatMap(({ device }) =>
    device.address?.type === 'virtio-serial' ? [device.address.controller] : [],
  );
  ensureControllers(draft, 'virtio-serial', Math.max(0, ...given));
  const taken = takenPorts(ports, problems);
  for (const { device, isConsole } of ports) {
    if (device.address !== undefined && device.address.type !== 'virtio-serial') continue;
    if (device.address?.port !== undefined) continue;
    const address = freePort(draft, taken, isConsole, device.address?.controller);
    if (address === undefined) {
      problems.push({
        path: 'devices',
        message: 'there are more virtio-serial ports than controllers can have',
      });
      return;
    }
    taken.add(key(address.controller, address.port ?? 0));
    device.address = address;
  }
}

function takenPorts(ports: readonly Port[], problems: Problem[]): Set<string> {
  const taken = new Set<string>();
  for (const { device, path } of ports) {
    if (device.address?.type !== 'virtio-serial' || device.address.port === undefined) continue;
    const place = key(device.address.controller, device.address.port);
    if (taken.has(place))
      problems.push({ path: `${path}.address`, message: `virtio-serial port ${place} is in use already` });
    taken.add(place);
  }
  return taken;
}

function freePort(
  draft: DomainDef,
  taken: ReadonlySet<string>,
  isConsole: boolean,
  wanted: number | undefined,
): AddressOf<'virtio-serial'> | undefined {
  for (let controller = wanted ?? 0; controller < MAX_CONTROLLERS; controller++) {
    ensureControllers(draft, 'virtio-serial', controller);
    const count = findController(draft, 'virtio-serial', controller)?.ports ?? DEFAULT_PORTS;
    for (let port = isConsole ? 0 : 1; port < count; port++)
      if (!taken.has(key(controller, port))) return { type: 'virtio-serial', controller, bus: 0, port };
    if (wanted !== undefined) return undefined;
  }
  return undefined;
}

/** One reader has one slot. */
export function assignCcid(draft: DomainDef, problems: Problem[]): void {
  const { smartcards } = draft.devices;
  const taken = new Set<number>();
  for (const { address } of smartcards)
    if (address?.type === 'ccid' && address.slot !== undefined) taken.add(address.controller);
  let next = 0;
  for (const [index, card] of smartcards.entries()) {
    if (card.address !== undefined && (card.address.type !== 'ccid' || card.address.slot !== undefined))
      continue;
    while (card.address === undefined && taken.has(next)) next++;
    const controller = card.address?.controller ?? next;
    if (controller >= MAX_CONTROLLERS) {
      problems.push({ path: `devices.smartcards[${index}]`, message: 'there is no free smartcard reader' });
      return;
    }
    taken.add(controller);
    card.address = { type: 'ccid', controller, slot: 0 };
  }
  if (taken.size > 0) ensureControllers(draft, 'ccid', Math.max(...taken));
}

/** Memory modules are numbered; where they lie in the guest's memory QEMU decides. */
export function assignDimms(draft: DomainDef, problems: Problem[]): void {
  const modules = draft.devices.memories.filter(({ model }) => model === 'dimm' || model === 'nvdimm');
  const taken = new Set<number>();
  for (const { address } of modules) {
    if (address?.type !== 'dimm' || address.slot === undefined) continue;
    if (taken.has(address.slot))
      problems.push({ path: 'devices.memories', message: `memory slot ${address.slot} is used twice` });
    taken.add(address.slot);
  }
  let slot = 0;
  for (const one of modules) {
    if (one.address !== undefined && (one.address.type !== 'dimm' || one.address.slot !== undefined))
      continue;
    while (taken.has(slot)) slot++;
    taken.add(slot);
    one.address = { ...(one.address?.type === 'dimm' && one.address), type: 'dimm', slot };
  }
}
