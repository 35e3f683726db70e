/** Who listens on which port of this host, as the kernel tells in /proc/net/{tcp,tcp6,udp,udp6} (proc_net_tcp.rst). */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { endianness } from 'node:os';
import { basename } from 'node:path';
import { errnoOf, fileError, oneLine } from '../base/errors.ts';
import { formatIp, parseIp } from '../base/ip.ts';
import type { Family, HostListener, ListenerQuery } from './plan.ts';

/** A socket that takes what nobody else does: a listening TCP one, or a UDP one without a peer. */
export interface ListeningSocket {
  readonly family: Family;
  readonly address: string;
  readonly port: number;
  /** The socket's number, by which its process is found. */
  readonly inode: string;
}

/** net/tcp_states.h: TCP_LISTEN, and TCP_CLOSE, which is what a UDP socket without a peer is in. */
const states = { tcp: '0A', udp: '07' } as const;

const tables: readonly (readonly ['' | '6', Family])[] = [
  ['', 4],
  ['6', 6],
];

/**
 * Sockets of the host in the way of a port forward: packets would be led to the guest and never reach them. One on `::`
 * takes IPv4 too, as the kernel has it unless the program asks otherwise (ipv6(7), IPV6_V6ONLY).
 * @throws VirtError file.*
 */
export function findListeners(query: ListenerQuery): HostListener[] {
  const found = tables
    .flatMap(([suffix, family]) =>
      parseSockets(readTable(`${query.protocol}${suffix}`), query.protocol, family),
    )
    .filter((socket) => isInTheWay(socket, query));
  return found.map(({ address, port, inode }) => ({ address, port, ...ownerOf(inode) }));
}

/** Sockets are those of the network namespace of the thread that reads: so it is done at once, and here. */
function readTable(name: string): string {
  const path = `/proc/net/${name}`;
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    // A kernel without IPv6 has no such tables.
    if (errnoOf(error) === 'ENOENT' && name.endsWith('6')) return '';
    throw fileError(error, 'read the sockets of the host', path);
  }
}

/** Reads a table: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...`, headed by one line. */
export function parseSockets(text: string, protocol: 'tcp' | 'udp', family: Family): ListeningSocket[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line): ListeningSocket[] => {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
      const [, hex, port] = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(local) ?? [];
      if (state !== states[protocol] || hex === undefined || port === undefined) return [];
      return [{ family, address: addressOf(hex, family), port: Number.parseInt(port, 16), inode }];
    });
}

/** Words of 32 bits, each printed as a number of the machine's own byte order. */
function addressOf(hex: string, family: Family): string {
  const bytes = Buffer.from(hex, 'hex');
  if (endianness() === 'LE') bytes.swap32();
  const address = { family, bytes: [...bytes] };
  const mapped = family === 6 && /^(0{20}ffff)/.test(bytes.toString('hex'));
  return formatIp(mapped ? { family: 4, bytes: address.bytes.slice(12) } : address);
}

function isInTheWay({ address, port }: ListeningSocket, query: ListenerQuery): boolean {
  const { family, hostAddress, firstPort, lastPort } = query;
  if (port < firstPort || port > lastPort) return false;
  if (address === '::') return true;
  if (parseIp(address)?.family !== family) return false;
  return address === '0.0.0.0' || hostAddress === undefined || address === hostAddress;
}

/** The process that has the socket, where it can be seen: asked for only when there is something to tell. */
function ownerOf(inode: string): Pick<HostListener, 'pid' | 'program'> {
  const wanted = `socket:[${inode}]`;
  for (const pid of listQuietly('/proc').filter((name) => /^\d+$/.test(name)))
    for (const fd of listQuietly(`/proc/${pid}/fd`))
      if (quietly(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) === wanted) {
        const program = quietly(() => basename(readlinkSync(`/proc/${pid}/exe`)));
        return { pid: Number(pid), ...(program !== undefined && { program: oneLine(program, 40) }) };
      }
  return {};
}

const listQuietly = (path: string): string[] => quietly(() => readdirSync(path)) ?? [];

/** Processes end while they are looked at, and some are not ours to look at. */
function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
