/** The JSON-RPC front end: listens on a unix socket, takes clients in, and lets them go when the daemon stops. */
import { createServer, type Server, type Socket } from 'node:net';
import { reasonOf } from '../../../base/errors.ts';
import { peerCredentials } from '../../../base/ffi.ts';
import type { Logger } from '../../../base/log.ts';
import type { DaemonMode } from '../../paths.ts';
import { Connection, type ConnectionLimits, defaultConnectionLimits } from './connection.ts';
import type { EventSource, Handlers, Peer } from './handlers.ts';
import { type ListenTarget, listenOn } from './listen.ts';
import { formatError, invalidRequest } from './protocol.ts';
import { EventFanout } from './subscriptions.ts';

export interface JsonRpcServerOptions {
  readonly listen: ListenTarget;
  readonly mode: DaemonMode;
  readonly handlers: Handlers;
  readonly events: EventSource;
  readonly log: Logger;
  /** A socket whose clients may only look. */
  readonly readOnly?: boolean;
  /** Clients at once (default 500). */
  readonly maxClients?: number;
  readonly limits?: Partial<ConnectionLimits>;
  /** Called when the number of clients has changed (a session daemon without any ends after a while). */
  readonly onClientsChange?: (count: number) => void;
  /** How a socket's peer is found; the kernel is asked when not given. */
  readonly peerOf?: (socket: Socket) => Peer;
}

const DEFAULT_MAX_CLIENTS = 500;
/** So many more connections are kept for root, who must get in when others have taken all. */
const ADMIN_RESERVE = 10;

/** Starts to serve. @throws VirtError daemon.running, file.exists, file.denied, config.invalid */
export async function serveJsonRpc(options: JsonRpcServerOptions): Promise<JsonRpcServer> {
  const server = new JsonRpcServer(options);
  await server.start();
  return server;
}

/** The running front end. */
export class JsonRpcServer {
  private readonly options: JsonRpcServerOptions;
  private readonly limits: ConnectionLimits;
  private readonly maxClients: number;
  private readonly server: Server;
  private readonly events: EventFanout;
  private readonly connections = new Map<Connection, Socket>();
  private nextConnection = 1;
  private isStopping = false;

  constructor(options: JsonRpcServerOptions) {
    this.options = options;
    this.limits = { ...defaultConnectionLimits, ...options.limits };
    this.maxClients = options.maxClients ?? DEFAULT_MAX_CLIENTS;
    this.events = new EventFanout(options.events);
    // Half-open: a client may end its sending (`nc -N`) and still get its answers.
    this.server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => this.take(socket));
    this.server.on('error', (error) => options.log.error({ err: error }, 'the socket failed'));
  }

  get clientCount(): number {
    return this.connections.size;
  }

  get subscriptionCount(): number {
    let count = 0;
    for (const connection of this.connections.keys()) count += connection.subscriptionCount;
    return count;
  }

  async start(): Promise<void> {
    await listenOn(this.server, this.options.listen);
  }

  /** Takes no more clients, lets requests in work end, at most `graceMs`, then closes all connections. */
  async close(graceMs = 2000): Promise<void> {
    this.isStopping = true;
    const closed = new Promise<void>((resolve) => {
      this.server.close(() => resolve());
    });
    const gone = [...this.connections.values()].map(
      (socket) =>
        new Promise<void>((resolve) => {
          socket.once('close', () => resolve());
        }),
    );
    this.events.close();
    for (const connection of this.connections.keys()) connection.stop();
    const timer = setTimeout(() => this.destroyAll(), graceMs);
    await Promise.all([closed, ...gone]);
    clearTimeout(timer);
  }

  private destroyAll(): void {
    for (const socket of this.connections.values()) socket.destroy();
  }

  private take(socket: Socket): void {
    // Until the connection has its own listeners; 'close' follows an error.
    socket.on('error', (error) => this.options.log.debug({ err: error }, 'client socket failed'));
    let peer: Peer;
    try {
      peer = (this.options.peerOf ?? socketPeer)(socket);
    } catch (error) {
      this.options.log.warn({ reason: reasonOf(error) }, 'refused a client of unknown identity');
      socket.destroy();
      return;
    }
    const refusal = this.refusalOf(peer);
    if (refusal === undefined) this.admit(socket, peer);
    else this.refuse(socket, peer, refusal);
  }

  /** Why a client is not taken; undefined when it is. */
  private refusalOf(
    peer: Peer,
  ): { code: 'access.denied' | 'request.busy' | 'daemon.stopping'; reason: string } | undefined {
    if (this.isStopping) return { code: 'daemon.stopping', reason: 'the daemon is stopping' };
    // In system mode the socket's owner, group and mode decide who may connect; see docs/architecture.md.
    if (this.options.mode === 'session' && peer.uid !== process.getuid?.() && peer.uid !== 0)
      return { code: 'access.denied', reason: 'this is the daemon of another user' };
    if (this.connections.size < this.maxClients || this.cutOneIdle()) return undefined;
    if (peer.uid === 0 && this.connections.size < this.maxClients + ADMIN_RESERVE) return undefined;
    return { code: 'request.busy', reason: `the daemon has ${this.maxClients} clients already` };
  }

  /** Makes place by cutting the oldest connection that has never said anything of meaning. */
  private cutOneIdle(): boolean {
    for (const connection of this.connections.keys()) {
      if (connection.isTrusted) continue;
      connection.cut('others wait for its place');
      this.connections.delete(connection);
      return true;
    }
    return false;
  }

  private refuse(
    socket: Socket,
    peer: Peer,
    refusal: { code: 'access.denied' | 'request.busy' | 'daemon.stopping'; reason: string },
  ): void {
    this.options.log.warn({ ...peer, reason: refusal.reason }, 'refused a client');
    const { object } = invalidRequest(refusal.reason, null, refusal.code);
    socket.end(`${formatError(null, object)}\n`, () => socket.destroy());
  }

  private admit(socket: Socket, peer: Peer): void {
    const id = `c${this.nextConnection}`;
    this.nextConnection += 1;
    const log = this.options.log.child({ client: id, uid: peer.uid, pid: peer.pid });
    const connection = new Connection({
      id,
      socket,
      peer,
      readOnly: this.options.readOnly ?? false,
      handlers: this.options.handlers,
      events: this.events,
      log,
      limits: this.limits,
    });
    this.connections.set(connection, socket);
    log.debug('client connected');
    socket.once('close', () => {
      this.connections.delete(connection);
      log.debug('client gone');
      this.options.onClientsChange?.(this.connections.size);
    });
    this.options.onClientsChange?.(this.connections.size);
    socket.resume();
  }
}

/** The descriptor of a socket: Node keeps it in its handle. @throws Error when there is none */
function socketPeer(socket: Socket): Peer {
  const handle = (socket as Socket & { readonly _handle?: { readonly fd?: number } | null })._handle;
  if (handle?.fd === undefined || handle.fd < 0) throw new Error('the socket has no descriptor');
  return peerCredentials(handle.fd);
}
