/** The echo server as a process, and the round trips that are timed on a socket. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';

export class EchoServer {
  readonly socketPath: string;
  private readonly child: ChildProcess;

  get pid(): number {
    return this.child.pid ?? 0;
  }

  private constructor(socketPath: string, child: ChildProcess) {
    this.socketPath = socketPath;
    this.child = child;
  }

  static async start(directory: string): Promise<EchoServer> {
    const socketPath = join(directory, 'echo.sock');
    const child = spawn(process.execPath, [join(import.meta.dirname, 'echo-server.ts'), socketPath], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (child.stdout) await once(child.stdout, 'data');
    return new EchoServer(socketPath, child);
  }

  end(): void {
    this.child.kill('SIGKILL');
  }
}

/** A socket that sends one line and waits for one line. */
export class LineSocket {
  private readonly socket: Socket;
  private settle: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      if (chunk.at(-1) === 0x0a) this.settle?.();
    });
  }

  static async open(path: string): Promise<LineSocket> {
    const socket = connect({ path });
    await once(socket, 'connect');
    return new LineSocket(socket);
  }

  roundTrip(line: Buffer): Promise<void> {
    return new Promise((resolve) => {
      this.settle = resolve;
      this.socket.write(line);
    });
  }

  close(): void {
    this.socket.destroy();
  }
}

/** The request whose answer is the least work for the daemon. */
export const pingLine = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"daemon.ping","params":{}}\n');
