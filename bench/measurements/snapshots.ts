/**
 * Snapshots inside the images of a running guest, by virsh, beside libvirtd: making one, and returning to it with an unchanged
 * definition. The floor of a return is QEMU's own loadvm.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type FillingGuest, fillingGuestXml, untilFilled } from '../filling-guest.ts';
import { absolute, compare, type Measurement } from '../result.ts';
import { Teller, virshTime } from '../teller.ts';
import type { Bench } from './bench.ts';

/** Shares of libvirtd's time, and of loadvm's. */
const goals = { create: 1, revert: 0.08, loadvm: 2 } as const;

const MEMORY_MIB = 64;

export async function measureSnapshots(bench: Bench): Promise<readonly Measurement[]> {
  const socket = join(bench.daemon.root, 'run/libvirt/libvirt-sock');
  const words = bench.peer?.split(/\s+/).filter((word) => word !== '');
  const ours = await Side.start(bench, ['virsh', '-c', `qemu:///system?socket=${socket}`], 'ours');
  const theirs = words && (await Side.start(bench, [...words, 'virsh'], 'theirs'));
  const create = { ours: [] as number[], floor: [] as number[] };
  const revert = { ours: [] as number[], floor: [] as number[] };
  const bare: number[] = [];
  try {
    // The first round of each loads what later ones have.
    for (let round = -1; round < bench.rounds; round += 1)
      for (const side of ['ours', 'floor'] as const) {
        const daemon = side === 'ours' ? ours : theirs;
        const times = await daemon?.round();
        if (times === undefined || round < 0) continue;
        create[side].push(times.create);
        revert[side].push(times.revert);
        if (side === 'ours') bare.push(times.loadvm);
      }
  } finally {
    await ours.end();
    await theirs?.end();
  }
  const row = (name: 'create' | 'revert', samples: typeof create): Measurement =>
    theirs === undefined
      ? absolute(`virsh snapshot-${name}, ${MEMORY_MIB} MiB`, 'ms', samples.ours)
      : compare(`virsh snapshot-${name}, ${MEMORY_MIB} MiB / libvirtd`, 'ms', samples, goals[name]);
  return [
    row('create', create),
    row('revert', revert),
    compare(
      `virsh snapshot-revert, ${MEMORY_MIB} MiB / loadvm`,
      'ms',
      { ours: revert.ours, floor: bare },
      goals.loadvm,
    ),
  ];
}

interface Times {
  readonly create: number;
  readonly revert: number;
  readonly loadvm: number;
}

/** A guest with memory in use, of either daemon, behind a virsh that times its commands. */
class Side {
  private readonly virsh: Teller;
  private readonly name: string;

  private constructor(virsh: Teller, name: string) {
    this.virsh = virsh;
    this.name = name;
  }

  static async start(bench: Bench, virsh: readonly string[], name: string): Promise<Side> {
    const directory = bench.place.make(`snapshots-${name}`);
    const raw = join(directory, 'raw');
    const disk = join(directory, 'disk');
    const guest: FillingGuest = {
      ...{ name: `snapshots-${name}`, memoryMiB: MEMORY_MIB, disk: raw },
      serial: join(directory, 'serial'),
    };
    const xml = fillingGuestXml(guest).replace("type='raw'", "type='qcow2'").replace(raw, disk);
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, disk]);
    const definition = join(directory, 'xml');
    writeFileSync(definition, xml);
    const side = new Side(new Teller([...virsh, '--timing'], virshTime), guest.name);
    await side.virsh.tell(`define ${definition}`);
    await side.virsh.tell(`start ${guest.name}`);
    await untilFilled(guest);
    return side;
  }

  async round(): Promise<Times> {
    const create = await this.virsh.tell(`snapshot-create-as ${this.name} moment`);
    const revert = await this.virsh.tell(`snapshot-revert ${this.name} moment`);
    const loadvm = await this.virsh.tell(`qemu-monitor-command ${this.name} --hmp "loadvm moment"`);
    await this.virsh.tell(`snapshot-delete ${this.name} moment`);
    return { create, revert, loadvm };
  }

  async end(): Promise<void> {
    await this.virsh.tell(`destroy ${this.name}`);
    await this.virsh.tell(`undefine ${this.name}`);
    await this.virsh.end();
  }
}
