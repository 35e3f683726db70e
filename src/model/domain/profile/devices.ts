/** The devices of a new guest: virtio wherever it exists, a console, an agent channel, a display when one is wanted. */
import { VirtError } from '../../../base/errors.ts';
import type { Channel } from '../devices/chardev.ts';
import type { Controller } from '../devices/controller.ts';
import type { Devices } from '../devices/devices.ts';
import type { Graphics } from '../devices/graphics.ts';
import type { Interface, InterfacePortForward } from '../devices/interface.ts';
import type { Input } from '../devices/small.ts';
import type { DomainSpec, SpecFacts, SpecNetwork, SpecPortForward } from '../profile.ts';
import { segmentAddress } from '../segment.ts';
import type { Board } from './board.ts';
import { buildDisks } from './disks.ts';

/** SLIRP gives its one guest this address (QEMU docs, "Network emulation"; 10.0.2.0/24 by default). */
const USER_GUEST_ADDRESS = '10.0.2.15';

export function buildDevices(spec: DomainSpec, board: Board, facts: SpecFacts): Devices {
  const disks = buildDisks(spec, board, facts);
  const graphics = spec.graphics ?? 'none';
  const interfaces = (spec.networks ?? [{ type: 'user' }]).map((network) => buildInterface(network, facts));
  const first = interfaces[0];
  // Nothing else to boot from: the network it is.
  if (disks.length === 0 && spec.kernel === undefined && first !== undefined) first.boot = { order: 1 };
  return {
    disks,
    controllers: buildControllers(board, { disks, interfaces }),
    filesystems: [],
    interfaces,
    smartcards: [],
    serials: [serialOf(spec)],
    parallels: [],
    consoles: [],
    channels: channelsFor(graphics),
    inputs: graphics === 'none' ? [] : inputsFor(board),
    tpms: [],
    graphics: graphics === 'none' ? [] : [graphicsOf(graphics)],
    sounds: [],
    audios: [],
    videos: graphics === 'none' ? [] : [{ model: { type: 'virtio', heads: 1, primary: true } }],
    hostdevs: [],
    redirdevs: [],
    hubs: [],
    watchdogs: [],
    memballoon: { model: 'virtio' },
    // QEMU's own generator needs no file of the host.
    rngs: [{ model: 'virtio', backend: { model: 'builtin' } }],
    panics: [],
    shmems: [],
    memories: [],
  };
}

function serialOf(spec: DomainSpec): Devices['serials'][number] {
  const log = spec.serialLogPath === undefined ? {} : { log: { file: spec.serialLogPath, append: true } };
  return { source: { type: 'pty', seclabels: [] }, ...log };
}

/** The guest agent's channel; with SPICE also its agent's. The path of the first is made at start. */
function channelsFor(graphics: 'vnc' | 'spice' | 'none'): Channel[] {
  const agent: Channel = {
    source: { type: 'unix', mode: 'bind', seclabels: [] },
    target: { type: 'virtio', name: 'org.qemu.guest_agent.0' },
  };
  const spice: Channel = {
    source: { type: 'spicevmc' },
    target: { type: 'virtio', name: 'com.redhat.spice.0' },
  };
  return graphics === 'spice' ? [agent, spice] : [agent];
}

/** A tablet keeps the pointer where the viewer's is. */
function inputsFor(board: Board): Input[] {
  const bus = board.hasUsb ? 'usb' : 'virtio';
  const tablet: Input = { type: 'tablet', bus };
  return board.hasKeyboard ? [tablet] : [tablet, { type: 'keyboard', bus }];
}

function graphicsOf(kind: 'vnc' | 'spice'): Graphics {
  const listens: { type: 'address'; address: string }[] = [{ type: 'address', address: '127.0.0.1' }];
  return kind === 'vnc'
    ? { type: 'vnc', autoport: true, listens }
    : { type: 'spice', autoport: true, listens, channels: [] };
}

type Counts = Pick<Devices, 'disks' | 'interfaces'>;

