/** A daemon with a thousand definitions: how soon it answers again after a restart, and what each one costs. */
import { setTimeout as delay } from 'node:timers/promises';
import { BenchDaemon } from '../daemon.ts';
import { twentyDeviceXml } from '../definitions.ts';
import { privateKiB, rssKiB } from '../processes.ts';
import { absolute, type Measurement } from '../result.ts';
import { timeMs } from '../statistics.ts';
import type { Bench } from './bench.ts';
import { measureLoop } from './event-loop.ts';

const DEFINITIONS = 1000;
/** Until a daemon that was only started has come to rest. */
const SETTLE_MS = 4000;

export async function measureThousand(bench: Bench): Promise<readonly Measurement[]> {
  const empty = await restart(bench, undefined);
  const emptyRss = await restingRss(empty.daemon);
  const emptyPrivate = privateKiB(empty.daemon.pid);
  await warmUp(bench, empty.daemon);
  const warmRss = await restingRss(empty.daemon);
  const defineMs = await timeMs(() => defineAll(bench, empty.daemon));
  const grownRss = await restingRss(empty.daemon);
  let { daemon } = empty;
  const restarts: number[] = [];
  for (let round = 0; round < (bench.isQuick ? 2 : 5); round += 1) {
    const next = await restart(bench, daemon);
    daemon = next.daemon;
    restarts.push(next.firstAnswerMs);
  }
  const restartedRss = await restingRss(daemon);
  const list = await timeLists(bench, daemon);
  const loop = await measureLoop(bench, daemon);
  await daemon.end();
  return [
    absolute('idle daemon, RSS', 'MiB', [emptyRss / 1024], 80),
    absolute('idle daemon, RSS without shared files (RssAnon)', 'MiB', [emptyPrivate / 1024]),
    absolute('idle daemon after 300 defines and undefines, RSS', 'MiB', [warmRss / 1024]),
    absolute('start of a daemon without domains to first answer', 'ms', [empty.firstAnswerMs]),
    absolute('1000 definitions: restart to first answer', 'ms', restarts, 1000),
    absolute(
      '1000 definitions: RSS each, after defining them',
      'KiB',
      [(grownRss - warmRss) / DEFINITIONS],
      40,
    ),
    absolute(
      '1000 definitions: RSS each, after a restart',
      'KiB',
      [(restartedRss - emptyRss) / DEFINITIONS],
      40,
    ),
    absolute('1000 definitions: define each, 5 at once', 'ms', [defineMs / DEFINITIONS]),
    absolute('1000 definitions: list', 'ms', list),
    ...loop,
  ];
}

/** Work that leaves no domain behind: what a daemon grows by once, for code that runs, is no domain's. */
async function warmUp(bench: Bench, daemon: BenchDaemon): Promise<void> {
  await using client = await daemon.connect();
  for (let round = 0; round < 300; round += 1) {
    await client.call('domain.define', { xml: twentyDeviceXml('warm', bench.images) });
    await client.call('domain.undefine', { domain: 'warm' });
  }
}

async function restart(
  bench: Bench,
  old: BenchDaemon | undefined,
): Promise<{ daemon: BenchDaemon; firstAnswerMs: number }> {
  await old?.end('SIGKILL');
  return BenchDaemon.start(bench.place, 'thousand');
}

async function restingRss(daemon: BenchDaemon): Promise<number> {
  await delay(SETTLE_MS);
  return rssKiB(daemon.pid);
}

async function defineAll(bench: Bench, daemon: BenchDaemon): Promise<void> {
  await using client = await daemon.connect();
  for (let first = 0; first < DEFINITIONS; first += 5)
    await Promise.all(
      Array.from({ length: 5 }, (_, index) =>
        client.call('domain.define', { xml: twentyDeviceXml(`d${first + index}`, bench.images) }),
      ),
    );
}

async function timeLists(bench: Bench, daemon: BenchDaemon): Promise<number[]> {
  await using client = await daemon.connect();
  const samples: number[] = [];
  for (let round = 0; round < bench.rounds; round += 1)
    samples.push(await timeMs(() => client.call('domain.list')));
  return samples;
}
