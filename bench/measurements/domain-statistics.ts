/** Statistics of twenty running guests in one call (`virsh domstats`, all groups), beside libvirtd. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { diskGuestXml } from '../definitions.ts';
import type { Measurement } from '../result.ts';
import { openSides, Times } from '../sides.ts';
import type { Bench } from './bench.ts';

const GUESTS = 20;
/** A share of libvirtd's time. */
const GOAL = 0.3;

export async function measureDomainStatistics(bench: Bench): Promise<readonly Measurement[]> {
  const sides = openSides(bench);
  const times = new Times<'domstats'>();
  const running: (() => Promise<unknown>)[] = [];
  try {
    for (const side of sides) {
      const directory = bench.place.make(`statistics-${side.name}`);
      for (let index = 0; index < GUESTS; index += 1) {
        const name = `statistics-${side.name}-${index}`;
        const file = join(directory, `${index}.xml`);
        writeFileSync(file, diskGuestXml(name, directory));
        await side.virsh.tell(`create ${file}`);
        running.push(() => side.virsh.tell(`destroy ${name}`));
      }
    }
    await delay(5000); // Firmware has found nothing to boot by then.
    // The first round of each loads what later ones have.
    for (let round = -1; round < bench.rounds; round += 1)
      for (const side of sides) {
        const ms = await side.virsh.tell('domstats --list-running');
        if (round >= 0) times.note(side, 'domstats', ms);
      }
  } finally {
    for (const destroy of running) await destroy();
    for (const { virsh } of sides) await virsh.end();
  }
  return [times.row('domstats', `virsh domstats of ${GUESTS} running guests`, GOAL)];
}
