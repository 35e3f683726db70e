/** A TCP port of the loopback that nobody has. */
import { type AddressInfo, createServer } from 'node:net';

/** Free when it was looked at; who takes it between then and its use makes that fail with a clear error. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((done) => server.close(() => done()));
  return port;
}
