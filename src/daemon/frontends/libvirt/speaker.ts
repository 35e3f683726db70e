/** What a connection says: replies, errors, events and signs of life, each as one message. */
import { close } from '../../../base/ffi.ts';
import { errorBodyOf } from '../../../libvirt/errors.ts';
import {
  errorBody,
  type MessageHeader,
  messageStatus,
  messageType,
} from '../../../libvirt/protocol/message.ts';
import {
  keepalive,
  type QemuMessage,
  type QemuMessageName,
  qemuProgram,
  type RemoteMessageName,
  remoteProcedures,
  remoteProgram,
} from '../../../libvirt/protocol/programs.ts';
import { qemuProcedures } from '../../../libvirt/protocol/qemu.ts';
import type { Xdr } from '../../../libvirt/xdr/scalars.ts';
import { encodeMessage, encodeRaw, type Outbox } from './outbox.ts';

const empty = Buffer.alloc(0);

export class Speaker {
  private readonly outbox: Outbox;

  constructor(outbox: Outbox) {
    this.outbox = outbox;
  }

  /** The descriptors are closed here when they were sent. @throws XdrError for a value the type can't carry; nothing is sent then */
  reply(call: MessageHeader, codec: Xdr<unknown>, value: unknown, fds: readonly number[]): void {
    const status = messageStatus.ok;
    if (fds.length === 0) {
      this.outbox.send(encodeMessage({ ...call, type: messageType.reply, status }, codec, value));
      return;
    }
    const header = { ...call, type: messageType.replyWithFds, status };
    this.outbox.sendWithFds(encodeMessage(header, codec, value, fds.length), fds, () => {
      for (const fd of fds) close(fd);
    });
  }

  error(call: MessageHeader, error: unknown): void {
    const header = { ...call, type: messageType.reply, status: messageStatus.error };
    this.outbox.send(encodeMessage(header, errorBody, errorBodyOf(error)));
  }

  /** An event. */
  message(name: RemoteMessageName, body: unknown): void {
    const { number: procedure, body: codec } = remoteProcedures[name];
    const { number: program, version } = remoteProgram;
    const header = { ...unasked, program, version, procedure };
    this.outbox.send(encodeMessage(header, codec as Xdr<unknown>, body));
  }

  /** An event of QEMU's own program. */
  qemuMessage<K extends QemuMessageName>(name: K, body: QemuMessage<K>): void {
    const { number: procedure, body: codec } = qemuProcedures[name];
    const { number: program, version } = qemuProgram;
    this.outbox.send(encodeMessage({ ...unasked, program, version, procedure }, codec as Xdr<unknown>, body));
  }

  /** A ping or a pong. */
  keepalive(procedure: number): void {
    const { program, version } = keepalive;
    this.outbox.sendPieces(encodeRaw({ ...unasked, program, version, procedure }, empty));
  }
}

const unasked = { type: messageType.message, serial: 0, status: messageStatus.ok } as const;
