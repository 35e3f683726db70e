/** Starting and destroying one guest, against a bare QEMU with the same arguments. */
import type { VireoClient } from '../../src/api/client.ts';
import { BareQemu, type Recipe, recipeOf } from '../bare-qemu.ts';
import { imagesIn, minimalXml, twentyDeviceXml } from '../definitions.ts';
import { cpuMs, processesBelow } from '../processes.ts';
import { absolute, compare, type Measurement } from '../result.ts';
import { timeMs } from '../statistics.ts';
import type { Bench } from './bench.ts';

interface Flavour {
  readonly name: string;
  readonly xml: string;
  readonly paused: boolean;
}

/** The recipe of a domain: it is started once, read off, and ended. */
export async function recipeFor(bench: Bench, client: VireoClient, domain: string): Promise<Recipe> {
  await client.call('domain.start', { domain, paused: true });
  const pid = processesBelow(bench.daemon.root)[0];
  if (pid === undefined) throw new Error(`the guest of ${domain} is not to be found`);
  const recipe = recipeOf(pid, imagesIn(bench.images));
  await client.call('domain.destroy', { domain });
  return recipe;
}

export async function measureStart(bench: Bench): Promise<readonly Measurement[]> {
  const flavours: Flavour[] = [
    { name: 'minimal pc', xml: minimalXml('pc', 'pc'), paused: false },
    { name: 'minimal q35', xml: minimalXml('q35', 'q35'), paused: false },
    { name: '20-device q35, paused', xml: twentyDeviceXml('twenty', bench.images), paused: true },
  ];
  const rows: Measurement[] = [];
  for (const flavour of flavours) rows.push(...(await measureFlavour(bench, flavour)));
  return rows;
}

async function measureFlavour(bench: Bench, flavour: Flavour): Promise<readonly Measurement[]> {
  await using client = await bench.daemon.connect();
  const { domain } = await client.call('domain.define', { xml: flavour.xml });
  const target = { domain: domain.uuid };
  const recipe = await recipeFor(bench, client, domain.uuid);
  const directory = bench.place.makeRuntime('bare');
  const { paused } = flavour;
  const start = { ours: [] as number[], floor: [] as number[] };
  const destroy = { ours: [] as number[], floor: [] as number[] };
  const cpu: number[] = [];
  for (let round = 0; round < bench.rounds; round += 1) {
    const before = cpuMs(bench.daemon.pid);
    start.ours.push(await timeMs(() => client.call('domain.start', { ...target, paused })));
    cpu.push(cpuMs(bench.daemon.pid) - before);
    destroy.ours.push(await timeMs(() => client.call('domain.destroy', target)));
    let bare: BareQemu | undefined;
    start.floor.push(
      await timeMs(async () => {
        bare = await BareQemu.start(recipe, directory, { paused });
      }),
    );
    destroy.floor.push(await timeMs(() => bare?.kill()));
  }
  await client.call('domain.undefine', target);
  return [
    compare(`start ${flavour.name}`, 'ms', start, 1.3),
    absolute(`start ${flavour.name}, daemon CPU`, 'ms', cpu),
    compare(`destroy ${flavour.name}`, 'ms', destroy, 3),
  ];
}
