/** `<interface>`: network cards. */
import {
  attr,
  BadValue,
  child,
  childAttr,
  children,
  childText,
  type ElementCodec,
  type Field,
  type Infer,
  object,
  required,
  type Scalar,
} from '../../../base/xml/codec.ts';
import { mac, matching, oneOf, onOff, path, str, uint, yesNo } from '../../../base/xml/scalars.ts';
import { boot, common, live, type PciNumbers, plainPci, reconnect, rom, virtioOptions } from './address.ts';
import { checked, fixed, group, kinds, need, onlyWith, within } from './combinators.ts';
import { bandwidth, filterref, ipAddress, ips, routes, virtualport, vlan } from './interface-parts.ts';

const linkName = matching(/^[A-Za-z0-9_.\-\\:/]{1,64}$/, 'the name of a network interface');
const bridgeName = matching(/^[A-Za-z0-9_.\-\\:/ ]{1,64}$/, 'the name of a bridge');
const port = uint({ min: 1, max: 65_535 });

/** A card's own address: the lowest bit of the first octet is the group bit (IEEE 802). */
const unicastMac: Scalar<string> = {
  parse(text) {
    const address = mac.parse(text);
    if (Number.parseInt(address.slice(0, 2), 16) & 1) throw new BadValue(`${address} is a multicast address`);
    return address;
  },
  format: mac.format,
};

const networkParts = {
  portgroup: attr('portgroup', str({ max: 64 })),
  portid: live(attr('portid', str({ max: 36 }))),
};
const macTableManager = attr('macTableManager', oneOf('kernel', 'libvirt'));

const hostdevSource = within('source', {
  missing: attr('missing', yesNo),
  address: required(child('address', hostdevAddress()), 'address'),
});

type HostdevAddress = ({ type: 'pci' } & PciNumbers) | { type: 'usb'; bus: number; device: number };

/** The address of the host's device: PCI (a virtual function) or USB. */
function hostdevAddress(): ElementCodec<HostdevAddress> {
  const whole = object({
    value: kinds('type', {
      pci: group(plainPci),
      usb: group({ bus: need('bus', uint({ max: 0xfff })), device: need('device', uint({ max: 0xfff })) }),
    }),
  });
  return {
    read: (reader) => whole.read(reader).value,
    write: (element, value, options) => whole.write(element, { value }, options),
  };
}

/** By the `type` of the interface. */
const sourceKinds = {
  user: within('source', { dev: attr('dev', linkName) }),
  network: within('source', {
    network: need('network', str({ min: 1, max: 255 })),
    ...networkParts,
    bridge: live(attr('bridge', bridgeName)),
    macTableManager: live(macTableManager),
  }),
  bridge: within('source', {
    bridge: need('bridge', bridgeName),
    macTableManager,
    network: live(attr('network', str({ max: 255 }))),
    portgroup: live(networkParts.portgroup),
    portid: networkParts.portid,
  }),
  ethernet: within('source', { ips, routes }),
  direct: within('source', {
    dev: need('dev', linkName),
    mode: attr('mode', oneOf('vepa', 'bridge', 'private', 'passthrough')),
    network: live(attr('network', str({ max: 255 }))),
    portgroup: live(networkParts.portgroup),
    portid: networkParts.portid,
  }),
  internal: within('source', { name: need('name', linkName) }),
  mcast: within('source', { address: need('address', ipAddress), port: need('port', port) }),
  client: within('source', { address: need('address', ipAddress), port: need('port', port) }),
  server: within('source', { address: attr('address', ipAddress), port: need('port', port) }),
  udp: within('source', {
    address: need('address', ipAddress),
    port: need('port', port),
    local: required(
      child('local', object({ address: need('address', ipAddress), port: need('port', port) })),
      'local',
    ),
  }),
  vhostuser: within('source', {
    transport: fixed('type', 'unix'),
    path: need('path', path),
    mode: need('mode', oneOf('server', 'client')),
    reconnect,
  }),
  hostdev: hostdevSource,
  vdpa: within('source', { dev: need('dev', path) }),
  null: group({}),
};

export const interfaceSource = kinds('type', sourceKinds);
export type InterfaceSource = typeof interfaceSource extends Field<infer T> ? T : never;

const offloads = {
  csum: attr('csum', onOff),
  gso: attr('gso', onOff),
  tso4: attr('tso4', onOff),
  tso6: attr('tso6', onOff),
  ecn: attr('ecn', onOff),
  ufo: attr('ufo', onOff),
  mrgRxbuf: attr('mrg_rxbuf', onOff),
};
const { gso: _gso, mrgRxbuf: _mrgRxbuf, ...guestOffloads } = offloads;

