/**
 * Snapshots inside the images of a running guest, by virsh, beside libvirtd: making one, returning to it with an unchanged
 * definition, and deleting it. The floor of a return is QEMU's own loadvm.
 */
import { FilledGuest } from '../filling-guest.ts';
import { compare, type Measurement } from '../result.ts';
import { openSides, Times } from '../sides.ts';
import type { Bench } from './bench.ts';

/** Shares of libvirtd's time, and of loadvm's. */
const goals = { create: 1, revert: 0.08, loadvm: 2 } as const;

const MEMORY_MIB = 64;

export async function measureSnapshots(bench: Bench): Promise<readonly Measurement[]> {
  const sides = openSides(bench);
  const times = new Times<'create' | 'revert' | 'loadvm' | 'delete'>();
  const guests: FilledGuest[] = [];
  try {
    for (const side of sides)
      guests.push(
        await FilledGuest.start(bench, side, {
          topic: 'snapshots',
          memoryMiB: MEMORY_MIB,
          format: 'qcow2',
        }),
      );
    // The first round of each loads what later ones have.
    for (let round = -1; round < bench.rounds; round += 1)
      for (const guest of guests) await measureRound(guest, round < 0 ? undefined : times);
  } finally {
    for (const guest of guests) await guest.end();
    for (const { virsh } of sides) await virsh.end();
  }
  const of = (name: 'create' | 'revert' | 'delete', goal?: number): Measurement =>
    times.row(name, `virsh snapshot-${name}, ${MEMORY_MIB} MiB`, goal);
  const returns = { ours: times.of('ours', 'revert'), floor: times.of('ours', 'loadvm') };
  return [
    of('create', goals.create),
    of('revert', goals.revert),
    compare(`virsh snapshot-revert, ${MEMORY_MIB} MiB / loadvm`, 'ms', returns, goals.loadvm),
    of('delete'),
  ];
}

async function measureRound(
  guest: FilledGuest,
  times: Times<'create' | 'revert' | 'loadvm' | 'delete'> | undefined,
): Promise<void> {
  const { name, side } = guest;
  const commands = {
    create: `snapshot-create-as ${name} moment`,
    revert: `snapshot-revert ${name} moment`,
    loadvm: `qemu-monitor-command ${name} --hmp "loadvm moment"`,
    delete: `snapshot-delete ${name} moment`,
  } as const;
  for (const verb of ['create', 'revert', 'loadvm', 'delete'] as const) {
    const ms = await guest.tell(commands[verb]);
    times?.note(side, verb, ms);
  }
}
