/** One call in work: what its handler may do, and what becomes of its descriptors and its stream. */
import { close } from '../../../base/ffi.ts';
import type { Call, ClientConnection, StreamPlan } from './context.ts';

export class ServerCall implements Call {
  readonly connection: ClientConnection;
  private readonly checkStreamRoom: () => void;
  readonly name: string;
  readonly fds: number[];
  readonly replyFds: number[] = [];
  plan: StreamPlan | undefined;

  /** `checkStreamRoom` throws when the connection has too many streams. */
  constructor(connection: ClientConnection, name: string, fds: number[], checkStreamRoom: () => void) {
    this.connection = connection;
    this.checkStreamRoom = checkStreamRoom;
    this.name = name;
    this.fds = fds;
  }

  openStream(plan: StreamPlan): void {
    this.checkStreamRoom();
    // Until the stream is joined to the connection.
    plan.duplex.on('error', () => undefined);
    this.plan = plan;
  }

  /** Closes what nobody took. */
  closeFds(): void {
    if (this.fds.length === 0) return;
    for (const fd of this.fds.splice(0)) close(fd);
  }
}
