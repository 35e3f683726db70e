/** The streams that one client has open, by the serial of the call that opened each. */
import { errorDomain, errorNumber, LibvirtError } from '../../../libvirt/errors.ts';
import type { MessageHeader } from '../../../libvirt/protocol/message.ts';
import type { StreamPlan } from './context.ts';
import { ServerStream, type ServerStreamOptions } from './streams.ts';

const MAX_STREAMS = 100;

/** The connection, as its streams use it. */
interface Owner extends Pick<ServerStreamOptions, 'outbox' | 'keepPacket' | 'onRelieved'> {
  /** The last one has ended. */
  readonly onLastGone: () => void;
}

export class ClientStreams {
  private readonly owner: Owner;
  private readonly bySerial = new Map<number, ServerStream>();
  private isOver = false;

  constructor(owner: Owner) {
    this.owner = owner;
  }

  /** One of them takes nothing for now. */
  get isClogged(): boolean {
    for (const stream of this.bySerial.values()) if (stream.isClogged) return true;
    return false;
  }

  /** @throws LibvirtError when one more would be too many */
  checkRoom(): void {
    if (this.bySerial.size < MAX_STREAMS) return;
    throw new LibvirtError(
      errorNumber.operationFailed,
      `more than ${MAX_STREAMS} streams`,
      errorDomain.streams,
    );
  }

  /** Starts what a call has planned; drops it when the client has gone meanwhile. */
  start(call: MessageHeader, plan: StreamPlan): void {
    const { outbox, keepPacket, onRelieved, onLastGone } = this.owner;
    const onGone = (): void => {
      this.bySerial.delete(call.serial);
      if (this.bySerial.size === 0) onLastGone();
      onRelieved();
    };
    const stream = new ServerStream({ plan, call, outbox, keepPacket, onGone, onRelieved });
    if (this.isOver) return stream.drop();
    this.bySerial.set(call.serial, stream);
    stream.start();
  }

  /** A packet of a stream that has ended meanwhile is normal, and dropped. */
  onPacket(header: MessageHeader, body: Buffer): void {
    this.bySerial.get(header.serial)?.onPacket(header, body);
  }

  onClientDrained(): void {
    for (const stream of this.bySerial.values()) stream.onClientDrained();
  }

  /** Drops all, and any that comes later: the client has gone. */
  end(): void {
    this.isOver = true;
    for (const stream of this.bySerial.values()) stream.drop();
    this.bySerial.clear();
  }
}
