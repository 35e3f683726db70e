/**
 * The way in for other hosts (qemu+tls://): TLS with certificates on both sides, and a list of whom to let in. What is
 * inside goes to the one server of the protocol.
 */
import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { reasonOf, VirtError } from '../../../base/errors.ts';
import { readText, statIfPresent } from '../../../base/files.ts';
import type { Logger } from '../../../base/log.ts';
import type { RemoteClient } from './context.ts';
import { joinSockets } from './join-sockets.ts';

export interface TlsOptions {
  /** Addresses of this host to listen on. */
  readonly addresses: readonly string[];
  readonly port: number;
  /** Files in PEM: who signs clients, who we are, and which certificates were called back (read when it is there). */
  readonly files: { readonly ca: string; readonly cert: string; readonly key: string; readonly crl: string };
  /** Names of clients that are let in, with `*` for any text. */
  readonly allowedNames: readonly string[];
  /** Opens a connection for a client; it carries what that says. @throws Error when there is no room */
  readonly open: (client: RemoteClient) => Socket;
  readonly log: Logger;
}

const MAX_CLIENTS = 100;
const HANDSHAKE_MS = 10_000;
const MAX_PEM_BYTES = 1024 * 1024;
/** virnetserverclient.c and virnetclient.c: the server's word that it has taken the certificate. */
const ACCEPTED = Buffer.from([1]);

export interface TlsDoor {
  readonly urls: readonly string[];
  close(): Promise<void>;
}

/** Listens on all addresses, or on none. @throws VirtError config.invalid, file.* */
export async function serveTls(options: TlsOptions): Promise<TlsDoor> {
  const { ca, cert, key, crl } = options.files;
  const read = (path: string) => readText(path, MAX_PEM_BYTES);
  const credentials = {
    ca: await read(ca),
    cert: await read(cert),
    key: await read(key),
    ...((await statIfPresent(crl)) !== undefined && { crl: await read(crl) }),
  };
  const servers: Server[] = [];
  const clients = new Set<Socket>();
  const close = async () => {
    for (const client of clients) client.destroy();
    await Promise.all(servers.map((server) => new Promise<void>((done) => server.close(() => done()))));
  };
  try {
    for (const address of options.addresses) {
      const server = makeServer(options, credentials, clients);
      await listen(server, address, options.port);
      servers.push(server);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { urls: options.addresses.map((address) => `tls://${address}:${options.port}`), close };
}

function makeServer(
  options: TlsOptions,
  credentials: { readonly ca: string; readonly cert: string; readonly key: string; readonly crl?: string },
  clients: Set<Socket>,
): Server {
  const { log } = options;
  let server: Server;
  try {
    server = createServer({
      ...credentials,
      minVersion: 'TLSv1.2',
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_MS,
    });
  } catch (error) {
    throw wrong(`a certificate or key cannot be used: ${reasonOf(error)}`, error);
  }
  // Of all that knock, those in their handshake included.
  server.maxConnections = MAX_CLIENTS;
  server.on('tlsClientError', (error, { remoteAddress }) =>
    log.warn({ address: remoteAddress, reason: reasonOf(error) }, 'refused a TLS client'),
  );
  server.on('secureConnection', (client) => admit(client, options, clients));
  server.on('error', (error) => log.error({ err: error }, 'the TLS socket failed'));
  return server;
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: unknown) => reject(wrong(`${host}:${port}: ${reasonOf(error)}`, error));
    server.once('error', failed);
    server.listen({ host, port, exclusive: true }, () => {
      server.off('error', failed);
      resolve();
    });
  });
}

function admit(client: TLSSocket, options: TlsOptions, clients: Set<Socket>): void {
  const { allowedNames, log } = options;
  const certificate = client.getPeerX509Certificate();
  const names = certificate === undefined ? [] : distinguishedNames(certificate);
  const facts = { address: client.remoteAddress, name: names[0] };
  client.on('error', (error) => log.debug({ ...facts, reason: reasonOf(error) }, 'a TLS client failed'));
  if (!client.authorized || !names.some((name) => isAllowed(name, allowedNames))) {
    log.warn(facts, 'refused a TLS client: its name is not in tls_allowed_names');
    client.destroy();
    return;
  }
  log.info(facts, 'a TLS client is let in');
  const { remoteAddress: address = 'gone' } = client;
  const [name = ''] = names;
  client.write(ACCEPTED);
  joinSockets(client, () => options.open({ address, certificate: name, isEncrypted: true }), {
    clients,
    log,
  });
}

/** The subject as `CN=ann,O=Example` and in the certificate's own order, which is that of libvirt's older examples. */
export function distinguishedNames({ subject }: Pick<X509Certificate, 'subject'>): string[] {
  const parts = subject.split('\n').filter((part) => part !== '');
  return [parts.toReversed().join(','), parts.join(',')];
}

/** True when a pattern fits the whole name. `*` is any text; everything else stands for itself. */
export function isAllowed(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    const source = pattern.split('*').map(escape).join('.*');
    return new RegExp(`^${source}$`, 's').test(name);
  });
}

const escape = (text: string) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');

function wrong(reason: string, cause: unknown): VirtError {
  return new VirtError('config.invalid', {
    wanted: 'serve other hosts by TLS',
    reason,
    hint: "see section [libvirt] of vireod.toml, settings 'tls_...'",
    cause,
  });
}
