/** A QMP server for tests: as polite or as hostile as the test wants it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface FakeCommand {
  readonly execute: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
  readonly id: unknown;
}

/** What QEMU 7.2 says first. */
export const greeting = {
  QMP: {
    version: { qemu: { micro: 22, minor: 2, major: 7 }, package: 'Debian 1:7.2+dfsg-7' },
    capabilities: ['oob'],
  },
};

/** One client's connection. */
export class FakeConnection {
  readonly socket: Socket;
  /** All commands so far, in order. */
  readonly commands: FakeCommand[] = [];
  /** Every byte that came in. */
  received = '';

  constructor(socket: Socket) {
    this.socket = socket;
  }

  send(message: unknown): void {
    this.raw(`${JSON.stringify(message)}\r\n`);
  }

  /** Answers a command. */
  reply(command: FakeCommand, value: unknown): void {
    this.send({ return: value, id: command.id });
  }

  raw(bytes: string | Buffer): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  hangUp(): void {
    this.socket.destroy();
  }
}

export interface FakeBehaviour {
  /** On connecting; default: the greeting is sent. */
  readonly onConnect?: (connection: FakeConnection) => void;
  /** On each command but qmp_capabilities (unless `negotiates` is false); default: no answer. */
  readonly onCommand?: (command: FakeCommand, connection: FakeConnection) => void;
  /** Answer qmp_capabilities by itself (default). */
  readonly negotiates?: boolean;
}

/** A fake monitor that listens; dispose it to take everything away. */
export class FakeQmp implements AsyncDisposable {
  readonly path: string;
  readonly connections: FakeConnection[] = [];
  private readonly server: Server;
  private readonly directory: string;

  private constructor(server: Server, directory: string, path: string) {
    this.server = server;
    this.directory = directory;
    this.path = path;
  }

  static async listen(behaviour: FakeBehaviour = {}): Promise<FakeQmp> {
    const directory = await mkdtemp(join(tmpdir(), 'fake-qmp-'));
    const path = join(directory, 'qmp');
    const server = createServer();
    const fake = new FakeQmp(server, directory, path);
    server.on('connection', (socket) => fake.serve(socket, behaviour));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject);
    server.listen(path, resolve);
    await promise;
    return fake;
  }

  /** The connection that came last. */
  get connection(): FakeConnection {
    const last = this.connections.at(-1);
    if (last === undefined) throw new Error('nobody has connected');
    return last;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.connections) connection.hangUp();
    this.server.close();
    await rm(this.directory, { recursive: true, force: true });
  }

  private serve(socket: Socket, behaviour: FakeBehaviour): void {
    const connection = new FakeConnection(socket);
    this.connections.push(connection);
    // A client that is fed rubbish hangs up in the middle of our write.
    socket.on('error', () => socket.destroy());
    const onConnect = behaviour.onConnect ?? ((c: FakeConnection) => c.send(greeting));
    onConnect(connection);
    const decoder = new CommandReader();
    socket.on('data', (chunk) => {
      connection.received += chunk.toString('utf8');
      for (const command of decoder.push(chunk)) {
        connection.commands.push(command);
        if (command.execute === 'qmp_capabilities' && behaviour.negotiates !== false)
          connection.reply(command, {});
        else behaviour.onCommand?.(command, connection);
      }
    });
  }
}

/** Cuts the client's bytes into JSON values by counting brackets, as QEMU does: no line feed is needed. */
class CommandReader {
  private text = '';

  *push(chunk: Buffer): Generator<FakeCommand> {
    this.text += chunk.toString('utf8');
    for (let end = this.endOfFirst(); end > 0; end = this.endOfFirst()) {
      const command = JSON.parse(this.text.slice(0, end)) as FakeCommand;
      this.text = this.text.slice(end);
      yield command;
    }
  }

  private endOfFirst(): number {
    let depth = 0;
    let quoted = false;
    for (let at = 0; at < this.text.length; at++) {
      const character = this.text[at];
      if (quoted) {
        if (character === '\\') at++;
        else if (character === '"') quoted = false;
      } else if (character === '"') quoted = true;
      else if (character === '{') depth++;
      else if (character === '}' && --depth === 0) return at + 1;
    }
    return 0;
  }
}
