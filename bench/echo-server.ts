/** A program: what a unix socket costs at least. Gives back every byte; prints a line when it listens. */
import { createServer } from 'node:net';

const server = createServer((socket) => {
  socket.on('data', (chunk) => socket.write(chunk));
  socket.on('error', () => socket.destroy());
});
server.listen(process.argv[2], () => process.stdout.write('ready\n'));
