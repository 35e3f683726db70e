/** A client of libvirt's protocol for tests: says exactly the bytes it is told to, and reads messages one by one. */
import { connect, type Socket } from 'node:net';
import {
  type ErrorBody,
  errorBody,
  type MessageHeader,
  messageStatus,
  messageType,
  readHeader,
} from '../../src/libvirt/protocol/message.ts';
import type { Call } from '../../src/libvirt/protocol/procedure.ts';
import {
  type QemuArgs,
  type QemuCallName,
  type QemuRet,
  qemuProgram,
  type RemoteArgs,
  type RemoteCallName,
  type RemoteRet,
  remoteProcedures,
  remoteProgram,
} from '../../src/libvirt/protocol/programs.ts';
import { qemuProcedures } from '../../src/libvirt/protocol/qemu.ts';
import { decodeAll, encodeAll, type Xdr } from '../../src/libvirt/xdr/xdr.ts';

export interface Packet {
  readonly header: MessageHeader;
  readonly body: Buffer;
}

/** The bytes of a message. */
export function messageBytes(
  header: Partial<MessageHeader> & { procedure: number },
  body: Uint8Array,
): Buffer {
  const { program = remoteProgram.number, version = 1, type = 0, serial = 0, status = 0 } = header;
  const head = Buffer.alloc(28);
  const words = [28 + body.length, program, version, header.procedure, type, serial, status];
  for (const [index, word] of words.entries()) head.writeUInt32BE(word >>> 0, index * 4);
  return Buffer.concat([head, body]);
}

export function callBytes<K extends RemoteCallName>(name: K, args: RemoteArgs<K>, serial: number): Buffer {
  const procedure = remoteProcedures[name] as unknown as Call;
  return messageBytes({ procedure: procedure.number, serial }, encodeAll(procedure.args, args));
}

/** An error reply, as an error. */
export class RemoteError extends Error {
  readonly body: ErrorBody;
  constructor(body: ErrorBody) {
    super(`${body.code}: ${body.message}`);
    this.body = body;
  }
}

export class LibvirtClient {
  readonly socket: Socket;
  readonly packets: Packet[] = [];
  isClosed = false;
  private serial = 0;
  private pending = Buffer.alloc(0);
  private readonly waiting: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('error', () => undefined); // a cut connection is what some tests are about
    socket.on('close', () => {
      this.isClosed = true;
      this.wake();
    });
  }

  static connect(path: string): Promise<LibvirtClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => resolve(new LibvirtClient(socket)));
      socket.once('error', reject);
    });
  }

  /** Connects and opens `qemu:///system`. */
  static async open(path: string, flags = 0): Promise<LibvirtClient> {
    const client = await LibvirtClient.connect(path);
    await client.call('connectOpen', { name: 'qemu:///system', flags });
    return client;
  }

  /** Bytes that make no message yet. */
  get unread(): Buffer {
    return this.pending;
  }

  write(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Sends a call without waiting; returns its serial. */
  send<K extends RemoteCallName>(name: K, args: RemoteArgs<K>): number {
    const serial = this.serial++;
    this.write(callBytes(name, args, serial));
    return serial;
  }

  /** @throws RemoteError */
  async call<K extends RemoteCallName>(name: K, args: RemoteArgs<K>): Promise<RemoteRet<K>> {
    return this.reply(name, this.send(name, args));
  }

  /** A call of QEMU's own program. @throws RemoteError */
  async callQemu<K extends QemuCallName>(name: K, args: QemuArgs<K>): Promise<QemuRet<K>> {
    const procedure = qemuProcedures[name] as unknown as Call;
    const serial = this.serial++;
    const header = { program: qemuProgram.number, procedure: procedure.number, serial };
    this.write(messageBytes(header, encodeAll(procedure.args, args)));
    const reply = await this.next(
      (packet) => packet.header.serial === serial && packet.header.type === messageType.reply,
    );
    if (reply.header.status === messageStatus.error) throw new RemoteError(decodeAll(errorBody, reply.body));
    return decodeAll(procedure.ret as Xdr<QemuRet<K>>, reply.body);
  }

  /** Waits for the reply to a call. @throws RemoteError */
  async reply<K extends RemoteCallName>(name: K, serial: number): Promise<RemoteRet<K>> {
    const { header, body } = await this.next(
      (packet) => packet.header.serial === serial && packet.header.type === messageType.reply,
    );
    if (header.status === messageStatus.error) throw new RemoteError(decodeAll(errorBody, body));
    return decodeAll((remoteProcedures[name] as unknown as Call).ret as Xdr<RemoteRet<K>>, body);
  }

  /** Takes the first packet that fits, waiting for it. */
  async next(fits: (packet: Packet) => boolean = () => true): Promise<Packet> {
    const deadline = Date.now() + 5000;
    for (;;) {
      const index = this.packets.findIndex(fits);
      const [found] = index === -1 ? [] : this.packets.splice(index, 1);
      if (found !== undefined) return found;
      if (this.isClosed) throw new Error('the connection was closed');
      if (Date.now() > deadline) throw new Error('no such packet came');
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  nextStream(serial: number): Promise<Packet> {
    return this.next(
      (packet) => packet.header.type === messageType.stream && packet.header.serial === serial,
    );
  }

  /** Sends a packet of a stream. */
  sendStream(
    name: RemoteCallName,
    serial: number,
    status: number,
    data: Uint8Array = new Uint8Array(0),
  ): void {
    const { number } = remoteProcedures[name];
    this.write(messageBytes({ procedure: number, type: messageType.stream, serial, status }, data));
  }

  close(): void {
    this.socket.destroy();
  }

  private take(chunk: Buffer): void {
    this.pending = Buffer.concat([this.pending, chunk]);
    for (;;) {
      const length = this.pending.length < 4 ? 0 : this.pending.readUInt32BE(0);
      // No message: what carries descriptors, which plain reading has lost.
      if (length < 28 || this.pending.length < length) break;
      this.packets.push({ header: readHeader(this.pending, 4), body: this.pending.subarray(28, length) });
      this.pending = this.pending.subarray(length);
    }
    this.wake();
  }

  private wake(): void {
    for (const waiter of this.waiting.splice(0)) waiter();
  }
}
