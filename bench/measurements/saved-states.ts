/** Saving a running guest to a file and going on from it, by virsh, beside libvirtd. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type FillingGuest, fillingGuestXml, untilFilled } from '../filling-guest.ts';
import { absolute, compare, type Measurement } from '../result.ts';
import { Teller, virshTime } from '../teller.ts';
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
  const socket = join(bench.daemon.root, 'run/libvirt/libvirt-sock');
  const words = bench.peer?.split(/\s+/).filter((word) => word !== '');
  const ours = await Side.start(bench, ['virsh', '-c', `qemu:///system?socket=${socket}`], 'ours', memoryMiB);
  const theirs = words && (await Side.start(bench, [...words, 'virsh'], 'theirs', memoryMiB));
  const save = { ours: [] as number[], floor: [] as number[] };
  const restore = { ours: [] as number[], floor: [] as number[] };
  try {
    // The first round of each loads what later ones have.
    for (let round = -1; round < rounds; round += 1)
      for (const side of ['ours', 'floor'] as const) {
        const daemon = side === 'ours' ? ours : theirs;
        if (daemon === undefined) continue;
        const saveMs = await daemon.save();
        const restoreMs = await daemon.restore();
        if (round < 0) continue;
        save[side].push(saveMs);
        restore[side].push(restoreMs);
      }
  } finally {
    await ours.end();
    await theirs?.end();
  }
  const row = (name: 'save' | 'restore', samples: typeof save): Measurement =>
    theirs === undefined
      ? absolute(`virsh ${name}, ${memoryMiB} MiB`, 'ms', samples.ours)
      : compare(
          `virsh ${name}, ${memoryMiB} MiB / libvirtd`,
          'ms',
          samples,
          isGoal ? goals[name] : undefined,
        );
  return [row('save', save), row('restore', restore)];
}

/** A guest with memory in use, of either daemon, behind a virsh that times its commands. */
class Side {
  private readonly virsh: Teller;
  private readonly name: string;
  private readonly file: string;

  private constructor(virsh: Teller, name: string, file: string) {
    this.virsh = virsh;
    this.name = name;
    this.file = file;
  }

  static async start(bench: Bench, virsh: readonly string[], name: string, memoryMiB: number): Promise<Side> {
    const directory = bench.place.make(`saved-${name}-${memoryMiB}`);
    const guest: FillingGuest = {
      name: `saved-${name}`,
      memoryMiB,
      disk: join(directory, 'disk'),
      serial: join(directory, 'serial'),
    };
    const definition = join(directory, 'xml');
    writeFileSync(definition, fillingGuestXml(guest));
    const side = new Side(
      new Teller([...virsh, '--timing'], virshTime),
      guest.name,
      join(directory, 'state'),
    );
    await side.virsh.tell(`define ${definition}`);
    await side.virsh.tell(`start ${guest.name}`);
    await untilFilled(guest);
    return side;
  }

  save(): Promise<number> {
    return this.virsh.tell(`save ${this.name} ${this.file}`);
  }

  async restore(): Promise<number> {
    const ms = await this.virsh.tell(`restore ${this.file}`);
    rmSync(this.file);
    return ms;
  }

  async end(): Promise<void> {
    await this.virsh.tell(`destroy ${this.name}`);
    await this.virsh.tell(`undefine ${this.name}`);
    await this.virsh.end();
  }
}
