/** A JSON-RPC server over a real unix socket with hand-written handlers, and a raw client that speaks lines. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { connectVireo, type VireoClient } from '../../../src/api/client.ts';
import { methods, type PublishedEvent } from '../../../src/api/index.ts';
import { silentLogger } from '../../../src/base/log.ts';
import type { Handlers } from '../../../src/daemon/frontends/jsonrpc/handlers.ts';
import {
  type JsonRpcServer,
  type JsonRpcServerOptions,
  serveJsonRpc,
} from '../../../src/daemon/frontends/jsonrpc/server.ts';

/** Handlers that fail by a bug, but for those given. */
export function fakeHandlers(handlers: Partial<Handlers> = {}): Handlers {
  const all: Record<string, unknown> = {};
  for (const name of Object.keys(methods)) all[name] = () => Promise.reject(new Error(`unexpected ${name}`));
  return {
    ...all,
    'daemon.ping': () => Promise.resolve({}),
    'event.subscribe': (
      filter: Parameters<Handlers['event.subscribe']>[0],
      context: Parameters<Handlers['event.subscribe']>[1],
    ) => Promise.resolve({ subscription: context.connection.subscribe(filter) }),
    ...handlers,
  } as unknown as Handlers;
}

/** A bus that tests publish on. */
export function fakeEvents() {
  const listeners = new Set<(event: PublishedEvent) => void>();
  return {
    source: (listener: (event: PublishedEvent) => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    publish: (event: PublishedEvent) => {
      for (const listener of listeners) listener(event);
    },
  };
}

export const someDomain = { uuid: '0b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8', name: 'web', id: 3 };

export const started: PublishedEvent = { event: 'domain.started', domain: someDomain, reason: 'booted' };

export interface Rig {
  readonly server: JsonRpcServer;
  readonly path: string;
  readonly directory: string;
  readonly raw: () => Promise<RawClient>;
  readonly client: () => Promise<VireoClient>;
}

/** Starts a server that ends with the test. */
export async function startServer(options: Partial<JsonRpcServerOptions> = {}): Promise<Rig> {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-rpc-'));
  const path = join(directory, 's');
  const server = await serveJsonRpc({
    listen: { path, mode: 0o600 },
    mode: 'session',
    handlers: fakeHandlers(),
    events: fakeEvents().source,
    log: silentLogger,
    ...options,
  });
  onTestFinished(async () => {
    await server.close(100);
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    server,
    path,
    directory,
    raw: () => RawClient.open(path),
    client: () => connectVireo({ socketPath: path }),
  };
}

/** Sends bytes as they are and collects the lines that come back. */
export class RawClient {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  private text = '';
  private readonly lines: string[] = [];
  private wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {}); // being cut is what many of these tests want
    socket.on('data', (chunk) => {
      this.text += chunk.toString('utf8');
      const parts = this.text.split('\n');
      this.text = parts.pop() ?? '';
      this.lines.push(...parts.filter((line) => line !== ''));
      this.wake();
    });
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        resolve();
        this.wake();
      });
      socket.once('end', () => socket.end());
    });
    onTestFinished(() => {
      socket.destroy();
    });
  }

  /** Connects; tries again while the queue of new connections is full (libuv accepts one in each turn of its loop). */
  static async open(path: string): Promise<RawClient> {
    for (;;) {
      const socket = connect({ path, allowHalfOpen: true });
      const failure = await new Promise<Error | undefined>((resolve) => {
        socket.once('error', resolve);
        socket.once('connect', () => resolve(undefined));
      });
      if (failure === undefined) return new RawClient(socket);
      if ((failure as NodeJS.ErrnoException).code !== 'EAGAIN') throw failure;
      await sleep(5);
    }
  }

  send(data: string | Buffer): void {
    this.socket.write(data);
  }

  sendLine(message: unknown): void {
    this.send(`${JSON.stringify(message)}\n`);
  }

  /** The next message; undefined when the server closed the connection. */
  async next(): Promise<unknown> {
    while (this.lines.length === 0) {
      if (this.socket.destroyed) return undefined;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    return JSON.parse(this.lines.shift() ?? '') as unknown;
  }

  async ask(message: unknown): Promise<unknown> {
    this.sendLine(message);
    return this.next();
  }

  /** Messages that have come and were not taken yet. */
  get waiting(): number {
    return this.lines.length;
  }
}

export const ping = (id: number | string | null) => ({ jsonrpc: '2.0', id, method: 'daemon.ping' });

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Waits for a condition, at most 5 s. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 5000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error('the condition did not come true in 5 s');
    await sleep(5);
  }
}

/** The error of a response, for matching. */
export function errorOf(message: unknown): { code: number; message: string; data: Record<string, unknown> } {
  return (message as { error: { code: number; message: string; data: Record<string, unknown> } }).error;
}
