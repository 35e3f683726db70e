/** Twenty guests started at once, each asked for on a connection of its own, against twenty bare QEMUs at once. */

import { setTimeout as delay } from 'node:timers/promises';
import type { VireoClient } from '../../src/api/client.ts';
import { BareQemu } from '../bare-qemu.ts';
import { minimalXml } from '../definitions.ts';
import { cpuMs, wakeups } from '../processes.ts';
import { absolute, compare, type Measurement } from '../result.ts';
import { timeMs } from '../statistics.ts';
import type { Bench } from './bench.ts';
import { recipeFor } from './start.ts';

const GUESTS = 20;

export async function measureParallel(bench: Bench): Promise<readonly Measurement[]> {
  const clients = await Promise.all(Array.from({ length: GUESTS }, () => bench.daemon.connect()));
  const domains = await Promise.all(clients.map((client, index) => define(client, `many${index}`)));
  const [first] = clients;
  if (first === undefined) throw new Error('there is no client');
  const recipe = await recipeFor(bench, first, domains[0] ?? '');
  const onAll = (method: 'domain.start' | 'domain.destroy' | 'domain.undefine'): Promise<unknown> =>
    Promise.all(clients.map((client, index) => client.call(method, { domain: domains[index] ?? '' })));
  const start = { ours: [] as number[], floor: [] as number[] };
  const destroy = { ours: [] as number[], floor: [] as number[] };
  let idle: readonly Measurement[] = [];
  const rounds = bench.isQuick ? 1 : 7;
  for (let round = 0; round < rounds; round += 1) {
    const bare: BareQemu[] = [];
    start.floor.push(await timeMs(async () => bare.push(...(await startBare(bench, recipe)))));
    destroy.floor.push(await timeMs(() => Promise.all(bare.map((qemu) => qemu.kill()))));
    start.ours.push(await timeMs(() => onAll('domain.start')));
    if (round === rounds - 1) idle = await measureIdle(bench);
    destroy.ours.push(await timeMs(() => onAll('domain.destroy')));
  }
  await onAll('domain.undefine');
  await Promise.all(clients.map((client) => client.close()));
  return [
    compare('start 20 minimal pc at once', 'ms', start, 1.3),
    compare('destroy 20 at once', 'ms', destroy),
    ...idle,
  ];
}

async function define(client: VireoClient, name: string): Promise<string> {
  return (await client.call('domain.define', { xml: minimalXml(name, 'pc') })).domain.uuid;
}

function startBare(bench: Bench, recipe: Parameters<typeof BareQemu.start>[0]): Promise<BareQemu[]> {
  const directory = bench.place.makeRuntime('bare');
  return Promise.all(
    Array.from({ length: GUESTS }, () => BareQemu.start(recipe, directory, { paused: false })),
  );
}

/** What the daemon does while twenty guests run and nobody asks for anything. */
async function measureIdle(bench: Bench): Promise<readonly Measurement[]> {
  const { pid } = bench.daemon;
  // Seconds after the last work V8 collects garbage once more; what comes after that is what idling costs.
  await delay(15_000);
  const seconds = bench.isQuick ? 5 : 20;
  const before = { cpu: cpuMs(pid), wakeups: wakeups(pid) };
  await delay(seconds * 1000);
  return [
    absolute('idle with 20 guests, CPU', 'ms/s', [(cpuMs(pid) - before.cpu) / seconds], 0.5),
    absolute('idle with 20 guests, wake-ups', '/s', [(wakeups(pid) - before.wakeups) / seconds], 2),
  ];
}
