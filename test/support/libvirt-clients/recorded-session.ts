/** A socket between a client and the daemon that writes down what passes, as a capture file that Wireshark reads. */
import { writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';

/** One piece of a conversation, on its way to the daemon or back. */
interface Piece {
  readonly conversation: number;
  readonly isFromClient: boolean;
  readonly bytes: Buffer;
}

/** libvirt's TCP port, by which Wireshark knows the protocol. */
const LIBVIRT_PORT = 16_509;
const FIRST_CLIENT_PORT = 40_000;
/** An IPv4 packet has 64 KiB at most. */
const MAX_PACKET_BYTES = 60_000;

export class RecordedSession {
  readonly path: string;
  private readonly server: Server;
  private readonly pieces: Piece[] = [];
  private conversations = 0;

  private constructor(path: string, target: string) {
    this.path = path;
    this.server = createServer((client) => {
      const conversation = this.conversations++;
      const daemon = connect(target);
      const keep = (isFromClient: boolean) => (bytes: Buffer) =>
        this.pieces.push({ conversation, isFromClient, bytes });
      client.on('data', keep(true)).on('error', () => daemon.destroy());
      daemon.on('data', keep(false)).on('error', () => client.destroy());
      client.pipe(daemon).pipe(client);
    });
  }

  /** Listens on `path` and passes everything on to `target`. */
  static async start(path: string, target: string): Promise<RecordedSession> {
    const session = new RecordedSession(path, target);
    await new Promise<void>((resolve, reject) => {
      session.server.once('error', reject).listen(path, resolve);
    });
    return session;
  }

  /** Stops listening and writes the capture. */
  end(capture: string): void {
    this.server.close(); // takes its socket away
    writeFileSync(capture, captureOf(this.pieces));
  }
}

/** A file in pcap's format (draft-ietf-opsawg-pcap): packets that begin with the IP header, link type 101. */
function captureOf(pieces: readonly Piece[]): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(0x40000, 16);
  head.writeUInt32LE(101, 20);
  const sent = new Map<string, number>();
  const count = (key: string) => sent.get(key) ?? 1;
  const packets = pieces.flatMap(({ conversation, isFromClient, bytes }) => {
    const [mine, theirs] = [`${conversation}${isFromClient}`, `${conversation}${!isFromClient}`];
    return slices(bytes).map((data) => {
      const packet = packetOf(data, {
        client: FIRST_CLIENT_PORT + conversation,
        isFromClient,
        sequence: count(mine),
        acknowledged: count(theirs),
      });
      sent.set(mine, count(mine) + data.length);
      return packet;
    });
  });
  return Buffer.concat([
    head,
    ...packets.flatMap((packet, index) => [recordHeader(index, packet.length), packet]),
  ]);
}

function slices(bytes: Buffer): Buffer[] {
  const count = Math.ceil(bytes.length / MAX_PACKET_BYTES);
  return Array.from({ length: count }, (_, i) =>
    bytes.subarray(i * MAX_PACKET_BYTES, (i + 1) * MAX_PACKET_BYTES),
  );
}

/** Seconds, microseconds, and the length twice. */
function recordHeader(index: number, length: number): Buffer {
  const record = Buffer.alloc(16);
  record.writeUInt32LE(Math.floor(index / 1000), 0);
  record.writeUInt32LE((index % 1000) * 1000, 4);
  record.writeUInt32LE(length, 8);
  record.writeUInt32LE(length, 12);
  return record;
}

const CLIENT_ADDRESS = 0x0a000001;
const DAEMON_ADDRESS = 0x0a000002;
const PUSH_AND_ACK = 0x18;

/** IPv4 (RFC 791) and TCP (RFC 9293) headers without checksums, which nobody checks in a capture. */
function packetOf(
  data: Buffer,
  about: {
    readonly client: number;
    readonly isFromClient: boolean;
    readonly sequence: number;
    readonly acknowledged: number;
  },
): Buffer {
  const { client, isFromClient, sequence, acknowledged } = about;
  const head = Buffer.alloc(40);
  head.writeUInt8(0x45, 0);
  head.writeUInt16BE(40 + data.length, 2);
  head.writeUInt8(64, 8);
  head.writeUInt8(6, 9);
  head.writeUInt32BE(isFromClient ? CLIENT_ADDRESS : DAEMON_ADDRESS, 12);
  head.writeUInt32BE(isFromClient ? DAEMON_ADDRESS : CLIENT_ADDRESS, 16);
  head.writeUInt16BE(isFromClient ? client : LIBVIRT_PORT, 20);
  head.writeUInt16BE(isFromClient ? LIBVIRT_PORT : client, 22);
  head.writeUInt32BE(sequence, 24);
  head.writeUInt32BE(acknowledged, 28);
  head.writeUInt8(0x50, 32);
  head.writeUInt8(PUSH_AND_ACK, 33);
  head.writeUInt16BE(0xffff, 34);
  return Buffer.concat([head, data]);
}
