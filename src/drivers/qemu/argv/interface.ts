/** Network cards: the device, and the back end it is plugged into. */
import type { Interface } from '../../../model/domain/devices/interface.ts';
import { aliasOf, placement } from './address.ts';
import type { BootOrder } from './boot.ts';
import type { Build } from './context.ts';
import { buildFunction } from './host-function.ts';
import { buildNetdev, queueCount } from './netdev.ts';
import { romOptions } from './rom.ts';
import type { JsonObject } from './types.ts';
import { refuseVirtioOptions, virtioDevice, virtioOptions } from './virtio.ts';

/** Emulated cards that may be asked for, by libvirt's name: QEMU's device is named the same. */
const cards: ReadonlySet<string> = new Set(
  [
    'e1000 e1000e e1000-82544gc e1000-82545em igb rtl8139 pcnet ne2k_pci vmxnet3 tulip usb-net',
    'i82550 i82551 i82557a i82557b i82557c i82558a i82558b i82559a i82559b i82559c i82559er i82562 i82801',
  ].flatMap((line) => line.split(' ')),
);

/** All of <interface>. */
export function buildInterfaces(b: Build, boot: BootOrder): void {
  for (const [index, nic] of b.definition.devices.interfaces.entries()) buildInterface(b, nic, index, boot);
}

function buildInterface(b: Build, nic: Interface, index: number, boot: BootOrder): void {
  const path = `devices.interface[${index}]`;
  if (nic.source.type === 'hostdev')
    return buildFunction(b, nic, path, boot.indexFor('network', nic.boot?.order));
  refuseParts(b, nic, path);
  const alias = aliasOf(nic, path);
  const bootindex = boot.indexFor('network', nic.boot?.order);
  const netdev = buildNetdev(b, nic, index, path);
  const model = nic.model ?? 'rtl8139';
  const isVirtio = /^virtio(-transitional|-non-transitional)?$/.test(model);
  if (!isVirtio) refuseVirtio(b, nic, path);
  if (!isVirtio && !cards.has(model)) b.problem(`${path}.model`, `'${model}' is not a card we know`);
  b.device(path, {
    driver: isVirtio ? virtioDevice('virtio-net-pci', model) : model,
    ...(isVirtio ? virtioNet(b, nic, path) : {}),
    netdev,
    mac: nic.mac?.address,
    ...placement(b, nic, path),
    ...romOptions(b, nic, path),
    bootindex,
  });
  // A card is plugged in at the start; the cable is pulled by QMP before the guest runs.
  if (nic.link === 'down') b.setup.push({ execute: 'set_link', arguments: { name: alias, up: false } });
}

const HOST_SIDE = 'is not supported yet';

/** Programs that do nothing: definitions name them to keep others from being run. */
const noScripts: ReadonlySet<string> = new Set(['/bin/true', '/usr/bin/true']);

/** What concerns the host's side of the link, where this type of interface has no such side or nobody does it. */
function refuseParts(b: Build, nic: Interface, path: string): void {
  const { filterref, bandwidth, vlan, coalesce, routes } = nic;
  const { type } = nic.source;
  const isOnBridge = type === 'network' || type === 'bridge';
  b.refuse(path, { coalesce }, HOST_SIDE);
  // Whoever makes the tap puts filter, limits and VLANs on it, and isolates the port.
  const hasTap = isOnBridge || type === 'ethernet';
  b.refuse(path, { filterref: hasTap ? undefined : filterref }, 'needs type network, bridge or ethernet');
  const hasLink = hasTap || type === 'direct';
  b.refuse(
    path,
    { bandwidth: hasLink ? undefined : bandwidth },
    'needs type network, bridge, direct or ethernet',
  );
  b.refuse(path, { vlan: isOnBridge ? undefined : vlan }, 'needs a bridge');
  b.refuse(path, { port: (nic.portIsolated && !isOnBridge) || undefined }, 'needs a bridge');
  b.refuse(path, { route: routes }, 'is set inside containers only');
  b.refuse(path, { guest: nic.guest?.dev }, 'is set inside containers only');
  b.refuse(`${path}.backend`, { tap: nic.backend?.tap, vhost: nic.backend?.vhost });
  refuseVirtualport(b, nic, path);
  refuseScripts(b, nic, path);
  refuseTrust(b, nic, path);
  if (type !== 'user') {
    b.refuse(path, { ip: nic.ips }, 'needs a user-mode interface');
    b.refuse(
      path,
      { portForward: nic.portForwards, backend: nic.backend?.type },
      'needs a user-mode interface',
    );
  }
}