function buildControllers(board: Board, counts: Counts): Controller[] {
  const controllers: Controller[] = [];
  if (board.hasUsb) controllers.push({ type: 'usb', index: 0, model: 'qemu-xhci', ports: 15 });
  // Without a model a SCSI controller would be an emulated LSI card.
  if (counts.disks.some((disk) => disk.target.bus === 'scsi'))
    controllers.push({ type: 'scsi', index: 0, model: 'virtio-scsi' });
  return [...controllers, ...rootPorts(board, controllers, counts)];
}

/** Places for devices that are plugged in while the guest runs: on PCI Express each needs a port that was there before. */
const SPARE_PORTS = 15;

/** A port for each device that will sit on PCI Express, and some to spare. Conventional buses have slots enough. */
function rootPorts(
  board: Board,
  controllers: readonly Controller[],
  { disks, interfaces }: Counts,
): Controller[] {
  if (board.family !== 'q35') return [];
  const onPort = disks.filter((disk) => disk.target.bus === 'virtio').length + interfaces.length;
  // The balloon, the random number generator and the serial controller of the agent's channel have one each.
  const count = onPort + controllers.length + 3 + SPARE_PORTS;
  const ports = Array.from({ length: count }, (_, index) => ({
    type: 'pci' as const,
    index: index + 1,
    model: 'pcie-root-port' as const,
  }));
  return [{ type: 'pci', index: 0, model: 'pcie-root' }, ...ports];
}

/** One network card. @throws VirtError request.invalid, definition.unsupported */
export function buildInterface(network: SpecNetwork, facts: SpecFacts): Interface {
  if (network.backend !== undefined && network.type !== 'user')
    throw new VirtError('request.invalid', {
      wanted: `make a network card of type '${network.type}'`,
      reason: `the back end '${network.backend}' belongs to user networking`,
    });
  return {
    source: interfaceSource(network, facts),
    ...(network.backend !== undefined && { backend: { type: network.backend } }),
    ips: [],
    routes: [],
    portForwards: forwardsOf(network),
    model: network.model ?? 'virtio',
  };
}

function interfaceSource({ type, source, mode }: SpecNetwork, facts: SpecFacts): Interface['source'] {
  if (type === 'user') return { type };
  if (source === undefined || source === '')
    throw new VirtError('request.invalid', {
      wanted: `make a network card of type '${type}'`,
      reason: `the name of the ${type} is missing`,
    });
  if (type === 'direct') return { type, dev: source, mode: mode ?? 'bridge' };
  if (type === 'segment') return { type: 'mcast', ...segmentAddress(source, facts.uid) };
  return type === 'network' ? { type, network: source } : { type, bridge: source };
}

/** Forwards of one protocol and host address share an element. */
function forwardsOf(network: SpecNetwork): InterfacePortForward[] {
  const groups = new Map<string, InterfacePortForward>();
  for (const forward of network.portForwards ?? []) {
    checkForward(network, forward);
    const key = `${forward.protocol} ${forward.hostAddress ?? ''}`;
    const found = groups.get(key) ?? {
      protocol: forward.protocol,
      ...(forward.hostAddress !== undefined && { address: forward.hostAddress }),
      ranges: [],
    };
    found.ranges.push({
      start: forward.hostPort,
      ...(forward.guestPort !== forward.hostPort && { to: forward.guestPort }),
    });
    groups.set(key, found);
  }
  return [...groups.values()];
}

function checkForward(network: SpecNetwork, forward: SpecPortForward): void {
  const wanted = `forward ${forward.protocol} port ${forward.hostPort}`;
  if (network.type !== 'user')
    throw new VirtError('request.invalid', {
      wanted,
      reason: `a network card of type '${network.type}' forwards no ports`,
      hint: "use type 'user', or reach the guest by its own address",
    });
  if (network.backend === 'passt' && forward.guestAddress !== undefined)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: 'passt forwards to the address that it gives the guest, not to another',
      hint: 'leave the guest address out',
    });
  if (forward.guestAddress !== undefined && forward.guestAddress !== USER_GUEST_ADDRESS)
    throw new VirtError('definition.unsupported', {
      wanted,
      reason: `a definition forwards to the guest's own address (${USER_GUEST_ADDRESS}), not to ${forward.guestAddress}`,
      hint: 'leave the guest address out',
    });
}
