/** `<graphics>` and `<video>`: how people see a guest, and the card that draws. */
import {
  attr,
  child,
  childAttr,
  children,
  type ElementCodec,
  type Field,
  type Infer,
  object,
  onlyFor,
} from '../../../base/xml/codec.ts';
import { matching, oneOf, onOff, path, str, uint, yesNo } from '../../../base/xml/scalars.ts';
import { common, live, virtioOptions } from './address.ts';
import { group, kinds, need } from './combinators.ts';

const hostName = matching(/^[A-Za-z0-9.:%_-]{1,253}$/, 'an address or a host name');

const listenUnion = object({
  value: kinds('type', {
    address: group({ address: attr('address', hostName) }),
    network: group({
      network: need('network', str({ min: 1, max: 255 })),
      /** The address of that network's bridge; known while it is active. */
      address: live(attr('address', hostName)),
    }),
    socket: group({ socket: attr('socket', path) }),
    none: group({}),
  }),
});
export type Listen = Infer<typeof listenUnion>['value'];

const listenCodec: ElementCodec<Listen> = {
  read: (reader) => listenUnion.read(reader).value,
  write: (element, value, options) => listenUnion.write(element, { value }, options),
};
const listenElements = children('listen', listenCodec);

/** The first listening address again as an attribute, which is how old programs write and read it. */
function listens(withSocket: boolean): Field<Listen[]> {
  return {
    read(reader) {
      const found = listenElements.read(reader);
      const legacy = legacyListen(reader.attr('listen'), withSocket ? reader.attr('socket') : undefined);
      if (legacy === undefined) return found;
      const problem = problemWith(legacy);
      if (problem !== undefined)
        reader.problem(reader.at(legacy.type === 'socket' ? 'socket' : 'listen'), problem);
      if (found[0] === undefined) return [legacy];
      if (!sameListen(found[0], legacy))
        reader.problem(reader.at('listen'), 'is not what the first <listen> element says');
      return found;
    },
    write(element, value, options) {
      const first = value?.[0];
      if (first?.type === 'socket' && withSocket && first.socket !== undefined)
        element.attrs.set('socket', first.socket);
      if (
        (first?.type === 'address' || (first?.type === 'network' && !options.inactive)) &&
        first.address !== undefined
      )
        element.attrs.set('listen', first.address);
      listenElements.write(element, value ?? [], options);
    },
  };
}

function legacyListen(listen: string | undefined, socket: string | undefined): Listen | undefined {
  if (socket !== undefined) return { type: 'socket', socket };
  return listen === undefined || listen === '' ? undefined : { type: 'address', address: listen };
}

function problemWith(listen: Listen): string | undefined {
  try {
    if (listen.type === 'socket') path.parse(listen.socket ?? '');
    if (listen.type === 'address') hostName.parse(listen.address ?? '');
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function sameListen(first: Listen, legacy: Listen): boolean {
  if (legacy.type === 'socket')
    return first.type === 'socket' && (first.socket ?? legacy.socket) === legacy.socket;
  if (first.type === 'address' || first.type === 'network')
    return first.address === undefined || (legacy.type === 'address' && first.address === legacy.address);
  return false;
}

const onPort = (value: Listen[] | undefined): boolean =>
  !value?.some((l, i) => i === 0 && (l.type === 'socket' || l.type === 'none'));

/** Ports of a server. -1 and absent both mean: chosen at start (`autoport`). */
const portNumber = uint({ min: 1, max: 65_535 });
export interface Ports {
  /** TCP port; absent while `autoport` has not chosen one. */
  port?: number;
  autoport: boolean;
}

/**
 * Reads port and autoport together, since each means something for the other (formatdomain, "graphics"). `unset` is
 * what libvirt prints for a port that is still to be chosen: -1 for VNC and RDP, nothing for SPICE.
 */
function portsOf(unset: string | undefined): ElementCodec<Ports> {
  return {
    read(reader) {
      const raw = reader.attr('port')?.trim();
      const isOpen = raw === undefined || raw === '-1' || raw === '0';
      const port = isOpen ? undefined : attr('port', portNumber).read(reader);
      const auto = attr('autoport', yesNo).read(reader);
      const autoport = auto ?? (raw === '-1' || (isOpen && reader.attr('tlsPort') === undefined));
      return { ...(port !== undefined && { port }), autoport };
    },
    write(element, value, options) {
      const known = value.autoport && options.inactive ? undefined : value.port;
      const shown = known === undefined && value.autoport ? unset : known?.toString();
      if (shown !== undefined) element.attrs.set('port', shown);
      element.attrs.set('autoport', value.autoport ? 'yes' : 'no');
    },
  };
}

const secret = <T>(field: Field<T>): Field<T> => onlyFor(field, (options) => options.secure === true);

/** The password is written only with `secure`. */
const password = {
  passwd: secret(attr('passwd', str({ max: 256 }))),
  /** UTC, `2026-11-21T12:00:00`. */
  passwdValidTo: attr(
    'passwdValidTo',
    matching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)?$/, 'a time'),
  ),
};

const keymap = attr('keymap', matching(/^[A-Za-z0-9_-]{1,32}$/, 'a keymap name'));
const audioId = childAttr('audio', 'id', uint({ max: 255 }));
const rendernode = attr('rendernode', path);

