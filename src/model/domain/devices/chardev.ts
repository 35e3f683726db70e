/** Character devices: what a serial port, console, parallel port, channel, redirection, smartcard or RNG talks to. */
import {
  attr,
  child,
  childAttr,
  children,
  childText,
  defaulted,
  type Field,
  type FormatOptions,
  type Infer,
  object,
  Reader,
  required,
} from '../../../base/xml/codec.ts';
import { matching, oneOf, onOff, path, str, uint, yesNo } from '../../../base/xml/scalars.ts';
import { type XmlElement, xmlElement } from '../../../base/xml/tree.ts';
import { common, live, placed, reconnect, seclabels, unlistedAlias } from './address.ts';
import { both, group, kinds, need, textOnly, within } from './combinators.ts';

const mode = attr('mode', oneOf('connect', 'bind'));
const host = attr('host', matching(/^[A-Za-z0-9.:_%*-]{1,253}$/, 'a host name or an address'));
const service = attr('service', matching(/^[A-Za-z0-9_-]{1,32}$/, 'a port'));

/** A name that spice-server or D-Bus clients know the port by. */
const portName = attr('channel', str({ min: 1, max: 256 }));

const endpoint = object({ mode, host, service });
type Endpoint = Omit<Infer<typeof endpoint>, 'mode'>;
type UdpEnds = { connect?: Endpoint | undefined; bind?: Endpoint | undefined };

/** udp: one `<source mode='connect'>` (where we send) and one `<source mode='bind'>` (where we listen). */
const udpParts: Field<UdpEnds> = {
  read(reader) {
    const value: UdpEnds = {};
    for (const [index, element] of reader.children('source').entries()) {
      const at = `${reader.at('source')}[${index}]`;
      const { mode: side = 'connect', ...rest } = endpoint.read(new Reader(element, at, reader.state));
      if (value[side] !== undefined) reader.problem(at, `mode '${side}' is given more than once`);
      value[side] = rest;
    }
    return value;
  },
  write(element, value, options) {
    if (value.bind) pushSource(element, { mode: 'bind', ...value.bind }, options);
    if (value.connect) pushSource(element, { mode: 'connect', ...value.connect }, options);
  },
};

function pushSource(element: XmlElement, value: Infer<typeof endpoint>, options: FormatOptions): void {
  const source = xmlElement('source');
  endpoint.write(source, value, options);
  element.children.push(source);
}

const tcp = both(
  within('source', {
    mode: defaulted(mode, 'connect'),
    host,
    service,
    tls: attr('tls', yesNo),
    reconnect,
  }),
  group({
    protocol: defaulted(childAttr('protocol', 'type', oneOf('raw', 'telnet', 'telnets', 'tls')), 'raw'),
  }),
);

const devicePath = { path: attr('path', path), seclabels };

const sourceKinds = {
  null: group({}),
  vc: group({}),
  stdio: group({}),
  spicevmc: group({}),
  /** The path is made when the domain starts. */
  pty: within('source', { path: live(attr('path', path)), seclabels }),
  dev: within('source', devicePath),
  file: within('source', { ...devicePath, append: attr('append', onOff) }),
  pipe: within('source', devicePath),
  unix: within('source', { mode, path: attr('path', path), reconnect, seclabels }),
  tcp,
  udp: udpParts,
  spiceport: within('source', { channel: portName }),
  dbus: within('source', { channel: portName }),
  nmdm: within('source', { master: attr('master', path), slave: attr('slave', path) }),
  'qemu-vdagent': within('source', {
    clipboard: childAttr('clipboard', 'copypaste', yesNo),
    mouse: childAttr('mouse', 'mode', oneOf('server', 'client')),
  }),
};

/** The backend by the `type` of the device; without a type it is a pty, as in libvirt. */
export const chardevSource = kinds('type', sourceKinds, 'pty');
export type ChardevSource = typeof chardevSource extends Field<infer T> ? T : never;

const log = child('log', object({ file: need('file', path), append: attr('append', onOff) }));

/** The backend with its log file; for whatever embeds a character device. */
export const chardevParts = { source: chardevSource, log };

const serialTypes = oneOf(
  'isa-serial',
  'usb-serial',
  'pci-serial',
  'spapr-vio-serial',
  'system-serial',
  'sclp-serial',
  'isa-debug',
);
const serialModels = oneOf(
  'isa-serial',
  'usb-serial',
  'pci-serial',
  'spapr-vty',
  'pl011',
  '16550a',
  'sclpconsole',
  'sclplmconsole',
  'isa-debugcon',
);
const port = attr('port', uint({ max: 65_535 }));

export const serialCodec = object({
  ...chardevParts,
  /** libvirt 9.0 still takes it on input for consoles that became serial ports. */
  tty: live(attr('tty', path)),
  target: child(
    'target',
    object({ type: attr('type', serialTypes), port, model: childAttr('model', 'name', serialModels) }),
  ),
  ...common,
});
export type Serial = Infer<typeof serialCodec>;

const consoleTypes = oneOf('serial', 'virtio', 'xen', 'uml', 'lxc', 'openvz', 'sclp', 'sclplm');

/** `tty` repeats the path of a pty for old programs. */
export const consoleCodec = object({
  ...chardevParts,
  tty: live(attr('tty', path)),
  target: child('target', object({ type: attr('type', consoleTypes), port })),
  ...common,
});
export type Console = Infer<typeof consoleCodec>;

export const parallelCodec = object({
  ...chardevParts,
  target: child('target', object({ port })),
  ...common,
});
export type Parallel = Infer<typeof parallelCodec>;

const channelTarget = kinds('type', {
  virtio: group({
    name: attr('name', str({ min: 1, max: 256 })),
    /** Whether the guest has the port open; told by QEMU. */
    state: live(attr('state', oneOf('connected', 'disconnected'))),
  }),
  guestfwd: group({
    address: need('address', matching(/^\d{1,3}(\.\d{1,3}){3}$/, 'an IPv4 address')),
    port: need('port', uint({ min: 1, max: 65_535 })),
  }),
  xen: group({ name: attr('name', str({ max: 256 })) }),
});
export type ChannelTarget = typeof channelTarget extends Field<infer T> ? T : never;

const wholeTarget = object({ value: channelTarget });

export const channelCodec = object({
  ...chardevParts,
  target: required(
    child<ChannelTarget>('target', {
      read: (reader) => wholeTarget.read(reader).value,
      write: (element, value, options) => wholeTarget.write(element, { value }, options),
    }),
    'target',
  ),
  ...placed,
});
export type Channel = Infer<typeof channelCodec>;

export const redirdevCodec = object({
  bus: defaulted(attr('bus', oneOf('usb')), 'usb'),
  ...chardevParts,
  boot: child('boot', object({ order: need('order', uint({ min: 1, max: 1_000_000 })) })),
  ...placed,
});
export type Redirdev = Infer<typeof redirdevCodec>;

const certificateName = matching(/^[^,\u0000-\u001f\u007f]{1,256}$/, 'a certificate name');

const smartcardKinds = {
  host: group({}),
  'host-certificates': group({
    /** Three nicknames in the NSS database. */
    certificates: children('certificate', textOnly(certificateName)),
    database: childText('database', path),
  }),
  passthrough: group(chardevParts),
};

export const smartcardCodec = object({
  backend: kinds('mode', smartcardKinds),
  ...common,
  alias: unlistedAlias,
});

export type Smartcard = Infer<typeof smartcardCodec>;

/** True for a console that is only another name for the first serial port. */
export function isSerialConsole(console: Console): boolean {
  return console.target?.type === undefined || console.target.type === 'serial';
}
