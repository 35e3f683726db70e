/** The definition as it runs: what was chosen at the start filled in. Pure. */
import { layersOf, mirrorLayers, pathOfSource } from '../../model/domain/disk-chain.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { ActualInterface, GuestRecord } from '../driver.ts';

type Devices = DomainDef['devices'];
type Chosen = Pick<GuestRecord, 'ptys' | 'sockets' | 'graphicsPorts' | 'links' | 'vsockCid'> & {
  /** At a start only: later the running definition has it. */
  readonly actual?: Readonly<Record<string, ActualInterface>>;
};

/** Fills pty paths, graphics ports, host interfaces and the vsock address into a definition that has its aliases. */
export function liveDefinition(definition: DomainDef, chosen: Chosen): DomainDef {
  const { devices } = definition;
  return {
    ...definition,
    devices: {
      ...devices,
      serials: devices.serials.map((device) => withPty(device, chosen.ptys)),
      parallels: devices.parallels.map((device) => withPty(device, chosen.ptys)),
      channels: devices.channels.map((device) => withOwnSocket(withPty(device, chosen.ptys), chosen.sockets)),
      consoles: devices.consoles.map((device, index) => withTty(device, index, devices, chosen.ptys)),
      graphics: devices.graphics.map((device, index) =>
        withAddress(
          withSocket(withPorts(device, chosen.graphicsPorts[index]), chosen.sockets[`graphics${index}`]),
        ),
      ),
      interfaces: devices.interfaces.map((device, index) => ({
        ...withLink(device, chosen.links[String(index)]),
        ...chosen.actual?.[String(index)],
      })),
      memories: devices.memories.map((device) =>
        device.model === 'virtio-mem' ? { ...device, target: { currentKiB: 0, ...device.target } } : device,
      ),
      ...(devices.vsock !== undefined && { vsock: withCid(devices.vsock, chosen.vsockCid) }),
    },
  };
}

/** The definition with what the guest has taken of a virtio-mem device. */
export function withMemorySize(
  definition: DomainDef,
  { alias, bytes }: { readonly alias: string; readonly bytes: number },
): DomainDef {
  const memories = definition.devices.memories.map((device) =>
    device.alias === alias
      ? { ...device, target: { ...device.target, currentKiB: Math.floor(bytes / 1024) } }
      : device,
  );
  return { ...definition, devices: { ...definition.devices, memories } };
}

/** Where a node of QEMU's is (argv/blockdev.ts names them by an image's number): the disk by its alias, and the image. */
export interface NodePlace {
  readonly device?: string;
  readonly path?: string;
  /** The number of the image in the running definition. */
  readonly image?: number;
  /** It is the image that the guest writes to. */
  readonly isTopmost?: boolean;
}

/** The disk and the image that a node belongs to, copies in progress included; nothing of one that is not ours. */
export function diskOfNode(definition: DomainDef, node: string): NodePlace {
  const number = Number(/^libvirt-(\d+)-/.exec(node)?.[1]);
  for (const disk of definition.devices.disks) {
    const layers = [...layersOf(disk), ...mirrorLayers(disk)];
    const at = layers.findIndex(({ index }) => index === number);
    const layer = layers[at];
    if (layer === undefined) continue;
    const path = pathOfSource(layer.source);
    return {
      ...(disk.alias !== undefined && { device: disk.alias }),
      ...(path !== undefined && { path }),
      ...{ image: number, isTopmost: at === 0 },
    };
  }
  return {};
}

type PtyOwner = {
  readonly alias?: string | undefined;
  readonly source: Devices['serials'][number]['source'];
};

function withPty<T extends PtyOwner>(device: T, ptys: Chosen['ptys']): T {
  const path = device.alias === undefined ? undefined : ptys[device.alias];
  if (path === undefined || device.source.type !== 'pty') return device;
  return { ...device, source: { ...device.source, path } };
}

/** A channel's own socket: programs that talk to a guest's agent look here for it. */
function withOwnSocket(
  device: Devices['channels'][number],
  sockets: Chosen['sockets'],
): Devices['channels'][number] {
  const path = device.alias === undefined ? undefined : sockets[device.alias];
  if (path === undefined || device.source.type !== 'unix') return device;
  return { ...device, source: { ...device.source, mode: 'bind', path } };
}

/** The definition with what the guest does with its virtio channels: `open` has the aliases of those it has open. */
export function withChannelStates(definition: DomainDef, open: ReadonlySet<string>): DomainDef {
  const channels = definition.devices.channels.map((device): Devices['channels'][number] =>
    device.target.type === 'virtio' && device.alias !== undefined
      ? {
          ...device,
          target: { ...device.target, state: open.has(device.alias) ? 'connected' : 'disconnected' },
        }
      : device,
  );
  return { ...definition, devices: { ...definition.devices, channels } };
}

/** The first console mostly is the first serial port by another name; its path stands in `tty` too, for old programs. */
function withTty(
  console: Devices['consoles'][number],
  index: number,
  devices: Devices,
  ptys: Chosen['ptys'],
): Devices['consoles'][number] {
  const isMirror = index === 0 && (console.target?.type === undefined || console.target.type === 'serial');
  const alias = (isMirror ? devices.serials[0]?.alias : undefined) ?? console.alias;
  const path = alias === undefined ? undefined : ptys[alias];
  if (path === undefined || console.source.type !== 'pty') return console;
  return { ...console, ...(index === 0 && { tty: path }), source: { ...console.source, path } };
}

function withPorts(
  graphics: Devices['graphics'][number],
  ports: Chosen['graphicsPorts'][number] | undefined,
): Devices['graphics'][number] {
  if (ports?.port === undefined && ports?.tlsPort === undefined && ports?.websocket === undefined)
    return graphics;
  if (graphics.type === 'vnc')
    return {
      ...graphics,
      ...(ports.port !== undefined && { port: ports.port }),
      ...(ports.websocket !== undefined && { websocket: ports.websocket }),
    };
  if (graphics.type !== 'spice') return graphics;
  return {
    ...graphics,
    ...(ports.port !== undefined && { port: ports.port }),
    ...(ports.tlsPort !== undefined && { tlsPort: ports.tlsPort }),
  };
}

function withSocket(
  graphics: Devices['graphics'][number],
  socket: string | undefined,
): Devices['graphics'][number] {
  if (socket === undefined || (graphics.type !== 'vnc' && graphics.type !== 'spice')) return graphics;
  const listens = graphics.listens.map((listen) =>
    listen.type === 'socket' ? { ...listen, socket } : listen,
  );
  return { ...graphics, listens };
}

/** A server whose definition names no address listens on this host's own (`listenOf` of argv/graphics.ts). */
function withAddress(graphics: Devices['graphics'][number]): Devices['graphics'][number] {
  if (graphics.type !== 'vnc' && graphics.type !== 'spice') return graphics;
  const listens = graphics.listens.map((listen) =>
    listen.type === 'address' ? { ...listen, address: listen.address ?? '127.0.0.1' } : listen,
  );
  return { ...graphics, listens };
}

function withLink(
  device: Devices['interfaces'][number],
  name: string | undefined,
): Devices['interfaces'][number] {
  return name === undefined ? device : { ...device, target: { ...device.target, dev: name } };
}

function withCid(
  vsock: NonNullable<Devices['vsock']>,
  cid: number | undefined,
): NonNullable<Devices['vsock']> {
  return cid === undefined ? vsock : { ...vsock, cid: { ...vsock.cid, address: cid } };
}
