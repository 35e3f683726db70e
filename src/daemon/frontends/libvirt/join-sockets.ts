/** Joins a client of another host to a connection of our server: bytes both ways, and the end of one is the other's. */
import type { Socket } from 'node:net';
import { reasonOf } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';

/** `open` makes our side; when it throws, the client is cut off. `clients` has those that are in. */
export function joinSockets(
  client: Socket,
  open: () => Socket,
  { clients, log }: { readonly clients: Set<Socket>; readonly log: Logger },
): void {
  let inner: Socket;
  try {
    inner = open();
  } catch (error) {
    log.warn({ address: client.remoteAddress, reason: reasonOf(error) }, 'refused a client of another host');
    client.destroy();
    return;
  }
  clients.add(client);
  const end = () => {
    clients.delete(client);
    client.destroy();
    inner.destroy();
  };
  inner.on('error', (error) => log.debug({ reason: reasonOf(error) }, 'the connection of a client failed'));
  for (const socket of [client, inner]) socket.once('close', end);
  client.pipe(inner);
  inner.pipe(client);
}
