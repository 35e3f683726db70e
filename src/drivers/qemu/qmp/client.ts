/** A QMP connection: commands with deadlines, replies matched by id, events, and an end that is always told. */
import { connect, type Socket } from 'node:net';
import { VirtError } from '../../../base/errors.ts';
import { isObject, protocolError, type QmpObject } from './codec.ts';
import { type CommandArgs, type CommandName, type CommandResult, commands } from './commands.ts';
import type { QmpListener } from './events.ts';
import {
  closedError,
  type MonitorReply,
  type QmpEnd,
  type QmpVersion,
  QmpWire,
  timeoutError,
} from './wire.ts';

export type { QmpEnd, QmpVersion } from './wire.ts';

/** A QMP command gets 30 s unless its caller knows better (docs/security.md, limits). */
export const DEFAULT_COMMAND_MS = 30_000;

export interface QmpOptions {
  /** For connecting, the greeting and qmp_capabilities together. */
  readonly timeoutMs: number;
  /** For each command afterwards that says nothing else (default 30 s). */
  readonly commandMs?: number;
  readonly signal?: AbortSignal;
  /**
   * Sends commands right behind qmp_capabilities, without waiting for its answer: QEMU, still busy making its devices,
   * then finds them all at once. What the commands answer is theirs; they fail with the handshake.
   */
  readonly early?: (client: QmpClient) => void;
  /** Gets what an event listener throws, and protocol violations. Default: nothing listens. */
  readonly onProblem?: (error: unknown) => void;
  /** Hears how each command ended, for a record. */
  readonly onReply?: (reply: MonitorReply) => void;
}

export interface CommandOptions {
  readonly timeoutMs?: number;
  /** A descriptor that goes with the command; it stays the caller's. */
  readonly fd?: number;
}

/**
 * One monitor connection after its handshake. Any violation of the protocol (no JSON, unknown or repeated ids, wrong
 * types, too long, too deep) closes it; every command in work then fails with that error.
 */
export class QmpClient {
  /** Settles once, never rejects, when the connection is over, by either side. */
  readonly closed: Promise<QmpEnd>;
  readonly version: QmpVersion;
  private readonly wire: QmpWire;
  /** How long a command may take that says nothing else. */
  readonly commandMs: number;

  constructor(wire: QmpWire, version: QmpVersion, commandMs: number) {
    this.wire = wire;
    this.commandMs = commandMs;
    this.version = version;
    this.closed = wire.closed;
  }

  /**
   * Runs one command of the table and gives its parsed result.
   * @throws VirtError qmp.failed (details: class, desc), qmp.timeout (the connection lives on), qmp.closed,
   *   qmp.protocol (when the result isn't what QAPI says)
   */
  async execute<N extends CommandName>(
    command: N,
    ...rest: undefined extends CommandArgs<N>
      ? [args?: CommandArgs<N>, options?: CommandOptions]
      : [args: CommandArgs<N>, options?: CommandOptions]
  ): Promise<CommandResult<N>> {
    const [args, options] = rest;
    const value = await this.executeRaw(command, args as QmpObject | undefined, options);
    const parsed = commands[command].result.safeParse(value);
    if (parsed.success) return parsed.data as CommandResult<N>;
    const issue = parsed.error.issues[0];
    throw protocolError(
      `the reply to ${command} is not as expected: ${issue?.path.join('.')}: ${issue?.message}`,
    );
  }

  /** Runs any command; the result is nobody's promise. Errors as `execute`. */
  executeRaw(command: string, args?: QmpObject, options: CommandOptions = {}): Promise<unknown> {
    return this.wire.send(command, args, options.timeoutMs ?? this.commandMs, options.fd);
  }

  /** Runs commands that are sent without waiting for one another: QEMU finds them all at once. None with a descriptor. */
  together<T>(send: () => T): T {
    return this.wire.together(send);
  }

  /** Gives QEMU a copy of a descriptor under a name, for a command that takes one (QMP getfd). */
  async passDescriptor(fdname: string, fd: number): Promise<void> {
    await this.wire.send('getfd', { fdname }, this.commandMs, fd);
  }

  /** Gives QEMU a copy of a descriptor for a set, which is made when it is not there; its number in QEMU. */
  async addDescriptor(
    fd: number,
    args: { readonly 'fdset-id'?: number; readonly opaque?: string },
  ): Promise<{ readonly set: number; readonly fd: number }> {
    const value = await this.wire.send('add-fd', args, this.commandMs, fd);
    const parsed = commands['add-fd'].result.safeParse(value);
    if (!parsed.success) throw protocolError('the reply to add-fd is not as expected');
    return { set: parsed.data['fdset-id'], fd: parsed.data.fd };
  }

  /** Calls the listener for each event, synchronously and in order; the result ends that. */
  onEvent(listener: QmpListener): () => void {
    return this.wire.events.subscribe(listener);
  }

  /** From now on work that is given up is heeded (base/late-answers.ts): late answers count, and nothing more is begun. */
  heedLateness(): void {
    this.wire.heedsLateness = true;
  }

  get isOpen(): boolean {
    return this.wire.end === undefined;
  }

  /** Lets go of the monitor; QEMU goes on. Commands in work fail with qmp.closed. */
  close(): void {
    this.wire.finish(closedError('the connection was closed by us'));
  }
}

/**
 * Waits for the greeting on a connected socket and leaves capabilities negotiation behind.
 * @throws VirtError qmp.timeout, qmp.closed, qmp.protocol, qmp.failed, operation.aborted; the socket is closed then
 */
export async function openQmp(socket: Socket, options: QmpOptions): Promise<QmpClient> {
  const wire = new QmpWire(socket, options.onProblem ?? (() => undefined));
  wire.onReply = options.onReply;
  const deadline = Date.now() + options.timeoutMs;
  const timer = setTimeout(
    () => wire.finish(timeoutError('the QMP handshake', options.timeoutMs)),
    options.timeoutMs,
  );
  const abort = (): void => wire.finish(abortedError());
  options.signal?.addEventListener('abort', abort);
  try {
    if (options.signal?.aborted) abort();
    const version = await wire.greeting;
    const client = new QmpClient(wire, version, options.commandMs ?? DEFAULT_COMMAND_MS);
    const answered = wire.send('qmp_capabilities', undefined, Math.max(1, deadline - Date.now()));
    options.early?.(client);
    if (!isObject(await answered)) throw protocolError('the reply to qmp_capabilities is not an object');
    return client;
  } catch (error) {
    if (error instanceof VirtError) wire.finish(error);
    throw error;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', abort);
  }
}

function abortedError(): VirtError {
  return new VirtError('operation.aborted', { wanted: 'open the QEMU monitor', reason: 'cancelled' });
}

/**
 * Connects to a monitor's unix socket (at most 107 bytes long) and opens it. The listening socket must be there; QEMU's
 * greeting may come later. Errors as `openQmp`.
 */
export async function connectQmp(path: string, options: QmpOptions): Promise<QmpClient> {
  if (Buffer.byteLength(path) > 107)
    throw new VirtError('qmp.closed', {
      wanted: `connect to ${path}`,
      reason: 'the path of a unix socket is at most 107 bytes long',
    });
  return openQmp(connect({ path }), options);
}