const driverCodec = object({
  name: attr('name', oneOf('qemu', 'vhost', 'kvm', 'vfio', 'xen')),
  txmode: attr('txmode', oneOf('iothread', 'timer')),
  ioeventfd: attr('ioeventfd', onOff),
  eventIdx: attr('event_idx', onOff),
  queues: attr('queues', uint({ min: 1, max: 1024 })),
  rxQueueSize: attr('rx_queue_size', uint({ min: 1, max: 65_535 })),
  txQueueSize: attr('tx_queue_size', uint({ min: 1, max: 65_535 })),
  rss: attr('rss', onOff),
  rssHashReport: attr('rss_hash_report', onOff),
  ...virtioOptions,
  hostOffloads: child('host', object(offloads)),
  guestOffloads: child('guest', object(guestOffloads)),
});

/** `to` is the guest's first port; without it the ports are the same. `exclude` takes ports out of a wider range. */
const range = object({
  start: need('start', port),
  end: attr('end', port),
  to: attr('to', port),
  exclude: attr('exclude', yesNo),
});
const portForwardCodec = object({
  protocol: need('proto', oneOf('tcp', 'udp')),
  /** The host's address to listen on; without it all. */
  address: attr('address', ipAddress),
  dev: attr('dev', linkName),
  ranges: children('range', range),
});
export type InterfacePortForward = Infer<typeof portForwardCodec>;

const teaming = object({
  type: need('type', oneOf('persistent', 'transient')),
  /** The alias of the persistent half. */
  persistent: attr('persistent', matching(/^[A-Za-z0-9_.-]{1,128}$/, 'an alias')),
});

/** libvirt's own names for taps and macvtaps; a definition doesn't keep them. */
const generatedLink = /^(vnet|vif|macvtap|macvlan)\d+$/;

const targetField = child('target', object({ dev: need('dev', linkName), managed: attr('managed', yesNo) }));
const target: typeof targetField = {
  read: targetField.read,
  write(element, value, options) {
    if (value !== undefined && options.inactive === true && generatedLink.test(value.dev)) return;
    targetField.write(element, value, options);
  },
};

const maxFrames = child(
  'rx',
  object({ frames: child('frames', object({ max: attr('max', uint({ max: 0xffff_ffff })) })) }),
);

/** Parts that only some types have. */
const typeParts = {
  managed: ['hostdev'],
  virtualport: ['bridge', 'network', 'direct', 'hostdev'],
} as const;
const tunables = ['queues', 'rxQueueSize', 'txQueueSize', 'txmode', 'ioeventfd', 'eventIdx'] as const;

const shape = object({
  mac: child(
    'mac',
    object({
      address: need('address', unicastMac),
      type: attr('type', oneOf('generated', 'static')),
      check: attr('check', yesNo),
    }),
  ),
  source: interfaceSource,
  /** hostdev only: the device is detached from its host driver and given back by us. */
  managed: attr('managed', yesNo),
  trustGuestRxFilters: attr('trustGuestRxFilters', yesNo),
  virtualport,
  ips,
  routes,
  portForwards: children('portForward', portForwardCodec),
  script: childAttr('script', 'path', str({ min: 1 })),
  downscript: childAttr('downscript', 'path', str({ min: 1 })),
  target,
  guest: child('guest', object({ dev: attr('dev', linkName), actual: live(attr('actual', linkName)) })),
  model: childAttr('model', 'type', matching(/^[A-Za-z0-9_-]{1,64}$/, 'the model of a network card')),
  driver: child('driver', driverCodec),
  backend: child(
    'backend',
    object({
      type: attr('type', oneOf('passt')),
      tap: attr('tap', path),
      vhost: attr('vhost', path),
      logFile: attr('logFile', path),
    }),
  ),
  filterref,
  boot,
  rom,
  bandwidth,
  vlan,
  portIsolated: childAttr('port', 'isolated', yesNo),
  teaming: child('teaming', teaming),
  /** Bytes that the tap may hold; 0 is QEMU's default. */
  sndbufBytes: childSndbuf(),
  link: childAttr('link', 'state', oneOf('up', 'down')),
  mtu: childAttr('mtu', 'size', uint({ max: 65_535 })),
  coalesce: child('coalesce', object({ rx: maxFrames })),
  ...common,
});

/** One network card; parts that its type cannot have are refused. */
export const interfaceCodec = checked(shape, (nic, reader) => {
  onlyWith(nic, nic.source.type, typeParts, reader);
  const driver = nic.driver;
  const isHostDriver = driver?.name === 'kvm' || driver?.name === 'vfio' || driver?.name === 'xen';
  for (const key of tunables)
    if (isHostDriver && driver[key] !== undefined)
      reader.problem(reader.at(`driver.${key}`), `does not go with the driver ${driver.name}`);
  if (
    nic.teaming !== undefined &&
    (nic.teaming.type === 'transient') !== (nic.teaming.persistent !== undefined)
  )
    reader.problem(reader.at('teaming.persistent'), 'belongs to type transient, which needs it');
});
export type Interface = Infer<typeof interfaceCodec>;

function childSndbuf(): Field<number | undefined> {
  const tune = child('tune', object({ sndbuf: childText('sndbuf', uint({ max: 0xffff_ffff })) }));
  return {
    read: (reader) => tune.read(reader)?.sndbuf,
    write: (element, value, options) =>
      tune.write(element, value === undefined ? undefined : { sndbuf: value }, options),
  };
}
