/** The front door for libvirt's clients: its sockets, who comes in, and the events for all of them. */
import { createServer, type Server, Socket } from 'node:net';
import { join } from 'node:path';
import type { PublishedEvent } from '../../../api/index.ts';
import { isVirtError, reasonOf } from '../../../base/errors.ts';
import {
  close,
  duplicateAbove,
  type PeerCredentials,
  peerCredentials,
  socketPair,
} from '../../../base/ffi.ts';
import { ensureDirectory } from '../../../base/files.ts';
import type { Logger } from '../../../base/log.ts';
import { processStartTime } from '../../../base/spawn.ts';
import type { DaemonMode } from '../../paths.ts';
import type { SaslUsers } from '../../services/sasl-users.ts';
import { listenOn } from '../jsonrpc/listen.ts';
import { type ConnectionOptions, type DomainCall, LibvirtConnection } from './connection.ts';
import type { Engine, RemoteClient } from './context.ts';
import { kernelDescriptorPassing } from './descriptors.ts';
import { translate } from './events/translate.ts';
import { buildHandlerTable, type HandlerTable } from './handlers/table.ts';
import { type SocketOwner, socketOwner } from './owner.ts';
import { type Authority, polkitActions } from './polkit.ts';
import { Failures } from './sasl/failures.ts';
import { linkSocket, modularNames, readOnlySocketName, socketName, unlinkSocket } from './sockets.ts';

export interface LibvirtServerOptions {
  readonly mode: DaemonMode;
  readonly engine: Engine;
  /** Where stock clients look. */
  readonly directory: string;
  /** A directory of our own, for when another daemon has that place. */
  readonly fallbackDirectory: string;
  /** The socket in `directory`, where it listens already and clients wait. */
  readonly early?: WaitingClients | undefined;
  /** Rights of the socket: mode, and the group that shall own it. */
  readonly rights: { readonly mode: number; readonly gid?: number };
  /** Decides about everybody but root and ourselves; undefined where the socket's rights do. */
  readonly authority?: Authority | undefined;
  /** Also serve whoever may only look. */
  readonly readOnlySocket: boolean;
  readonly subscribe: (listener: (event: PublishedEvent) => void) => () => void;
  readonly onClientsChange: () => void;
  readonly log: Logger;
}

/** A listening socket that is handed over with those who have connected: paused, and not a byte read. */
export interface WaitingClients {
  readonly directory: string;
  handOver(admit: (socket: Socket) => void): Server;
}

const MAX_CLIENTS = 500;
/** Whoever may only look may be anybody on the host: these must not take the places of those who may do more. */
const MAX_READ_ONLY_CLIENTS = 100;
/** Where everybody may connect, strangers must not take all places (libvirt's max_anonymous_clients). */
const MAX_STRANGERS = 20;
/** Without a right to write there is nothing to take; everybody may look when that is configured. */
const READ_ONLY_MODE = 0o666;

/** Starts to serve. @throws VirtError file.*, config.invalid; never because another daemon is there */
export async function serveLibvirt(options: LibvirtServerOptions): Promise<LibvirtServer> {
  const server = new LibvirtServer(options);
  await server.start();
  return server;
}

export class LibvirtServer {
  private readonly options: LibvirtServerOptions;
  private readonly handlers: HandlerTable;
  private readonly listeners: Server[] = [];
  private readonly links: { readonly path: string; readonly target: string }[] = [];
  private readonly connections = new Set<LibvirtConnection>();
  private readonly unsubscribe: () => void;
  private readonly failures = new Failures();
  private directory: string;
  private nextId = 1;

  constructor(options: LibvirtServerOptions) {
    this.options = options;
    this.directory = options.directory;
    this.handlers = buildHandlerTable(options.engine);
    this.unsubscribe = options.subscribe((event) => this.onEvent(event));
  }

  get clientCount(): number {
    return this.connections.size;
  }

  get subscriptionCount(): number {
    let count = 0;
    for (const connection of this.connections)
      count += connection.callbacks.count + connection.monitorCallbacks.count;
    return count;
  }

  /** The socket that clients are served on. */
  get socketPath(): string {
    return join(this.directory, socketName);
  }

