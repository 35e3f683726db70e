/** DNS questions for an address, and their answers (RFC 1035, 4). Pure. */
import { formatIp } from '../../base/ip.ts';

export const DNS_PORT = 53;
const TYPE_A = 1;
const CLASS_IN = 1;

/** Names of the answer's code (RFC 1035, 4.1.1). */
const codes = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];

export interface DnsAnswer {
  readonly id: number;
  /** `NOERROR`, `NXDOMAIN`, `REFUSED` and so on. */
  readonly code: string;
  readonly addresses: readonly string[];
}

export function encodeQuestion(id: number, name: string): Buffer {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label, 'latin1')]);
  const head = [id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
  return Buffer.from([...head, ...labels, 0, 0, TYPE_A, 0, CLASS_IN]);
}

/** Undefined for what is no answer. */
export function decodeAnswer(data: Buffer): DnsAnswer | undefined {
  if (data.length < 12 || ((data[2] ?? 0) & 0x80) === 0) return undefined;
  const code = (data[3] ?? 0) & 0xf;
  const addresses: string[] = [];
  let at = skipName(data, 12) + 4;
  for (let left = data.readUInt16BE(6); left > 0; left--) {
    at = skipName(data, at);
    if (at + 10 > data.length) break;
    const length = data.readUInt16BE(at + 8);
    const value = data.subarray(at + 10, at + 10 + length);
    if (data.readUInt16BE(at) === TYPE_A && value.length === 4)
      addresses.push(formatIp({ family: 4, bytes: [...value] }));
    at += 10 + length;
  }
  return { id: data.readUInt16BE(0), code: codes[code] ?? `code ${code}`, addresses };
}

/** Where a name ends: at its zero, or after a pointer of two bytes. */
function skipName(data: Buffer, from: number): number {
  let at = from;
  for (;;) {
    const length = data[at];
    if (length === undefined || length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    at += 1 + length;
  }
}
