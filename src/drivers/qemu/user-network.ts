/** Which addresses guests use on QEMU's own user networks: read from its list of open connections. Pure. */
import { formatIp, parseIp } from '../../base/ip.ts';

interface Connection {
  readonly protocol: string;
  /** `HOST_FORWARD`, a TCP state, or the seconds a UDP or ICMP entry has left. */
  readonly state: string;
  readonly source: string;
  readonly sourcePort: string;
  readonly destination: string;
}

/**
 * The answer to `info usernet` (slirp_connection_info() in libslirp's misc.c): a heading for each netdev, then lines
 * `TCP[ESTABLISHED] FD SOURCE PORT DESTINATION PORT RECVQ SENDQ`. Of a connection that the guest began, the source is
 * the guest; of one that came by a forward, whose host end stands in a HOST_FORWARD line, the destination is, once it is
 * established. A forward alone says nothing of the guest: it is there before the guest is.
 */
export function parseUserNetwork(text: string): { alias: string; address: string }[] {
  return sectionsOf(text).flatMap(({ alias, connections }) => {
    const addresses = connections.flatMap((connection) => guestEnd(connection, connections) ?? []);
    return [...new Set(addresses)].map((address) => ({ alias, address }));
  });
}

interface Section {
  readonly alias: string;
  readonly connections: Connection[];
}

function sectionsOf(text: string): Section[] {
  const sections: Section[] = [];
  for (const line of text.split('\n')) {
    // The netdev is `host` and the alias of the interface (argv/interface.ts).
    const heading = /\(host([A-Za-z0-9_.-]{1,64})\):\s*$/.exec(line);
    if (heading?.[1] !== undefined) sections.push({ alias: heading[1], connections: [] });
    const entry = /^\s*([A-Z]+)\[([^\]]*)\]\s+-?\d+\s+(\S+)\s+(\d+)\s+(\S+)\s+\d+\s/.exec(line);
    if (entry === null) continue;
    const [, protocol = '', state = '', source = '', sourcePort = '', destination = ''] = entry;
    sections.at(-1)?.connections.push({ protocol, state, source, sourcePort, destination });
  }
  return sections;
}

const HOST_FORWARD = 'HOST_FORWARD';
/** TCP states that the two ends reach only together. */
const meets = new Set(['ESTABLISHED', 'CLOSE_WAIT', 'FIN_WAIT_1', 'FIN_WAIT_2', 'CLOSING', 'LAST_ACK']);

function guestEnd(connection: Connection, all: readonly Connection[]): string | undefined {
  if (connection.state === HOST_FORWARD) return undefined;
  const isForwarded = all.some(
    (other) =>
      other.state === HOST_FORWARD &&
      other.protocol === connection.protocol &&
      other.sourcePort === connection.sourcePort &&
      (other.source === '*' || other.source === connection.source),
  );
  if (isForwarded && !meets.has(connection.state)) return undefined;
  const ip = parseIp(isForwarded ? connection.destination : connection.source);
  // libslirp prints the first bytes of an IPv6 address as if they were IPv4; real ones of guests are private.
  return ip?.family === 4 && ip.bytes[0] !== 0 && ip.bytes[0] !== 127 ? formatIp(ip) : undefined;
}
