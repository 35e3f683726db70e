/**
 * A program: pings the daemon and an echo server in turn, and tells at each line on its standard input the longest that
 * either took since the last. Of a ping only the time counts in which the daemon's own thread computed: on a busy machine
 * both wait for the processor, which no daemon can help. What the echo took shows how busy the machine was.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { LineSocket, pingLine } from './echo.ts';

const [daemonPath = '', daemonPid = '', echoPath = ''] = process.argv.slice(2);
const daemon = await LineSocket.open(daemonPath);
const echo = await LineSocket.open(echoPath);
const longest = { daemonMs: 0, echoMs: 0 };

createInterface({ input: process.stdin }).on('line', () => {
  process.stdout.write(`${JSON.stringify(longest)}\n`);
  longest.daemonMs = 0;
  longest.echoMs = 0;
});
process.stdin.on('close', () => process.exit(0));

/** Milliseconds that the main thread of the daemon has run so far (proc(5), schedstat, in nanoseconds). */
function mainThreadMs(): number {
  const path = `/proc/${daemonPid}/task/${daemonPid}/schedstat`;
  return Number(readFileSync(path, 'utf8').split(' ')[0]) / 1e6;
}

async function timed(socket: LineSocket): Promise<number> {
  const startedAt = performance.now();
  await socket.roundTrip(pingLine);
  return performance.now() - startedAt;
}

process.stdout.write('ready\n');
for (;;) {
  const before = mainThreadMs();
  const took = await timed(daemon);
  longest.daemonMs = Math.max(longest.daemonMs, Math.min(took, mainThreadMs() - before));
  longest.echoMs = Math.max(longest.echoMs, await timed(echo));
  // So often that nothing over 2 ms is missed, so seldom that the daemon has time for the others.
  await new Promise((resolve) => {
    setTimeout(resolve, 1);
  });
}
