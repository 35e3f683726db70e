/** A JSON-RPC request that does nothing, against a bare echo; the same client code for both. */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { EchoServer, LineSocket, pingLine } from '../echo.ts';
import { compare, type Measurement } from '../result.ts';
import { median, timeMs } from '../statistics.ts';
import type { Bench } from './bench.ts';

const BATCH = 1000;

export async function measurePing(bench: Bench): Promise<readonly Measurement[]> {
  const echo = await EchoServer.start(bench.place.make('echo'));
  const ours = await LineSocket.open(bench.daemon.socketPath);
  const floor = await LineSocket.open(echo.socketPath);
  // A wake-up on another processor costs several times one on the same. Where the kernel puts whom is chance: here the
  // client is on one processor and both servers are on another.
  const unpin = pinApart(process.pid, [bench.daemon.pid, echo.pid]);
  const samples = { ours: [] as number[], floor: [] as number[] };
  for (let round = 0; round < 10; round += 1) {
    await timePings(ours); // both servers compile what they run often
    await timePings(floor);
  }
  for (let round = 0; round < bench.rounds; round += 1) {
    samples.ours.push(await timePings(ours));
    samples.floor.push(await timePings(floor));
  }
  unpin();
  ours.close();
  floor.close();
  echo.end();
  return [compare('JSON-RPC ping', 'µs', samples, 3)];
}

/** Binds the client to the first processor and the servers to the second; returns what undoes it. */
function pinApart(client: number, servers: readonly number[]): () => void {
  if (availableParallelism() < 2) return () => undefined;
  const bind = (pid: number, cpus: string) =>
    spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', cpus, String(pid)], { stdio: 'ignore' });
  bind(client, '0');
  for (const server of servers) bind(server, '1');
  return () => {
    for (const pid of [client, ...servers]) bind(pid, `0-${availableParallelism() - 1}`);
  };
}

/** The median round trip in microseconds. */
async function timePings(socket: LineSocket): Promise<number> {
  const samples: number[] = [];
  for (let count = 0; count < BATCH; count += 1) samples.push(await timeMs(() => socket.roundTrip(pingLine)));
  return median(samples) * 1000;
}
