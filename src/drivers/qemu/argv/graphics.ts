/** Display servers: -vnc, -spice, -display. Passwords are set by QMP after the start, never here. */
import type { Graphics, GraphicsOf, Listen } from '../../../model/domain/devices/graphics.ts';
import type { Build } from './context.ts';
import { ownDirectory } from './types.ts';

type Pair = readonly [string, string | number | boolean | undefined];

/** All of <graphics>. Without a window of its own, QEMU's default display would look for one. */
export function buildGraphics(b: Build): void {
  const { graphics } = b.definition.devices;
  const headless = graphics.find((device) => device.type === 'egl-headless');
  if (headless === undefined) b.word('-display', 'none');
  for (const type of ['vnc', 'spice', 'egl-headless'] as const)
    if (graphics.filter((device) => device.type === type).length > 1)
      b.problem('devices.graphics', `only one of type '${type}' is supported`);
  for (const [index, device] of graphics.entries()) buildOne(b, device, index);
}

function buildOne(b: Build, device: Graphics, index: number): void {
  const path = `devices.graphics[${index}]`;
  switch (device.type) {
    case 'vnc':
      return buildVnc(b, device, index, path);
    case 'spice':
      return buildSpice(b, device, index, path);
    case 'egl-headless':
      if (!b.caps.displays.includes('egl-headless')) b.lacks(path, `display 'egl-headless'`);
      b.pairs('-display', [
        ['', 'egl-headless'],
        ['rendernode', device.rendernode],
      ]);
      return;
    case 'sdl':
    case 'dbus':
    case 'desktop':
    case 'rdp':
      b.problem(`${path}.type`, `'${device.type}' is not supported; use vnc or spice`);
  }
}

/** Where a server listens; only one address is possible. */
function listenOf(b: Build, listens: readonly Listen[], path: string): Listen {
  if (listens.length > 1) b.problem(`${path}.listen[1]`, 'only one listening address is supported');
  return listens[0] ?? { type: 'address', address: '127.0.0.1' };
}

function addressOf(b: Build, listen: Listen, path: string): string {
  const address = listen.type === 'address' || listen.type === 'network' ? listen.address : undefined;
  if (listen.type === 'network' && address === undefined)
    b.problem(`${path}.listen`, `the address of network '${listen.network}' is not known`);
  return address ?? '127.0.0.1';
}

const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address);

/** VNC's first port; displays are counted from it (RFB's convention, and -vnc's). */
const VNC_BASE = 5900;

function buildVnc(b: Build, vnc: GraphicsOf<'vnc'>, index: number, path: string): void {
  const listen = listenOf(b, vnc.listens, path);
  const websocket = vnc.websocket === -1 ? b.context.graphicsPorts?.[index]?.websocket : vnc.websocket;
  if (vnc.websocket === -1 && websocket === undefined) b.problem(`${path}.websocket`, 'was not chosen');
  b.pairs('-vnc', [
    ['', vncAddress(b, vnc, listen, index, path)],
    ['websocket', websocket],
    ['share', vnc.sharePolicy],
    ['power-control', vnc.powerControl],
    ['password', vnc.passwd === undefined ? undefined : true],
    ['audiodev', vnc.audioId === undefined ? undefined : `audio${vnc.audioId}`],
  ]);
  if (vnc.powerControl !== undefined && !b.caps.options.vnc?.includes('power-control'))
    b.lacks(`${path}.powerControl`, 'option power-control of -vnc');
  if (vnc.keymap !== undefined) b.word('-k', vnc.keymap);
}

function vncAddress(b: Build, vnc: GraphicsOf<'vnc'>, listen: Listen, index: number, path: string): string {
  if (listen.type === 'none') return 'none';
  if (listen.type === 'socket') return `unix:${socketPath(b, listen, 'vnc', index)}`;
  const port = vnc.autoport ? (b.context.graphicsPorts?.[index]?.port ?? vnc.port) : vnc.port;
  if (port === undefined) b.problem(`${path}.port`, 'was not chosen');
  else if (port < VNC_BASE) b.problem(`${path}.port`, `must be ${VNC_BASE} or more`);
  return `${bracketed(addressOf(b, listen, path))}:${(port ?? VNC_BASE) - VNC_BASE}`;
}

/**
 * A socket that QEMU makes itself, as neither server takes a descriptor to listen on: by a name below its working
 * directory, the guest's, where one directory is its own. A path elsewhere needs rights that a system guest lacks.
 */
function socketPath(b: Build, listen: Listen, name: string, index: number): string {
  const given = listen.type === 'socket' ? listen.socket : undefined;
  if (given !== undefined && b.context.mode === 'system')
    b.problem(
      `devices.graphics[${index}].listen.socket`,
      'cannot be chosen for a system guest, which may make files only in a directory of its own; leave it out',
    );
  const relative = `${ownDirectory}/${name}.sock`;
  b.sockets[`graphics${index}`] = given ?? `${b.context.directory}/${relative}`;
  return given ?? relative;
}

function buildSpice(b: Build, spice: GraphicsOf<'spice'>, index: number, path: string): void {
  if (b.caps.options.spice === undefined) {
    b.lacks(path, 'option -spice');
    return;
  }
  refuseTls(b, spice, path);
  b.pairs('-spice', [
    ...spiceListen(b, spice, index, path),
    ['disable-ticketing', spice.passwd === undefined],
    ...spice.channels
      .filter((channel) => channel.mode === 'insecure')
      .map((channel): Pair => ['plaintext-channel', channel.name]),
    ['image-compression', spice.image],
    ['jpeg-wan-compression', spice.jpeg],
    ['zlib-glz-wan-compression', spice.zlib],
    ['playback-compression', spice.playback],
    ['streaming-video', spice.streaming],
    ['agent-mouse', spice.mouse === undefined ? undefined : spice.mouse === 'client'],
    ['disable-copy-paste', spice.clipboard === false ? true : undefined],
    ['disable-agent-file-xfer', spice.filetransfer === false ? true : undefined],
    ['gl', spice.gl?.enable],
    ['rendernode', spice.gl?.rendernode],
    ['seamless-migration', true],
  ]);
  if (spice.keymap !== undefined) b.word('-k', spice.keymap);
}

/** There are no certificates for spice yet, so nothing can insist on TLS. */
function refuseTls(b: Build, spice: GraphicsOf<'spice'>, path: string): void {
  if (spice.tlsPort !== undefined && spice.tlsPort !== -1)
    b.problem(`${path}.tlsPort`, 'TLS is not supported yet');
  if (spice.defaultMode === 'secure') b.problem(`${path}.defaultMode`, 'TLS is not supported yet');
  for (const [index, channel] of spice.channels.entries())
    if (channel.mode === 'secure') b.problem(`${path}.channel[${index}]`, 'TLS is not supported yet');
}

function spiceListen(b: Build, spice: GraphicsOf<'spice'>, index: number, path: string): Pair[] {
  const listen = listenOf(b, spice.listens, path);
  // port=0 means no TCP port; a client then comes over a descriptor that QMP's add_client hands in.
  if (listen.type === 'none') return [['port', 0]];
  if (listen.type === 'socket')
    return [
      ['unix', true],
      ['addr', socketPath(b, listen, 'spice', index)],
    ];
  const port = spice.autoport ? (b.context.graphicsPorts?.[index]?.port ?? spice.port) : spice.port;
  if (port === undefined) b.problem(`${path}.port`, 'was not chosen');
  return [
    ['port', port],
    ['addr', addressOf(b, listen, path)],
  ];
}