  /** @throws VirtError file.*, config.invalid */
  async start(): Promise<void> {
    const { directory, fallbackDirectory, rights, readOnlySocket, log } = this.options;
    const refusal = await this.tryDirectory(directory);
    if (refusal !== undefined) {
      // A living daemon keeps its sockets: we serve beside it, and say who it is.
      const uri = `qemu:///${this.options.mode}?socket=${join(fallbackDirectory, socketName)}`;
      log.warn({ directory, owner: refusal, uri }, 'another daemon serves libvirt clients there');
      await this.prepare(fallbackDirectory);
      await this.listen(socketName, rights, false);
    }
    if (readOnlySocket) await this.listen(readOnlySocketName, { mode: READ_ONLY_MODE }, true);
  }

  /** Listens in a directory; who is in the way, when somebody is. */
  private async tryDirectory(directory: string): Promise<string | undefined> {
    if (this.options.early?.directory === directory) {
      this.directory = directory;
      this.keepListener(this.options.early.handOver((socket) => this.take(socket, false)));
      this.link(socketName, false);
      return undefined;
    }
    const owner = socketOwner(join(directory, socketName));
    if (owner !== undefined) return describeOwner(owner);
    await this.prepare(directory);
    try {
      await this.listen(socketName, this.options.rights, false);
    } catch (error) {
      // In another network namespace the kernel's list shows nothing; then the attempt tells.
      if (isVirtError(error, 'daemon.running') || isVirtError(error, 'file.exists')) return error.reason;
      throw error;
    }
    return undefined;
  }

  private async prepare(directory: string): Promise<void> {
    this.directory = directory;
    await ensureDirectory(directory, this.options.mode === 'system' ? 0o755 : 0o700);
  }

