/**
 * The netlink message format (netlink(7), linux/netlink.h): a 16-byte header, a family's own struct, then attributes
 * (4-byte header, data, padding to 4). All numbers are in the host's order, which is little-endian on what we run on.
 */
import { constants } from 'node:os';
import { FfiError, netlinkExchange, netlinkExchangeAside } from './ffi.ts';

const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_DUMP = 0x300;
/** Fail when the object exists; with NLM_F_CREATE: make a new one. */
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
/** Take the place of an object that exists. */
export const NLM_F_REPLACE = 0x100;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const HEADER_BYTES = 16;
const NLA_F_NESTED = 0x8000;
/** The upper two bits of an attribute's type are flags. */
const NLA_TYPE_MASK = 0x3fff;

const align = (size: number): number => (size + 3) & ~3;

export interface NetlinkRequest {
  /** NETLINK_ROUTE, NETLINK_NETFILTER. */
  readonly protocol: number;
  /** The message's type (RTM_NEWLINK). */
  readonly type: number;
  /** NLM_F_CREATE and so on; request and acknowledge are added here. */
  readonly flags?: number;
  /** The family's struct and the attributes. */
  readonly body: Uint8Array;
  /** For the error: `add bridge virbr0`. */
  readonly what: string;
}

/** An attribute; its data is padded here. */
export function attribute(type: number, data: Uint8Array): Buffer {
  const buffer = Buffer.alloc(align(4 + data.length));
  buffer.writeUInt16LE(4 + data.length, 0);
  buffer.writeUInt16LE(type, 2);
  buffer.set(data, 4);
  return buffer;
}

export function numberAttribute(type: number, value: number, bytes: 1 | 2 | 4 = 4): Buffer {
  const data = Buffer.alloc(bytes);
  data.writeUIntLE(value, 0, bytes);
  return attribute(type, data);
}

/** A string with its final NUL. */
export function textAttribute(type: number, text: string): Buffer {
  return attribute(type, Buffer.from(`${text}\0`));
}

export function nestedAttribute(type: number, inner: readonly Uint8Array[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(inner));
}

/** The attributes of a buffer by type; of several with one type, the last. Broken ones end the reading. */
export function parseAttributes(data: Buffer): Map<number, Buffer> {
  return new Map(attributesIn(data));
}

/** The data of all attributes in their order, for lists, whose members have the same type. */
export function listAttributes(data: Buffer): Buffer[] {
  return [...attributesIn(data)].map(([, value]) => value);
}

function* attributesIn(data: Buffer): Generator<[type: number, value: Buffer]> {
  for (let at = 0; at + 4 <= data.length; ) {
    const length = data.readUInt16LE(at);
    if (length < 4 || at + length > data.length) return;
    yield [data.readUInt16LE(at + 2) & NLA_TYPE_MASK, data.subarray(at + 4, at + length)];
    at += align(length);
  }
}

/** The text of a string attribute, up to its NUL. */
export function attributeText(data: Buffer | undefined): string | undefined {
  if (data === undefined) return undefined;
  const end = data.indexOf(0);
  return data.toString('utf8', 0, end === -1 ? data.length : end);
}

interface Message {
  readonly type: number;
  readonly body: Buffer;
}

function parseMessages(datagram: Buffer): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at + HEADER_BYTES <= datagram.length; ) {
    const length = datagram.readUInt32LE(at);
    if (length < HEADER_BYTES || at + length > datagram.length) break;
    messages.push({
      type: datagram.readUInt16LE(at + 4),
      body: datagram.subarray(at + HEADER_BYTES, at + length),
    });
    at += align(length);
  }
  return messages;
}

function encode(request: NetlinkRequest, flags: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(HEADER_BYTES + request.body.length, 0);
  header.writeUInt16LE(request.type, 4);
  header.writeUInt16LE(NLM_F_REQUEST | flags | (request.flags ?? 0), 6);
  header.writeUInt32LE(1, 8); // sequence; each socket of ours carries one request
  return Buffer.concat([header, request.body]);
}

/** Throws what an NLMSG_ERROR or the end of a dump reports: a negative errno, 0 for success. */
function checkStatus(message: Message, what: string): void {
  const status = message.body.length >= 4 ? message.body.readInt32LE(0) : 0;
  if (status < 0) throw new FfiError(what, -status);
}

/**
 * Sends one request and waits for the kernel's word on it.
 * @throws FfiError with the kernel's errno
 */
export function netlinkRequest(request: NetlinkRequest): void {
  checkAnswer(netlinkExchange(request.protocol, encode(request, NLM_F_ACK), isAnswer), request);
}

/**
 * The same for what keeps the kernel busy: nothing of ours waits meanwhile.
 * @throws FfiError with the kernel's errno
 */
export async function netlinkRequestAside(request: NetlinkRequest): Promise<void> {
  checkAnswer(await netlinkExchangeAside(request.protocol, encode(request, NLM_F_ACK), isAnswer), request);
}

function isAnswer(datagram: Buffer): boolean {
  return parseMessages(datagram).some(({ type }) => type === NLMSG_ERROR);
}

function checkAnswer(datagrams: readonly Buffer[], { what }: NetlinkRequest): void {
  for (const message of datagrams.flatMap(parseMessages))
    if (message.type === NLMSG_ERROR) checkStatus(message, what);
}

/**
 * Asks for one object or, with `isDump`, for all; the answers' bodies.
 * @throws FfiError with the kernel's errno
 */
export function netlinkQuery(request: NetlinkRequest, isDump: boolean): Buffer[] {
  const isEnd = ({ type }: Message) => type === NLMSG_ERROR || type === NLMSG_DONE || !isDump;
  const datagrams = netlinkExchange(request.protocol, encode(request, isDump ? NLM_F_DUMP : 0), (datagram) =>
    parseMessages(datagram).some(isEnd),
  );
  const bodies: Buffer[] = [];
  for (const message of datagrams.flatMap(parseMessages)) {
    if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) checkStatus(message, request.what);
    else bodies.push(message.body);
  }
  return bodies;
}

/** True for the kernel's "no such object", in its several words. */
export function isGone(error: unknown): boolean {
  const { ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL } = constants.errno;
  return error instanceof FfiError && [ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL].includes(error.errno);
}
