/** Network cards on QEMU's own sockets: multicast groups and segments, TCP between two guests, UDP tunnels. */
import type { Interface } from '../../../model/domain/devices/interface.ts';
import { isSegmentGroup } from '../../../model/domain/segment.ts';
import type { Build } from './context.ts';
import type { JsonObject } from './types.ts';

/** The kinds of `<interface type=...>` that are QEMU's `-netdev socket` (QEMU docs, "Network emulation"). */
export type SocketSource = Extract<Interface['source'], { type: 'mcast' | 'client' | 'server' | 'udp' }>;

/** The back end. All of them are in the clear: whoever reaches the port reads and writes the guest's frames. */
export function socketNetdev(
  b: Build,
  source: SocketSource,
  path: string,
): JsonObject & { readonly type: string } {
  const endpoint = (place: { readonly address: string; readonly port: number }, at: string): string => {
    // QEMU's parse_host_port (util/qemu-sockets.c) knows names and IPv4 only.
    if (place.address.includes(':')) b.problem(`${path}.source${at}.address`, 'QEMU takes IPv4 here only');
    return `${place.address}:${place.port}`;
  };
  switch (source.type) {
    case 'mcast':
      if (!isMulticast(source.address))
        b.problem(`${path}.source.address`, `${source.address} is no multicast address (224.0.0.0/4)`);
      return {
        type: 'socket',
        mcast: endpoint(source, ''),
        localaddr: isSegmentGroup(source.address) ? '127.0.0.1' : undefined,
      };
    case 'client':
      return { type: 'socket', connect: endpoint(source, '') };
    case 'server':
      return { type: 'socket', listen: endpoint({ address: source.address ?? '', port: source.port }, '') };
    case 'udp':
      return {
        type: 'socket',
        udp: endpoint(source, ''),
        localaddr: endpoint(source.local, '.local'),
      };
  }
}

function isMulticast(address: string): boolean {
  const first = Number(address.split('.')[0]);
  return address.includes('.') && first >= 224 && first <= 239;
}
