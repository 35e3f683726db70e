/** A client of SPICE servers that goes as far as the link: with a ticket, and what the server says of it (spice-protocol, spice/protocol.h). */
import { constants, createPublicKey, publicEncrypt } from 'node:crypto';
import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { bytesOf } from './rfb.ts';

const magic = Buffer.from('REDQ', 'latin1');
/** SPICE_CHANNEL_MAIN */
const MAIN_CHANNEL = 1;
/** SPICE_TICKET_PUBKEY_BYTES: a DER SubjectPublicKeyInfo with 1024 bits. */
const PUBLIC_KEY_BYTES = 162;
/** SpiceLinkErr: SPICE_LINK_ERR_OK */
const OK = 0;

/** A link; the caller ends the socket. */
export interface SpiceLink {
  readonly isLetIn: boolean;
  readonly socket: Socket;
  /** The server hangs up; all that it says until then is read. */
  readonly isOver: Promise<void>;
}

/** Opens the main channel with that password. */
export async function spiceLink(to: NetConnectOpts, password: string): Promise<SpiceLink> {
  const socket = connect(to);
  const bytes = bytesOf(socket);
  // SpiceLinkMess: connection_id, channel_type, channel_id, two counts of capabilities, their offset.
  const message = Buffer.alloc(18);
  message.writeUInt8(MAIN_CHANNEL, 4);
  message.writeUInt32LE(message.length, 14);
  const header = Buffer.alloc(16);
  magic.copy(header);
  header.writeUInt32LE(2, 4);
  header.writeUInt32LE(2, 8);
  header.writeUInt32LE(message.length, 12);
  socket.write(Buffer.concat([header, message]));
  const size = (await bytes(16)).readUInt32LE(12);
  const reply = await bytes(size);
  const error = reply.readUInt32LE(0);
  if (error !== OK) throw new Error(`the server refuses the link with ${error}`);
  const key = createPublicKey({
    key: reply.subarray(4, 4 + PUBLIC_KEY_BYTES),
    format: 'der',
    type: 'spki',
  });
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  socket.write(publicEncrypt({ key, padding, oaepHash: 'sha1' }, Buffer.from(`${password}\0`, 'latin1')));
  const isLetIn = (await bytes(4)).readUInt32LE() === OK;
  const readAll = async (): Promise<void> => {
    for (;;) await bytes(1);
  };
  return { isLetIn, socket, isOver: readAll().catch(() => undefined) };
}

/** True when it is let in; the link is ended. */
export async function spiceLetsIn(to: NetConnectOpts, password: string): Promise<boolean> {
  const { isLetIn, socket } = await spiceLink(to, password);
  socket.destroy();
  return isLetIn;
}
