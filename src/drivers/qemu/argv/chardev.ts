/** Back ends of character devices: -chardev. Their files and sockets are opened by the daemon. */
import type { ChardevSource } from '../../../model/domain/devices/chardev.ts';
import type { Build } from './context.ts';

type Pair = readonly [string, string | number | boolean | undefined];

/** One character device to be. */
interface ChardevRequest {
  /** The alias of the device in front; the back end's id is `char` + alias. */
  readonly alias: string;
  readonly source: ChardevSource;
  readonly log?: { readonly file: string; readonly append?: boolean | undefined } | undefined;
  /** Path in the definition. */
  readonly path: string;
  /** What a spicevmc connection is for, in spice-server's words. */
  readonly spiceName?: 'vdagent' | 'usbredir' | 'smartcard';
  /** What a host device is opened as. */
  readonly deviceBackend?: 'serial' | 'parallel';
}

/** Adds the back end; the answer is its id. */
export function buildChardev(b: Build, request: ChardevRequest): string {
  const id = `char${request.alias}`;
  const [backend, ...options] = backendOptions(b, request, id);
  b.pairs('-chardev', [['', backend ?? 'null'], ['id', id], ...options, ...logOptions(b, request)]);
  return id;
}

/**
 * QEMU always appends: where the file was to be emptied, that is done when it is opened. Without O_APPEND, which QEMU takes
 * off a descriptor that it was not told to append to, it would write on at its old place after we have cut a log.
 */
function logOptions(b: Build, request: ChardevRequest): Pair[] {
  if (request.log === undefined) return [];
  const append = request.log.append ?? false;
  const file = b.file(request.log.file, append ? 'append' : 'truncate', `${request.path}.log`);
  return [
    ['logfile', file],
    ['logappend', true],
  ];
}

type Backend = [string, ...Pair[]];

function backendOptions(b: Build, request: ChardevRequest, id: string): Backend {
  const { source, path } = request;
  switch (source.type) {
    case 'pty':
      b.ptys[id] = request.alias;
      return ['pty'];
    case 'null':
    case 'vc':
      return [source.type];
    case 'dev':
      return hostDevice(b, request, source.path);
    case 'file':
      return outputFile(b, path, source);
    case 'unix':
      return unixSocket(b, request, source);
    case 'tcp':
      return tcpSocket(b, path, source);
    case 'udp':
      return udpSocket(b, path, source);
    case 'spicevmc':
      needSpice(b, path);
      return ['spicevmc', ['name', request.spiceName ?? 'vdagent']];
    case 'spiceport':
      needSpice(b, path);
      if (source.channel === undefined) b.problem(`${path}.source.channel`, 'is missing');
      return ['spiceport', ['name', source.channel]];
    case 'qemu-vdagent':
      if (!b.caps.chardevs.includes('qemu-vdagent')) b.lacks(path, `chardev 'qemu-vdagent'`);
      return [
        'qemu-vdagent',
        ['clipboard', source.clipboard],
        ['mouse', source.mouse === undefined ? undefined : source.mouse === 'client'],
      ];
    case 'stdio':
    case 'pipe':
    case 'dbus':
    case 'nmdm':
      b.problem(`${path}.type`, `'${source.type}' is not supported; use pty, unix, tcp or file`);
      return ['null'];
  }
}

type Source<T extends ChardevSource['type']> = Extract<ChardevSource, { type: T }>;

function hostDevice(b: Build, request: ChardevRequest, device: string | undefined): Backend {
  if (device === undefined) b.problem(`${request.path}.source.path`, 'is missing');
  const file = b.file(device ?? '', 'rw', `${request.path}.source`, { device: true });
  return [request.deviceBackend ?? 'serial', ['path', file]];
}

function outputFile(b: Build, path: string, source: Source<'file'>): Backend {
  if (source.path === undefined) b.problem(`${path}.source.path`, 'is missing');
  const append = source.append ?? false;
  const file = b.file(source.path ?? '', append ? 'append' : 'truncate', `${path}.source`);
  return ['file', ['path', file], ['append', true]];
}

/** Seconds between two tries of a client; 0 for none. QEMU 9.2 renamed the option and counts milliseconds. */
function reconnectOption(
  b: Build,
  reconnect: { readonly enabled: boolean; readonly timeoutSeconds?: number | undefined } | undefined,
): Pair[] {
  if (!reconnect?.enabled) return [];
  const seconds = reconnect.timeoutSeconds ?? 1;
  const hasMilliseconds = b.caps.options.chardev?.includes('reconnect-ms');
  return [hasMilliseconds ? ['reconnect-ms', seconds * 1000] : ['reconnect', seconds]];
}

/**
 * A server socket lies in the guest's own directory when the definition names none. A client that reconnects has
 * to know the path itself; any other gets a connected descriptor.
 */
function unixSocket(b: Build, request: ChardevRequest, source: Source<'unix'>): Backend {
  const { path } = request;
  if ((source.mode ?? 'bind') === 'bind') {
    b.refuse(`${path}.source`, { reconnect: source.reconnect?.enabled || undefined }, 'is for clients');
    const socket = source.path ?? `${b.context.directory}/${request.alias}.sock`;
    b.sockets[request.alias] = socket;
    return ['socket', ['fd', b.need({ kind: 'listen', path: socket })], ['server', true], ['wait', false]];
  }
  if (source.path === undefined) b.problem(`${path}.source.path`, 'is missing');
  const socket = source.path ?? '';
  if (source.reconnect?.enabled) return ['socket', ['path', socket], ...reconnectOption(b, source.reconnect)];
  return ['socket', ['fd', b.need({ kind: 'connect', path: socket })]];
}

function tcpSocket(b: Build, path: string, source: Source<'tcp'>): Backend {
  if (source.protocol === 'telnets' || source.protocol === 'tls' || source.tls)
    b.problem(`${path}.source`, 'TLS is not supported for character devices');
  if (source.service === undefined) b.problem(`${path}.source.service`, 'is missing');
  const isServer = source.mode === 'bind';
  return [
    'socket',
    ['host', source.host ?? (isServer ? '127.0.0.1' : 'localhost')],
    ['port', source.service],
    ['telnet', source.protocol === 'telnet' ? true : undefined],
    ['server', isServer ? true : undefined],
    ['wait', isServer ? false : undefined],
    ...(isServer ? [] : reconnectOption(b, source.reconnect)),
  ];
}

function udpSocket(b: Build, path: string, source: Source<'udp'>): Backend {
  if (source.connect?.service === undefined)
    b.problem(`${path}.source`, `needs a source with mode='connect'`);
  return [
    'udp',
    ['host', source.connect?.host ?? '127.0.0.1'],
    ['port', source.connect?.service],
    ['localaddr', source.bind?.host],
    ['localport', source.bind?.service],
  ];
}

/** spice channels need a spice server. */
function needSpice(b: Build, path: string): void {
  if (!b.definition.devices.graphics.some((graphics) => graphics.type === 'spice'))
    b.problem(path, "needs <graphics type='spice'>");
}
