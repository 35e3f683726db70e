/** The same work by virsh at either daemon, in turn: ours, and libvirtd where there is one. */
import { join } from 'node:path';
import type { Bench } from './measurements/bench.ts';
import { absolute, compare, type Measurement } from './result.ts';
import { Teller, virshTime } from './teller.ts';

/** A daemon, by a virsh that stays and times its commands. */
export interface Side {
  readonly name: 'ours' | 'theirs';
  readonly virsh: Teller;
}

/** Ours, and libvirtd with --peer. */
export function openSides(bench: Bench): Side[] {
  const socket = join(bench.daemon.root, 'run/libvirt/libvirt-sock');
  const ours = ['virsh', '-c', `qemu:///system?socket=${socket}`, '--timing'];
  const words = bench.peer?.split(/\s+/).filter((word) => word !== '');
  const sides: Side[] = [{ name: 'ours', virsh: new Teller(ours, virshTime) }];
  if (words !== undefined)
    sides.push({ name: 'theirs', virsh: new Teller([...words, 'virsh', '--timing'], virshTime) });
  return sides;
}

/** Milliseconds of each command, by side. */
export class Times<Name extends string> {
  private readonly samples = new Map<string, number[]>();

  note(side: Side, name: Name, ms: number): void {
    const key = `${side.name} ${name}`;
    this.samples.set(key, [...(this.samples.get(key) ?? []), ms]);
  }

  /** What was noted of one side. */
  of(side: Side['name'], name: Name): readonly number[] {
    return this.samples.get(`${side} ${name}`) ?? [];
  }

  /** A row of ours against libvirtd's, or of ours alone. */
  row(name: Name, label: string, goal?: number): Measurement {
    const ours = this.of('ours', name);
    const theirs = this.of('theirs', name);
    if (theirs.length === 0) return absolute(label, 'ms', ours);
    return compare(`${label} / libvirtd`, 'ms', { ours, floor: theirs }, goal);
  }
}
