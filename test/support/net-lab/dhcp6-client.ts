/**
 * A DHCPv6 client in few words (RFC 8415), since busybox has none: run inside a guest's namespace as
 * `node dhcp6-client.ts INTERFACE DUID`, it asks for one address as a guest does and prints it.
 */

import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';

const SOLICIT = 1;
const ADVERTISE = 2;
const REQUEST = 3;
const REPLY = 7;
const CLIENT_ID = 1;
const SERVER_ID = 2;
const IA_NA = 3;
const IA_ADDRESS = 5;
const ELAPSED = 8;

const [interfaceName = '', duidText = ''] = process.argv.slice(2);
const duid = Buffer.from(duidText.split(':').map((byte) => Number.parseInt(byte, 16)));
const transaction = randomBytes(3);

function option(code: number, data: Uint8Array): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(code, 0);
  head.writeUInt16BE(data.length, 2);
  return Buffer.concat([head, data]);
}

/** Identity association: id, T1 and T2 in 32 bits each, then what it holds. */
const association = (inner: Uint8Array): Buffer => option(IA_NA, Buffer.concat([Buffer.alloc(12), inner]));

function message(type: number, options: readonly Buffer[]): Buffer {
  const head = Buffer.concat([Buffer.from([type]), transaction]);
  return Buffer.concat([head, option(CLIENT_ID, duid), option(ELAPSED, Buffer.alloc(2)), ...options]);
}

function parseOptions(data: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= data.length; at += 4 + data.readUInt16BE(at + 2))
    found.set(data.readUInt16BE(at), data.subarray(at + 4, at + 4 + data.readUInt16BE(at + 2)));
  return found;
}

function addressIn(options: Map<number, Buffer>): Buffer | undefined {
  const inner = options.get(IA_NA)?.subarray(12);
  return inner && parseOptions(inner).get(IA_ADDRESS);
}

const textOf = (address: Buffer): string =>
  (address.subarray(0, 16).toString('hex').match(/.{4}/g) ?? []).join(':').replaceAll(/(^|:)0{1,3}/g, '$1');

const socket = createSocket({ type: 'udp6', reuseAddr: true });
const send = (data: Buffer) => socket.send(data, 547, `ff02::1:2%${interfaceName}`);
const solicit = () => send(message(SOLICIT, [association(Buffer.alloc(0))]));
socket.on('message', (data) => {
  if (!data.subarray(1, 4).equals(transaction)) return;
  const options = parseOptions(data.subarray(4));
  const address = addressIn(options);
  const server = options.get(SERVER_ID);
  if (address === undefined || server === undefined) return;
  if (data[0] === ADVERTISE)
    send(message(REQUEST, [option(SERVER_ID, server), association(option(IA_ADDRESS, address))]));
  if (data[0] !== REPLY) return;
  process.stdout.write(`${textOf(address)}\n`);
  process.exit(0);
});
socket.bind(546, '::', solicit);
setInterval(solicit, 1000);
setTimeout(() => process.exit(1), 15_000);
