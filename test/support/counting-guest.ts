/** A guest that counts in its memory and writes to its disk, and tells both: what it had is there again, or is not. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Result } from '../../src/api/index.ts';
import { tpmStep } from './counting-tpm.ts';
import { eventually, project, type TestDaemon } from './daemon.ts';
import { littleLinux, startScript } from './guest-image.ts';

/** Counts in memory; at each step it tells what is on its disk, and writes something new there. */
const counting = `#!/bin/busybox sh
(
  n=0
  sum() { dd if=/dev/vda bs=64k count=2 iflag=direct 2>/dev/null | sha256sum | cut -c1-16; }
  while :; do
    n=$((n+1))
    was=$(sum)
    dd if=/dev/urandom of=/dev/vda bs=64k count=2 conv=fsync 2>/dev/null
    told=
    if [ -c /dev/tpm0 ]; then told=$(/etc/tpm-step $n); fi
    echo "step:$n was:$was is:$(sum) $told." >/dev/ttyS0
    sleep 0.7
  done
) &
`;

/** One thing that it said: what was on its disk before, and what is now. */
export interface Step {
  readonly step: number;
  readonly was: string;
  readonly is: string;
  /** What its TPM held before: the number of a step, as eight bytes; and a register that goes with the power. */
  readonly tpm?: string;
  readonly pcr?: string;
}

const saying = /step:(\d+) was:([0-9a-f]{16}) is:([0-9a-f]{16}) (?:tpm:([0-9a-f]*) pcr:([0-9a-f]*) )?\./g;

/** What such a guest has, besides a disk. */
export interface CountingMachine {
  /** More devices. */
  readonly devices?: string;
  readonly machine?: 'pc' | 'q35';
  readonly firmware?: 'bios' | 'efi';
}

/** Kernel and initramfs of such a guest. */
export function countingLinux(directory: string): ReturnType<typeof littleLinux> {
  return littleLinux(directory, [startScript(counting), tpmStep]);
}

/** Guests of one daemon, told apart by name. Their files are in the daemon's root. */
export class CountingGuests {
  private readonly root: string;
  private readonly files: Awaited<ReturnType<typeof littleLinux>>;

  constructor(root: string, files: Awaited<ReturnType<typeof littleLinux>>) {
    this.root = root;
    this.files = files;
  }

  path(name: string): string {
    return join(this.root, name);
  }

  makeImage(name: string, mebibytes = 64): string {
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', this.path(name), `${mebibytes}M`]);
    return this.path(name);
  }

  domainXml(
    name: string,
    disk: string,
    { devices = '', machine = 'pc', firmware = 'bios' }: CountingMachine = {},
  ): string {
    const isEfi = firmware === 'efi';
    return `<domain type='qemu'><name>${name}</name><memory unit='MiB'>${isEfi ? 256 : 128}</memory><vcpu>1</vcpu>
      <os${isEfi ? " firmware='efi'" : ''}><type machine='${machine}'>hvm</type>${isEfi ? "<loader secure='no'/>" : ''}<kernel>${this.files.kernel}</kernel><initrd>${this.files.initrd}</initrd>
        <cmdline>console=ttyS0 quiet no_timer_check no_timer_check</cmdline></os><features><acpi/><apic/></features>
      <devices>
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${disk}'/>
          <target dev='vda' bus='virtio'/></disk>
        <serial type='pty'><log file='${this.path(`${name}.serial`)}' append='on'/></serial>${devices}
      </devices></domain>`;
  }

  steps(name: string): Step[] {
    if (!existsSync(this.path(`${name}.serial`))) return [];
    const said = readFileSync(this.path(`${name}.serial`), 'latin1');
    return [...said.matchAll(saying)].map(([, step, was = '', is = '', tpm, pcr]) => ({
      ...{ step: Number(step), was, is },
      ...(tpm !== undefined && pcr !== undefined && { tpm, pcr }),
    }));
  }

  /** The next thing that the guest says. */
  async next(name: string, limitMs = 60_000): Promise<Step> {
    const before = this.steps(name).length;
    await eventually(`${name} says more`, () => this.steps(name).length > before, limitMs);
    return this.steps(name).at(-1) as Step;
  }

  /** The guest goes on from that step: from its memory, and from what was on its disk. */
  async expectOnFrom(name: string, { step, is }: Step): Promise<void> {
    expect(await this.next(name)).toMatchObject({ step: step + 1, was: is });
  }

  /** What a guest sees on the beginning of an image that nobody has open. */
  diskHash(file: string): string {
    const copy = this.path('dd');
    const sizes = ['bs=64k', 'count=2'];
    execFileSync('qemu-img', ['dd', '-f', 'qcow2', '-O', 'raw', ...sizes, `if=${file}`, `of=${copy}`]);
    const hash = createHash('sha256').update(readFileSync(copy)).digest('hex').slice(0, 16);
    rmSync(copy);
    return hash;
  }
}

/** Does what was planned, and holds the plan to it: these files come below the root, these go, no others. */
export async function expectAsPlanned(
  root: string,
  { changes }: Result<'snapshot.plan'>,
  work: () => unknown,
): Promise<void> {
  const files = () => readdirSync(root).map((name) => join(root, name));
  const planned = (what: 'made' | 'removed') =>
    changes.flatMap((one) => (one.what === what ? [one.path] : [])).toSorted();
  const before = files();
  await work();
  const after = files();
  expect(after.filter((path) => !before.includes(path)).toSorted()).toEqual(planned('made'));
  expect(before.filter((path) => !after.includes(path)).toSorted()).toEqual(planned('removed'));
}

/** virsh and our own command line on a daemon. */
export function clientsOf(daemon: () => TestDaemon) {
  const run = (program: string, args: readonly string[]) =>
    execFileSync(program, args, { encoding: 'utf8', stdio: 'pipe' });
  return {
    virsh: (...args: string[]): string => {
      const uri = `qemu:///system?socket=${join(daemon().root, 'run/libvirt/libvirt-sock')}`;
      return run('virsh', ['-c', uri, ...args]).trim();
    },
    vireo: (...args: string[]): string => run(join(project, 'bin/vireo'), ['--root', daemon().root, ...args]),
  };
}
