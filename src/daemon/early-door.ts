/**
 * The door for libvirt's clients of a session, open before the daemon's own code is loaded. A stock client that starts a
 * session daemon gives it five seconds until it can connect (virNetSocketNewConnectUNIX); then it waits as long as it takes
 * for an answer. Loading takes longer than that on a busy host, so whoever connects meanwhile is kept in line.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { isVirtError } from '../base/errors.ts';
import { ensureDirectory } from '../base/files.ts';
import type { DaemonArguments } from './arguments.ts';
import { listenOn } from './frontends/jsonrpc/listen.ts';
import { socketOwner } from './frontends/libvirt/owner.ts';
import {
  linkSocket,
  modularNames,
  socketDirectory,
  socketName,
  unlinkSocket,
} from './frontends/libvirt/sockets.ts';
import { takeLock } from './lock.ts';
import { daemonPaths } from './paths.ts';

/** Of a session nobody else may connect. */
const PRIVATE = 0o600;

/** A listening socket whose clients wait. */
export class EarlyDoor {
  readonly directory: string;
  /** Whoever connects is paused: not a byte is read. */
  readonly server: Server;
  private waiting: Socket[] = [];
  private isTaken = false;
  private onClient = (socket: Socket): void => {
    // Who gives up meanwhile is seen when it is its turn.
    socket.on('error', () => undefined);
    this.waiting.push(socket);
  };

  constructor(directory: string) {
    this.directory = directory;
    this.server = createServer({ pauseOnConnect: true }, (socket) => this.onClient(socket));
  }

  /** Listens, with the names of the modular daemons leading here. @throws VirtError daemon.running, file.* */
  async open(): Promise<void> {
    await ensureDirectory(this.directory, 0o700);
    await listenOn(this.server, { path: join(this.directory, socketName), mode: PRIVATE });
    for (const name of modularNames(false)) linkSocket(join(this.directory, name), socketName);
  }

  /** From now on clients are the caller's, those in line first. Who closes the server takes the links away too. */
  handOver(admit: (socket: Socket) => void): Server {
    this.isTaken = true;
    this.onClient = admit;
    for (const socket of this.waiting.splice(0)) admit(socket);
    return this.server;
  }

  /** Closes it with all who wait, unless it was handed over: the daemon does not start, or serves elsewhere. */
  abandon(): void {
    if (this.isTaken) return;
    for (const socket of this.waiting.splice(0)) socket.destroy();
    for (const name of modularNames(false)) unlinkSocket(join(this.directory, name), socketName);
    this.server.close();
  }
}

/**
 * Takes the daemon's lock and opens the door; undefined where there is none to be opened early: in system mode and
 * below --root, where nobody starts the daemon by connecting, and where another daemon has the place or a file is in the way (who opens the
 * doors later says so).
 * @throws VirtError daemon.running when another daemon has these paths; file.*
 */
export async function openEarlyDoor(args: DaemonArguments): Promise<EarlyDoor | undefined> {
  if (args.mode !== 'session' || args.root !== undefined) return undefined;
  const paths = daemonPaths(args);
  await ensureDirectory(dirname(paths.lock), 0o700);
  takeLock(paths.lock);
  const directory = socketDirectory(paths);
  const door = new EarlyDoor(directory);
  try {
    if (socketOwner(join(directory, socketName)) !== undefined) return undefined;
    await door.open();
    return door;
  } catch (error) {
    if (!isVirtError(error)) throw error;
    return undefined;
  }
}
