/** The frame around everything: length, header, and the bodies that belong to no procedure (virnetprotocol.x). */
import { type Infer, int, safeHyper, struct, uint } from '../xdr/xdr.ts';
import { optionalDomain, optionalNetwork, string } from './objects.ts';

/** Bytes of the length word, which counts itself. */
export const LENGTH_BYTES = 4;
/** Bytes of the header behind it: six words. */
export const HEADER_BYTES = 24;
/** The most bytes that may follow the length word. */
export const MAX_MESSAGE_BYTES = 33_554_432;
/** The most descriptors that may come with one message. */
export const MAX_DESCRIPTORS = 32;
/** The most bytes of one stream packet, as libvirt itself sends them. */
export const STREAM_PACKET_BYTES = 262_120;

export const messageType = {
  call: 0,
  reply: 1,
  message: 2,
  stream: 3,
  callWithFds: 4,
  replyWithFds: 5,
  streamHole: 6,
} as const;

export const messageStatus = { ok: 0, error: 1, continue: 2 } as const;

export interface MessageHeader {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly type: number;
  /** Counted by the client; replies and stream packets repeat it. */
  readonly serial: number;
  readonly status: number;
}

/** Reads the header at `at`; 24 bytes must be there. */
export function readHeader(bytes: Buffer, at: number): MessageHeader {
  return {
    program: bytes.readUInt32BE(at),
    version: bytes.readUInt32BE(at + 4),
    procedure: bytes.readInt32BE(at + 8),
    type: bytes.readUInt32BE(at + 12),
    serial: bytes.readUInt32BE(at + 16),
    status: bytes.readUInt32BE(at + 20),
  };
}

/**
 * What an error reply carries (virNetMessageError). `dom` and `net` are never sent. `str1` is the form of the text, `str2`
 * its detail; `int1` is the errno of a system error, else -1.
 */
export const errorBody = struct({
  code: int,
  domain: int,
  message: string,
  level: int,
  dom: optionalDomain,
  str1: string,
  str2: string,
  str3: string,
  int1: int,
  int2: int,
  net: optionalNetwork,
});
export type ErrorBody = Infer<typeof errorBody>;

/** A hole of a sparse stream: so many bytes of zeros. */
export const streamHole = struct({ length: safeHyper, flags: uint });
