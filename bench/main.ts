/**
 * The benchmark (`npm run bench`): a real daemon and real guests against the floor, the same work without a daemon,
 * measured in turn in the same run. What comes out is docs/performance.md.
 */

import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BenchDaemon, project, Workplace } from './daemon.ts';
import { writeImages } from './definitions.ts';
import { describeMachine } from './machine.ts';
import type { Bench, Measure } from './measurements/bench.ts';
import { measureCli } from './measurements/cli.ts';
import { measureDefine } from './measurements/define.ts';
import { measureDomainStatistics } from './measurements/domain-statistics.ts';
import { measureHotplug } from './measurements/hotplug.ts';
import { measureLibvirt } from './measurements/libvirt.ts';
import { measureNetwork } from './measurements/network.ts';
import { measureParallel } from './measurements/parallel.ts';
import { measurePing } from './measurements/ping.ts';
import { measureSavedStates } from './measurements/saved-states.ts';
import { measureSnapshots } from './measurements/snapshots.ts';
import { measureStart } from './measurements/start.ts';
import { measureStorageImages } from './measurements/storage-images.ts';
import { measureStorageTransfer } from './measurements/storage-transfer.ts';
import { measureThousand } from './measurements/thousand.ts';
import { formatTable, isMet, type Measurement } from './result.ts';

const groups: Readonly<Record<string, Measure>> = {
  start: measureStart,
  define: measureDefine,
  ping: measurePing,
  cli: measureCli,
  thousand: measureThousand,
  parallel: measureParallel,
  network: measureNetwork,
  'storage-images': measureStorageImages,
  'storage-transfer': measureStorageTransfer,
  'saved-states': measureSavedStates,
  snapshots: measureSnapshots,
  hotplug: measureHotplug,
  'domain-statistics': measureDomainStatistics,
  libvirt: measureLibvirt,
};

const usage = `npm run bench -- [options] [group ...]
Groups: ${Object.keys(groups).join(', ')} (default: all)
  --quick       fewer samples: a minute instead of several
  --json        one JSON document instead of the table
  --strict      exit with 1 when a goal is missed (a slow or busy machine misses them)
  --directory D where daemon and guests keep their files (default: the directory for temporary files); its file
                system is the one that is measured
  --dist D      measure this build, as it is; without it dist/ is built first
  --peer C      measure libvirtd beside it: C runs the command that it is given with a private libvirtd`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      strict: { type: 'boolean', default: false },
      directory: { type: 'string', default: tmpdir() },
      dist: { type: 'string' },
      peer: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  });
  if (values.help) return void process.stdout.write(`${usage}\n`);
  const wanted = positionals.length > 0 ? positionals : Object.keys(groups);
  const unknown = wanted.find((name) => !Object.hasOwn(groups, name));
  if (unknown !== undefined) throw new Error(`there is no group '${unknown}'\n${usage}`);
  const dist = values.dist ?? join(project, 'dist');
  if (values.dist === undefined)
    execFileSync(process.execPath, [join(project, 'scripts/build.ts')], { stdio: 'inherit' });
  const machine = describeMachine(values.directory);
  const rows = await measure(wanted, new Workplace(values.directory, dist), values);
  tell({ date: new Date().toISOString().slice(0, 10), machine, rows }, values.json);
  if (values.strict && rows.some((row) => isMet(row) === false)) process.exitCode = 1;
}

async function measure(
  names: readonly string[],
  place: Workplace,
  options: { readonly quick: boolean; readonly peer?: string | undefined },
): Promise<Measurement[]> {
  const { quick: isQuick, peer } = options;
  const rows: Measurement[] = [];
  let daemon: BenchDaemon | undefined;
  try {
    const images = place.make('images');
    writeImages(images);
    // The first start probes QEMU, which takes seconds and is kept on disk: not what a start costs.
    ({ daemon } = await BenchDaemon.start(place, 'r'));
    await warmUp(daemon);
    const bench: Bench = { place, daemon, images, rounds: isQuick ? 5 : 20, isQuick, ...(peer && { peer }) };
    for (const name of names) {
      process.stderr.write(`measuring ${name} ...\n`);
      rows.push(...((await groups[name]?.(bench)) ?? []));
    }
  } finally {
    await daemon?.end('SIGKILL');
    place.remove();
  }
  return rows;
}

async function warmUp(daemon: BenchDaemon): Promise<void> {
  await using client = await daemon.connect();
  await client.call('host.capabilities');
}

function tell(
  result: { date: string; machine: string; rows: readonly Measurement[] },
  asJson: boolean,
): void {
  if (asJson) {
    const rows = result.rows.map((row) => ({ ...row, met: isMet(row) ?? null }));
    process.stdout.write(`${JSON.stringify({ ...result, rows }, null, 2)}\n`);
    return;
  }
  process.stdout.write(`${result.date}, ${result.machine}\n\n${formatTable(result.rows)}\n`);
}

await main();
