/** A daemon for the CLI's tests: speaks the protocol on a socket, answers as the test says, remembers what was asked. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MethodName, methods, type Result } from '../../../src/api/index.ts';
import { VirtError } from '../../../src/base/errors.ts';

type Answers = { [Name in MethodName]?: (params: never, connection: Socket) => unknown };

export interface Call {
  readonly method: string;
  readonly params: unknown;
}

/** Params are checked against the declarations: a CLI that sends what the contract refuses fails its test. */
export class FakeDaemon {
  readonly directory = mkdtempSync(join(tmpdir(), 'vireo-cli-'));
  readonly socketPath = join(this.directory, 'vireo.sock');
  readonly calls: Call[] = [];
  readonly connections = new Set<Socket>();
  answers: Answers;
  private readonly server: Server;

  constructor(answers: Answers) {
    this.answers = answers;
    this.server = createServer((socket) => this.serve(socket));
  }

  static async start(answers: Answers): Promise<FakeDaemon> {
    const daemon = new FakeDaemon(answers);
    await new Promise<void>((done) => daemon.server.listen(daemon.socketPath, done));
    return daemon;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.connections) socket.destroy();
    await new Promise((done) => this.server.close(done));
    rmSync(this.directory, { recursive: true });
  }

  /** Names of the methods called, in order. */
  get asked(): string[] {
    return this.calls.map((call) => call.method);
  }

  /** The params of the last call of a method. */
  paramsOf(method: MethodName): unknown {
    return this.calls.findLast((call) => call.method === method)?.params;
  }

  private serve(socket: Socket): void {
    this.connections.add(socket);
    socket.on('close', () => this.connections.delete(socket));
    socket.on('error', () => socket.destroy());
    let rest = '';
    const onData = (chunk: Buffer) => {
      const lines = (rest + chunk.toString('utf8')).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const request = JSON.parse(line) as { id: number; method: MethodName; params?: unknown };
        const declaration = methods[request.method];
        if ('upgrade' in declaration && declaration.upgrade) socket.off('data', onData);
        void this.answer(socket, request);
      }
    };
    socket.on('data', onData);
  }

  private async answer(
    socket: Socket,
    request: { readonly id: number; readonly method: MethodName; readonly params?: unknown },
  ): Promise<void> {
    const { id, method } = request;
    try {
      const params: unknown = methods[method].params.parse(request.params ?? {});
      this.calls.push({ method, params });
      const handler = this.answers[method] as ((params: unknown, socket: Socket) => unknown) | undefined;
      if (!handler) throw new Error(`the test answers no '${method}'`);
      // The stream of an upgrade begins behind the answer.
      const { after, ...result } = Object(await handler(params, socket)) as { readonly after?: () => void };
      socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`);
      after?.();
    } catch (error) {
      socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, error: errorObject(error) })}\n`);
    }
  }
}

function errorObject(error: unknown): object {
  if (!(error instanceof VirtError))
    return { code: -32_603, message: String(error), data: { code: 'internal.error' } };
  const { code, message, reason, hint, details } = error;
  return { code: error.row.jsonrpc, message, data: { code, reason, hint, details } };
}

/** A domain as lists show it. */
export function summary(name: string, more: Partial<Result<'domain.start'>> = {}): Result<'domain.start'> {
  return {
    uuid: '6ba7b810-9dad-41d1-80b4-00c04fd430c8',
    name,
    id: 1,
    state: 'running',
    reason: 'booted',
    active: true,
    persistent: true,
    autostart: false,
    saved: false,
    title: null,
    memoryBytes: 1024 ** 3,
    vcpus: 2,
    virtType: 'kvm',
    job: null,
    ...more,
  };
}

/** A domain in detail. */
export function details(name: string, more: Partial<Result<'domain.get'>> = {}): Result<'domain.get'> {
  return {
    ...summary(name),
    description: null,
    currentMemoryBytes: 1024 ** 3,
    maxVcpus: 2,
    arch: 'x86_64',
    machine: 'pc-q35-7.2',
    emulator: '/usr/bin/qemu-system-x86_64',
    pid: 4711,
    startedAt: new Date(Date.now() - 125_000).toISOString(),
    lastExit: null,
    disks: [],
    interfaces: [],
    consoles: [],
    graphics: [],
    portForwards: [],
    ...more,
  };
}
