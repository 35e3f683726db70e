/** How long a person waits for the command line, against Node doing nothing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { compare, type Measurement } from '../result.ts';
import { timeMs } from '../statistics.ts';
import type { Bench } from './bench.ts';

export async function measureCli(bench: Bench): Promise<readonly Measurement[]> {
  const samples = { ours: [] as number[], floor: [] as number[] };
  const list = [bench.place.entry('cli'), '--root', bench.daemon.root, 'list'];
  // As the launcher has it: compiled code is kept, and the first command makes it.
  const kept = { ...process.env, NODE_COMPILE_CACHE: bench.place.make('compiled') };
  await runNode(list, kept);
  for (let round = 0; round < bench.rounds; round += 1) {
    samples.ours.push(await timeMs(() => runNode(list, kept)));
    samples.floor.push(await timeMs(() => runNode(['-e', '0'], process.env)));
  }
  const row = compare('vireo list / an empty Node', 'ms', samples);
  return [{ ...row, goal: { of: 'value', atMost: 200 } }];
}

async function runNode(args: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'], env });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}`);
}
