/** TCP ports for servers that tests start. */
import { createServer } from 'node:net';

/** Below those that the kernel gives to connections (ip_local_port_range begins at 32768): no other test gets one of these by chance. */
const FIRST = 20_000;
const COUNT = 10_000;

/** A port of 127.0.0.1 on which nobody listens. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((done) => {
    server.once('error', () => done(false));
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)));
  });
}