/** Switches that need an agent of their own on the host. */
function refuseVirtualport(b: Build, { virtualport }: Interface, path: string): void {
  if (virtualport === undefined) return;
  const type = virtualport.type ?? 'unknown';
  b.problem(
    `${path}.virtualport`,
    type === 'openvswitch'
      ? "'openvswitch' is not supported; a Linux bridge knows VLANs and isolated ports too"
      : `'${type}' is not supported`,
  );
}

/** A script would run as root, with the name of a tap, out of any document somebody brings (docs/security.md, class L). */
function refuseScripts(b: Build, { script, downscript, source }: Interface, path: string): void {
  for (const [part, program] of Object.entries({ script, downscript })) {
    if (program === undefined) continue;
    if (source.type !== 'ethernet') b.problem(`${path}.${part}`, 'needs type ethernet');
    else if (!noScripts.has(program))
      b.problem(`${path}.${part}`, `'${program}' is not run: no program of a definition is, but /bin/true`);
  }
}

function refuseTrust(b: Build, nic: Interface, path: string): void {
  if (nic.trustGuestRxFilters !== true) return;
  const { type } = nic.source;
  if (!['network', 'bridge', 'direct'].includes(type))
    b.problem(`${path}.trustGuestRxFilters`, 'needs type network, bridge or direct');
  else if (nic.model?.startsWith('virtio') !== true)
    b.problem(`${path}.trustGuestRxFilters`, 'needs a virtio card');
}

function refuseVirtio(b: Build, nic: Interface, path: string): void {
  refuseVirtioOptions(b, path, nic.driver);
  const { name, ioeventfd, eventIdx, queues, rxQueueSize, txQueueSize, rss, rssHashReport, txmode } =
    nic.driver ?? {};
  const { hostOffloads, guestOffloads } = nic.driver ?? {};
  b.refuse(
    `${path}.driver`,
    {
      name: name === 'vhost' ? name : undefined,
      ioeventfd,
      event_idx: eventIdx,
      queues,
      rx_queue_size: rxQueueSize,
      tx_queue_size: txQueueSize,
      rss,
      rss_hash_report: rssHashReport,
      txmode,
      host: hostOffloads,
      guest: guestOffloads,
    },
    'needs a virtio card',
  );
  b.refuse(path, { mtu: nic.mtu, teaming: nic.teaming }, 'needs a virtio card');
}

/** virtio-net's own options. With more than one queue it needs two interrupt vectors for each, and two more. */
function virtioNet(b: Build, nic: Interface, path: string): JsonObject {
  const { driver } = nic;
  const queues = queueCount(nic);
  const { hostOffloads: host, guestOffloads: guest } = driver ?? {};
  if (nic.teaming?.type === 'transient')
    b.problem(`${path}.teaming`, `'transient' needs a hostdev interface`);
  return {
    tx: txMode(driver?.txmode),
    ioeventfd: driver?.ioeventfd,
    event_idx: driver?.eventIdx,
    csum: host?.csum,
    gso: host?.gso,
    host_tso4: host?.tso4,
    host_tso6: host?.tso6,
    host_ecn: host?.ecn,
    host_ufo: host?.ufo,
    mrg_rxbuf: host?.mrgRxbuf,
    guest_csum: guest?.csum,
    guest_tso4: guest?.tso4,
    guest_tso6: guest?.tso6,
    guest_ecn: guest?.ecn,
    guest_ufo: guest?.ufo,
    mq: queues > 1 ? true : undefined,
    vectors: queues > 1 ? 2 * queues + 2 : undefined,
    rx_queue_size: driver?.rxQueueSize,
    tx_queue_size: driver?.txQueueSize,
    rss: driver?.rss,
    hash: driver?.rssHashReport,
    host_mtu: nic.mtu,
    failover: nic.teaming?.type === 'persistent' ? true : undefined,
    ...virtioOptions(driver),
  };
}

function txMode(mode: 'iothread' | 'timer' | undefined): string | undefined {
  return mode === 'iothread' ? 'bh' : mode;
}
