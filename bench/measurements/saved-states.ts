/** Saving a running guest to a file and going on from it, by virsh, beside libvirtd. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { FilledGuest } from '../filling-guest.ts';
import type { Measurement } from '../result.ts';
import { openSides, Times } from '../sides.ts';
import type { Bench } from './bench.ts';

/** Shares of libvirtd's time. */
const goals = { save: 0.5, restore: 0.35 } as const;

export async function measureSavedStates(bench: Bench): Promise<readonly Measurement[]> {
  const small = await measureGuest(bench, { memoryMiB: 64, rounds: bench.rounds, isGoal: true });
  if (bench.isQuick) return small;
  return [...small, ...(await measureGuest(bench, { memoryMiB: 512, rounds: 5, isGoal: false }))];
}

interface Size {
  readonly memoryMiB: number;
  readonly rounds: number;
  readonly isGoal: boolean;
}

async function measureGuest(
  bench: Bench,
  { memoryMiB, rounds, isGoal }: Size,
): Promise<readonly Measurement[]> {
  const sides = openSides(bench);
  const times = new Times<'save' | 'restore'>();
  const guests: FilledGuest[] = [];
  try {
    for (const side of sides)
      guests.push(await FilledGuest.start(bench, side, { topic: 'saved', memoryMiB, format: 'raw' }));
    // The first round of each loads what later ones have.
    for (let round = -1; round < rounds; round += 1)
      for (const guest of guests) {
        const file = join(guest.directory, 'state');
        const saveMs = await guest.tell(`save ${guest.name} ${file}`);
        const restoreMs = await guest.tell(`restore ${file}`);
        rmSync(file);
        if (round < 0) continue;
        times.note(guest.side, 'save', saveMs);
        times.note(guest.side, 'restore', restoreMs);
      }
  } finally {
    for (const guest of guests) await guest.end();
    for (const { virsh } of sides) await virsh.end();
  }
  return (['save', 'restore'] as const).map((name) =>
    times.row(name, `virsh ${name}, ${memoryMiB} MiB`, isGoal ? goals[name] : undefined),
  );
}