  /** Takes no more clients, lets calls in work end, at most `graceMs`, then closes all connections. */
  async close(graceMs = 2000): Promise<void> {
    this.unsubscribe();
    const closed = this.listeners.map(
      (server) => new Promise<void>((resolve) => server.close(() => resolve())),
    );
    for (const { path, target } of this.links) unlinkSocket(path, target);
    for (const connection of this.connections) connection.stop();
    const timer = setTimeout(() => {
      for (const connection of this.connections) connection.destroy();
    }, graceMs);
    await Promise.all(closed);
    while (this.connections.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    clearTimeout(timer);
  }

  private async listen(
    name: string,
    rights: { readonly mode: number; readonly gid?: number },
    readOnly: boolean,
  ): Promise<void> {
    const server = createServer({ pauseOnConnect: true }, (socket) => this.take(socket, readOnly));
    await listenOn(server, { path: join(this.directory, name), ...rights });
    this.keepListener(server);
    this.link(name, readOnly);
  }

  private keepListener(server: Server): void {
    server.on('error', (error) => this.options.log.error({ err: error }, 'a libvirt socket failed'));
    this.listeners.push(server);
  }

  /** Lets the names of libvirt's modular daemons lead to that socket. */
  private link(name: string, readOnly: boolean): void {
    for (const alias of modularNames(readOnly)) {
      const path = join(this.directory, alias);
      if (linkSocket(path, name)) this.links.push({ path, target: name });
      else
        this.options.log.warn(
          { socket: path, owner: describeOwner(socketOwner(path)) },
          'a socket of another daemon stays',
        );
    }
  }

  private take(socket: Socket, readOnly: boolean): void {
    const { log } = this.options;
    socket.on('error', (error) => log.debug({ err: error }, 'client socket failed'));
    try {
      this.admit(socket, readOnly);
    } catch (error) {
      log.warn({ reason: reasonOf(error) }, 'refused a client');
    } finally {
      // The connection has a descriptor of its own.
      socket.destroy();
    }
  }

  /** For the flight recorder. */
  private noteChange({ uuid, procedure, peer, ms, error }: DomainCall): void {
    const facts = { uid: peer.uid, pid: peer.pid, ms, ...(error !== undefined && { error }) };
    this.options.engine.recorder?.note(uuid, 'call', `libvirt ${procedure}`, facts);
  }

  /** A descriptor of our own, so that how much is read, and when, is ours to decide: descriptors come between bytes. */
  private admit(socket: Socket, isReadOnlySocket: boolean): void {
    const fd = descriptorOf(socket);
    const peer = peerCredentials(fd);
    if (this.options.mode === 'session' && peer.uid !== process.getuid?.() && peer.uid !== 0)
      throw new Error('this is the daemon of another user');
    const authenticate = this.authentication(peer, isReadOnlySocket);
    this.checkRoom(isReadOnlySocket, authenticate !== undefined);
    const facts = { uid: peer.uid, pid: peer.pid };
    this.keep(facts, {
      fd: duplicateAbove(fd, 3),
      peer,
      isReadOnlySocket,
      ...(authenticate && { authenticate }),
    });
  }

  /**
   * A client of another host: what is written into the answer is what it says. Without `users` it may do what root may.
   * @throws Error when there is no room
   */
  openRemote(remote: RemoteClient, users: SaslUsers | undefined): Socket {
    this.checkRoom(false, users !== undefined);
    const [ours, theirs] = socketPair();
    try {
      const { address, certificate } = remote;
      this.keep(
        { address, ...(certificate !== undefined && { certificate }) },
        {
          fd: ours,
          peer: { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0, pid: process.pid },
          isReadOnlySocket: false,
          remote,
          ...(users && { sasl: { users, failures: this.failures } }),
        },
      );
      return new Socket({ fd: theirs, readable: true, writable: true });
    } catch (error) {
      close(theirs);
      throw error;
    }
  }

  /** A connection from its first byte on; `facts` stand in each line of its log. */
  private keep(
    facts: Readonly<Record<string, unknown>>,
    client: Pick<ConnectionOptions, 'fd' | 'peer' | 'isReadOnlySocket' | 'authenticate' | 'remote' | 'sasl'>,
  ): void {
    const id = `l${this.nextId++}`;
    const log = this.options.log.child({ client: id, ...facts });
    const connection = new LibvirtConnection({
      ...client,
      id,
      handlers: this.handlers,
      descriptors: kernelDescriptorPassing,
      log,
      onChange: (change) => this.noteChange(change),
      onGone: () => {
        this.connections.delete(connection);
        log.debug('client gone');
        this.options.onClientsChange();
      },
    });
    this.connections.add(connection);
    log.debug('client connected');
    this.options.onClientsChange();
    connection.start();
  }

  /** How this peer has to authenticate; undefined when it need not. @throws Error when it has gone already */
  private authentication(
    peer: PeerCredentials,
    isReadOnlySocket: boolean,
  ): (() => Promise<void>) | undefined {
    const { authority, log } = this.options;
    if (authority === undefined || peer.uid === 0 || peer.uid === process.geteuid?.()) return undefined;
    // Now, and once: later another process may have that number.
    const startTimeTicks = processStartTime(peer.pid);
    if (startTimeTicks === undefined) throw new Error('its process has ended');
    const action = isReadOnlySocket ? polkitActions.monitor : polkitActions.manage;
    return async () => {
      await authority.check({ pid: peer.pid, uid: peer.uid, startTimeTicks }, action);
      log.info({ uid: peer.uid, pid: peer.pid, action }, 'polkit lets a client in');
    };
  }

  private checkRoom(isReadOnlySocket: boolean, isStranger: boolean): void {
    if (isStranger) {
      const strangers = [...this.connections].filter((connection) => connection.mustAuthenticate).length;
      if (strangers >= MAX_STRANGERS) throw new Error(`${strangers} clients have not authenticated yet`);
    }
    let count = 0;
    for (const connection of this.connections) if (connection.isReadOnlySocket === isReadOnlySocket) count++;
    const max = isReadOnlySocket ? MAX_READ_ONLY_CLIENTS : MAX_CLIENTS;
    if (count >= max) throw new Error(`there are ${max} clients already`);
  }

  private onEvent(event: PublishedEvent): void {
    if (this.connections.size === 0) return;
    for (const outgoing of translate(event))
      for (const connection of this.connections) connection.deliver(outgoing);
  }
}

function describeOwner(owner: SocketOwner | undefined): string {
  if (owner?.pid === undefined) return 'unknown';
  return `${owner.program} (pid ${owner.pid})`;
}

/** The descriptor of a socket: Node keeps it in its handle. @throws Error when there is none */
function descriptorOf(socket: Socket): number {
  const handle = (socket as Socket & { readonly _handle?: { readonly fd?: number } | null })._handle;
  if (handle?.fd === undefined || handle.fd < 0) throw new Error('the socket has no descriptor');
  return handle.fd;
}