/** Merges the ports codec with further parts; the ports come first, and only when there is a port to listen on. */
function served<T extends { listens: Listen[] }>(
  rest: ElementCodec<T>,
  unset?: string,
): ElementCodec<T & Ports> {
  const ports = portsOf(unset);
  return {
    read: (reader) => ({ ...ports.read(reader), ...rest.read(reader) }),
    write(element, value, options) {
      if (onPort(value.listens)) ports.write(element, value, options);
      rest.write(element, value, options);
    },
  };
}

const vnc = served(
  group({
    websocket: attr('websocket', {
      parse: (t) => (t.trim() === '-1' ? -1 : portNumber.parse(t)),
      format: String,
    }),
    listens: listens(true),
    keymap,
    sharePolicy: attr('sharePolicy', oneOf('allow-exclusive', 'force-shared', 'ignore')),
    powerControl: attr('powerControl', yesNo),
    ...password,
    /** What happens to connected clients when the password changes. */
    connected: attr('connected', oneOf('keep')),
    audioId,
  }),
  '-1',
);

const compression = oneOf('auto', 'never', 'always');
const channelMode = oneOf('any', 'secure', 'insecure');
const spiceChannel = object({
  name: need(
    'name',
    oneOf('main', 'display', 'inputs', 'cursor', 'playback', 'record', 'smartcard', 'usbredir'),
  ),
  mode: need('mode', channelMode),
});

const spice = served(
  group({
    tlsPort: attr('tlsPort', {
      parse: (t) => (t.trim() === '-1' ? -1 : portNumber.parse(t)),
      format: String,
    }),
    listens: listens(false),
    keymap,
    defaultMode: attr('defaultMode', channelMode),
    ...password,
    connected: attr('connected', oneOf('fail', 'disconnect', 'keep')),
    channels: children('channel', spiceChannel),
    image: childAttr('image', 'compression', oneOf('auto_glz', 'auto_lz', 'quic', 'glz', 'lz', 'off')),
    jpeg: childAttr('jpeg', 'compression', compression),
    zlib: childAttr('zlib', 'compression', compression),
    playback: childAttr('playback', 'compression', onOff),
    streaming: childAttr('streaming', 'mode', oneOf('filter', 'all', 'off')),
    mouse: childAttr('mouse', 'mode', oneOf('server', 'client')),
    clipboard: childAttr('clipboard', 'copypaste', yesNo),
    filetransfer: childAttr('filetransfer', 'enable', yesNo),
    gl: child('gl', object({ enable: need('enable', yesNo), rendernode })),
  }),
);

const display = attr('display', str({ max: 256 }));
const fullscreen = attr('fullscreen', yesNo);

const graphicsKinds = {
  vnc,
  spice,
  sdl: group({
    display,
    xauth: attr('xauth', str()),
    fullscreen,
    glEnabled: childAttr('gl', 'enable', yesNo),
  }),
  'egl-headless': group({ rendernode: childAttr('gl', 'rendernode', path) }),
  dbus: group({
    address: attr('address', str({ min: 1, max: 1024 })),
    p2p: attr('p2p', yesNo),
    gl: child('gl', object({ enable: need('enable', yesNo), rendernode })),
    audioId,
  }),
  rdp: served(
    group({
      replaceUser: attr('replaceUser', yesNo),
      multiUser: attr('multiUser', yesNo),
      listens: listens(false),
    }),
    '-1',
  ),
  desktop: group({ display, fullscreen }),
};

const graphicsUnion = object({ value: kinds('type', graphicsKinds) });
/** One display server, by its `type`. */
export type Graphics = Infer<typeof graphicsUnion>['value'];
export type GraphicsOf<T extends Graphics['type']> = Extract<Graphics, { type: T }>;

export const graphicsCodec: ElementCodec<Graphics> = {
  read: (reader) => graphicsUnion.read(reader).value,
  write: (element, value, options) => graphicsUnion.write(element, { value }, options),
};

/** Memory sizes in KiB, as the document has them. */
const kib = uint({ max: 0xffff_ffff });
const modelCodec = object({
  type: need(
    'type',
    oneOf('vga', 'cirrus', 'vmvga', 'xen', 'vbox', 'virtio', 'gop', 'none', 'bochs', 'ramfb', 'qxl'),
  ),
  ramKiB: attr('ram', kib),
  vramKiB: attr('vram', kib),
  vram64KiB: attr('vram64', kib),
  vgamemKiB: attr('vgamem', kib),
  heads: attr('heads', uint({ min: 1, max: 64 })),
  primary: attr('primary', yesNo),
  acceleration: child(
    'acceleration',
    object({ accel3d: attr('accel3d', yesNo), accel2d: attr('accel2d', yesNo), rendernode }),
  ),
  resolution: child(
    'resolution',
    object({ x: need('x', uint({ max: 65_535 })), y: need('y', uint({ max: 65_535 })) }),
  ),
});

export const videoCodec = object({
  driver: child(
    'driver',
    object({
      name: attr('name', oneOf('qemu', 'vhostuser')),
      vgaconf: attr('vgaconf', oneOf('io', 'on', 'off')),
      ...virtioOptions,
    }),
  ),
  model: child('model', modelCodec),
  ...common,
});
export type Video = Infer<typeof videoCodec>;
export type VideoModel = NonNullable<Video['model']>;
