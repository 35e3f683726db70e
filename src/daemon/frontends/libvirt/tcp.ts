/**
 * The way in for other hosts that nothing protects (qemu+tcp://): no encryption, no password, and whoever reaches the port
 * may do what root may. For networks that are cut off from everybody else, and tunnels. Off unless addresses are named.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { reasonOf, VirtError } from '../../../base/errors.ts';
import type { Logger } from '../../../base/log.ts';
import type { RemoteClient } from './context.ts';
import { joinSockets } from './join-sockets.ts';

const MAX_CLIENTS = 100;

export interface TcpOptions {
  /** Addresses of this host to listen on. */
  readonly addresses: readonly string[];
  readonly port: number;
  /** Opens a connection for a client; it carries what that says. @throws Error when there is no room */
  readonly open: (client: RemoteClient) => Socket;
  readonly log: Logger;
}

export interface TcpDoor {
  readonly urls: readonly string[];
  close(): Promise<void>;
}

/** Listens on all addresses, or on none. @throws VirtError config.invalid */
export async function serveTcp({ addresses, port, open, log }: TcpOptions): Promise<TcpDoor> {
  const servers: Server[] = [];
  const clients = new Set<Socket>();
  const close = async () => {
    for (const client of clients) client.destroy();
    await Promise.all(servers.map((server) => new Promise<void>((done) => server.close(() => done()))));
  };
  try {
    for (const host of addresses) {
      const server = createServer((client) => {
        client.on('error', (error) => log.debug({ reason: reasonOf(error) }, 'a TCP client failed'));
        const { remoteAddress: address = 'gone' } = client;
        log.warn({ address }, 'a client is let in over TCP, without any proof of who it is');
        joinSockets(client, () => open({ address, isEncrypted: false }), { clients, log });
      });
      server.maxConnections = MAX_CLIENTS;
      await listen(server, host, port);
      server.on('error', (error) => log.error({ err: error }, 'the TCP socket failed'));
      servers.push(server);
    }
  } catch (error) {
    await close();
    throw error;
  }
  const urls = addresses.map((address) => `tcp://${address}:${port}`);
  log.warn(
    { urls },
    'whoever reaches these addresses may do what root may: nothing is asked, nothing is encrypted',
  );
  return { urls, close };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new VirtError('config.invalid', {
          wanted: 'serve other hosts by TCP',
          reason: `${host}:${port}: ${reasonOf(error)}`,
          hint: "see section [libvirt] of vireod.toml, settings 'tcp_...'",
          cause: error,
        }),
      ),
    );
    server.listen({ host, port, exclusive: true }, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });
}
