/** Serial ports, consoles and channels of a running guest as byte streams: pseudo terminals and unix sockets. */
import { closeSync, constants, fstatSync, open } from 'node:fs';
import { connect, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { ReadStream } from 'node:tty';
import { promisify } from 'node:util';
import { errnoOf, fileError, VirtError } from '../../base/errors.ts';
import type { FoundConsole } from './find-device.ts';

const openDescriptor = promisify(open);

/** Majors of the slaves of Unix98 pseudo terminals (Linux: Documentation/admin-guide/devices.txt, 136-143 char). */
const PTY_MAJORS = { first: 136, last: 143 } as const;

/** Where a console of a guest is to be had. */
export type ConsoleEnd =
  | { readonly kind: 'pty'; readonly path: string; readonly ownerUid: number }
  | { readonly kind: 'socket'; readonly path: string };

/** The end of a console that was found: a pseudo terminal has to belong to the guest's own user. */
export function consoleEnd({ kind, path }: FoundConsole, ownerUid: number): ConsoleEnd {
  return kind === 'pty' ? { kind, path, ownerUid } : { kind, path };
}

/**
 * Opens the slave side of a pseudo terminal. The path comes from QEMU, which is not trusted: it must be a pseudo
 * terminal that belongs to the guest's own user, and it never becomes our controlling terminal.
 * @throws VirtError stream.failed, file.*
 */
async function openPty(path: string, ownerUid: number): Promise<Duplex> {
  if (!isPtyPath(path)) throw refuse(path, 'is no pseudo terminal');
  const fd = await openTerminal(path);
  try {
    const { rdev, uid } = fstatSync(fd);
    const major = Math.floor(rdev / 256) % 4096;
    if (major < PTY_MAJORS.first || major > PTY_MAJORS.last) throw refuse(path, 'is no pseudo terminal');
    if (uid !== ownerUid) throw refuse(path, 'belongs to another user than the guest');
    return streamOn(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

export function isPtyPath(path: string): boolean {
  return /^\/dev\/pts\/\d{1,7}$/.test(path);
}

/** A plain descriptor, not a FileHandle: the stream will own and close it. */
async function openTerminal(path: string): Promise<number> {
  const flags = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
  try {
    return await openDescriptor(path, flags);
  } catch (error) {
    throw fileError(error, 'open a console', path);
  }
}

function refuse(path: string, why: string): VirtError {
  return new VirtError('stream.failed', { wanted: 'open a console', reason: `${path} ${why}` });
}

/**
 * A duplex stream on a terminal, which owns the descriptor from now on. tty.ReadStream is a socket, so it writes too.
 * When QEMU ends, reading ends as well (the kernel says EIO).
 */
function streamOn(fd: number): Duplex {
  const stream = new ReadStream(fd);
  // Bytes as they are: no echo, no line editing (the guest's own terminal does that).
  stream.setRawMode(true);
  return stream;
}

/** Connects to the unix socket of a channel or console. @throws VirtError stream.failed */
export function openSocket(path: string): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.off('error', onError);
      resolve(socket);
    });
    const onError = (cause: Error): void => {
      reject(
        new VirtError('stream.failed', {
          wanted: 'open a console',
          reason: `${path}: ${errnoOf(cause) ?? cause.message}`,
          cause,
        }),
      );
    };
    socket.once('error', onError);
  });
}

/** So long nothing must have come for a console to count as read out, and so long that is waited for at most. */
const QUIET_MS = 30;
const DRAIN_MS = 500;

/** Both kinds of console are sockets to Node, which count what came. */
function bytesRead(stream: Duplex): number {
  return stream instanceof Socket ? stream.bytesRead : 0;
}

/** The consoles of one guest: each has one user at a time. */
export class ConsoleTable {
  private readonly users = new Map<string, Duplex>();

  /**
   * Opens a console for one user.
   * @throws VirtError domain.busy when it has a user and `force` is false; with `force` that one is disconnected
   */
  async open(alias: string, end: ConsoleEnd, options: { readonly force: boolean }): Promise<Duplex> {
    const user = this.users.get(alias);
    if (user !== undefined && !options.force)
      throw new VirtError('domain.busy', {
        wanted: `open ${alias}`,
        reason: 'somebody else is connected to it',
        hint: 'use force to disconnect the other',
      });
    user?.destroy();
    const stream = end.kind === 'pty' ? await openPty(end.path, end.ownerUid) : await openSocket(end.path);
    // Two may have come here at once; the later one wins, as with force, and nobody is left half connected.
    this.users.get(alias)?.destroy();
    this.users.set(alias, stream);
    stream.on('error', () => stream.destroy()); // EIO and ECONNRESET: the guest has ended. 'close' follows.
    stream.once('close', () => {
      if (this.users.get(alias) === stream) this.users.delete(alias);
    });
    return stream;
  }

  /**
   * Waits until no console has been read for a moment, at most DRAIN_MS: a client that doesn't read can't hold a guest.
   */
  async drain(): Promise<void> {
    const deadline = performance.now() + DRAIN_MS;
    let before = -1;
    for (;;) {
      const now = [...this.users.values()].reduce((sum, stream) => sum + bytesRead(stream), 0);
      if (this.users.size === 0 || now === before || performance.now() > deadline) return;
      before = now;
      await sleep(QUIET_MS);
    }
  }

  /** Disconnects everybody. */
  close(): void {
    for (const stream of this.users.values()) stream.destroy();
    this.users.clear();
  }
}
