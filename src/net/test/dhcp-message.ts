/** DHCP messages of a client (RFC 2131, options of RFC 2132): as much as a lease needs. Pure. */
import { formatIp, parseIp } from '../../base/ip.ts';

export const DHCP_CLIENT_PORT = 68;
export const DHCP_SERVER_PORT = 67;

const COOKIE = 0x63825363;
const OPTION = {
  mask: 1,
  router: 3,
  dns: 6,
  hostName: 12,
  domain: 15,
  requested: 50,
  leaseTime: 51,
  kind: 53,
  server: 54,
  parameters: 55,
  clientId: 61,
} as const;
const kinds = { discover: 1, offer: 2, request: 3, decline: 4, ack: 5, nak: 6, release: 7 } as const;
type DhcpKind = keyof typeof kinds;

export interface DhcpRequest {
  readonly kind: 'discover' | 'request' | 'release';
  readonly transaction: number;
  readonly mac: string;
  readonly hostName: string;
  /** The address asked for, or given back. */
  readonly address?: string;
  readonly server?: string;
}

export interface DhcpAnswer {
  readonly kind: DhcpKind;
  readonly transaction: number;
  readonly address: string;
  readonly server?: string;
  readonly mask?: string;
  readonly router?: string;
  readonly dns: readonly string[];
  readonly domain?: string;
  readonly leaseSeconds?: number;
}

const bytesOf = (address: string): Buffer => Buffer.from(parseIp(address)?.bytes ?? [0, 0, 0, 0]);
const option = (code: number, data: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([code, data.length]), data]);

export function encodeDhcp({ kind, transaction, mac, hostName, address, server }: DhcpRequest): Buffer {
  const head = Buffer.alloc(240);
  head.set([1, 1, 6]);
  head.writeUInt32BE(transaction, 4);
  // The answer is to be broadcast: this client has no address that somebody could send to.
  if (kind !== 'release') head.writeUInt16BE(0x8000, 10);
  if (kind === 'release' && address !== undefined) head.set(bytesOf(address), 12);
  const hardware = Buffer.from(mac.replaceAll(':', ''), 'hex');
  head.set(hardware, 28);
  head.writeUInt32BE(COOKIE, 236);
  const isRequest = kind === 'request';
  const options = [
    option(OPTION.kind, Buffer.from([kinds[kind]])),
    option(OPTION.clientId, Buffer.concat([Buffer.from([1]), hardware])),
    ...(kind === 'release' ? [] : [option(OPTION.hostName, Buffer.from(hostName))]),
    ...(isRequest && address !== undefined ? [option(OPTION.requested, bytesOf(address))] : []),
    ...(server === undefined ? [] : [option(OPTION.server, bytesOf(server))]),
    option(
      OPTION.parameters,
      Buffer.from([OPTION.mask, OPTION.router, OPTION.dns, OPTION.domain, OPTION.leaseTime]),
    ),
    Buffer.from([255]),
  ];
  const message = Buffer.concat([head, ...options]);
  // Relays and servers of old expect the length of a BOOTP message.
  return message.length < 300 ? Buffer.concat([message, Buffer.alloc(300 - message.length)]) : message;
}

/** Undefined for what is no answer of a DHCP server. */
export function decodeDhcp(data: Buffer): DhcpAnswer | undefined {
  if (data.length < 244 || data[0] !== 2 || data.readUInt32BE(236) !== COOKIE) return undefined;
  const options = readOptions(data.subarray(240));
  const number = options.get(OPTION.kind)?.[0];
  const kind = (Object.keys(kinds) as DhcpKind[]).find((name) => kinds[name] === number);
  if (kind === undefined) return undefined;
  const address = (code: number) => addressesIn(options.get(code))[0];
  const server = address(OPTION.server);
  const mask = address(OPTION.mask);
  const router = address(OPTION.router);
  const domain = options.get(OPTION.domain)?.toString('latin1');
  const lease = options.get(OPTION.leaseTime);
  return {
    kind,
    transaction: data.readUInt32BE(4),
    address: formatIp({ family: 4, bytes: [...data.subarray(16, 20)] }),
    dns: addressesIn(options.get(OPTION.dns)),
    ...(server !== undefined && { server }),
    ...(mask !== undefined && { mask }),
    ...(router !== undefined && { router }),
    ...(domain !== undefined && { domain }),
    ...(lease?.length === 4 && { leaseSeconds: lease.readUInt32BE(0) }),
  };
}

function readOptions(data: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at < data.length; ) {
    const code = data[at] ?? 255;
    if (code === 255) break;
    if (code === 0) {
      at += 1; // padding
      continue;
    }
    const length = data[at + 1] ?? 0;
    found.set(code, data.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return found;
}

function addressesIn(data: Buffer = Buffer.alloc(0)): string[] {
  const addresses: string[] = [];
  for (let at = 0; at + 4 <= data.length; at += 4)
    addresses.push(formatIp({ family: 4, bytes: [...data.subarray(at, at + 4)] }));
  return addresses;
}
