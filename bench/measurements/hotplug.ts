/** Devices that come and go under a running little Linux, by virsh, beside libvirtd. The guest lets go of them itself. */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { buildInitramfs } from '../../scripts/guest-image/initramfs.ts';
import { guestKernel } from '../../scripts/guest-image/kernel.ts';
import type { Measurement } from '../result.ts';
import { openSides, type Side, Times } from '../sides.ts';
import type { Bench } from './bench.ts';

/** Shares of libvirtd's time. */
const goals = { attach: 0.6, detach: 0.6 } as const;

/** The guest looks at what came before it is taken away again. */
const SETTLE_MS = 500;

const kinds = ['disk', 'card'] as const;
type Kind = (typeof kinds)[number];

export async function measureHotplug(bench: Bench): Promise<readonly Measurement[]> {
  const boot = await littleLinux(bench);
  const sides = openSides(bench);
  const times = new Times<`${'attach' | 'detach'} ${Kind}`>();
  const guests: Guest[] = [];
  try {
    for (const side of sides) guests.push(await Guest.start(bench, side, boot));
    // The first round of each loads what later ones have.
    for (let round = -1; round < bench.rounds; round += 1)
      for (const guest of guests)
        for (const kind of kinds) {
          const attachMs = await guest.change('attach', kind);
          await delay(SETTLE_MS);
          const detachMs = await guest.change('detach', kind);
          await delay(SETTLE_MS);
          if (round < 0) continue;
          times.note(guest.side, `attach ${kind}`, attachMs);
          times.note(guest.side, `detach ${kind}`, detachMs);
        }
  } finally {
    for (const guest of guests) await guest.end();
    for (const { virsh } of sides) await virsh.end();
  }
  return [
    times.row('attach disk', 'virsh attach-device, virtio disk', goals.attach),
    times.row('detach disk', 'virsh detach-device, virtio disk', goals.detach),
    times.row('attach card', 'virsh attach-device, virtio network card'),
    times.row('detach card', 'virsh detach-device, virtio network card'),
  ];
}

interface Boot {
  readonly kernel: string;
  readonly initrd: string;
}

async function littleLinux(bench: Bench): Promise<Boot> {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'vireo-guest');
  const kernel = await guestKernel(cache, (line) => process.stderr.write(`${line}\n`));
  const initrd = join(bench.place.make('hotplug'), 'initrd');
  writeFileSync(initrd, await buildInitramfs(kernel));
  return { kernel: kernel.kernelPath, initrd };
}

class Guest {
  readonly side: Side;
  private readonly name: string;
  private readonly files: Readonly<Record<Kind, string>>;

  private constructor(side: Side, name: string, files: Readonly<Record<Kind, string>>) {
    this.side = side;
    this.name = name;
    this.files = files;
  }

  static async start(bench: Bench, side: Side, { kernel, initrd }: Boot): Promise<Guest> {
    const name = `hotplug-${side.name}`;
    const directory = bench.place.make(name);
    const at = (file: string) => join(directory, file);
    const fd = openSync(at('image'), 'w', 0o600);
    ftruncateSync(fd, 16 * 1024 * 1024);
    closeSync(fd);
    writeFileSync(
      at('disk'),
      `<disk type='file'><driver name='qemu' type='raw'/><source file='${at('image')}'/><target dev='vdb' bus='virtio'/></disk>`,
    );
    writeFileSync(
      at('card'),
      `<interface type='user'><mac address='52:54:00:be:0c:77'/><model type='virtio'/></interface>`,
    );
    writeFileSync(
      at('xml'),
      `<domain type='qemu'><name>${name}</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd><cmdline>console=ttyS0 quiet</cmdline></os>
<features><acpi/><apic/></features><devices><controller type='usb' model='none'/>
<serial type='file'><source path='${at('serial')}'/></serial><memballoon model='none'/></devices></domain>`,
    );
    await side.virsh.tell(`create ${at('xml')}`);
    await untilReady(at('serial'));
    return new Guest(side, name, { disk: at('disk'), card: at('card') });
  }

  change(verb: 'attach' | 'detach', kind: Kind): Promise<number> {
    return this.side.virsh.tell(`${verb}-device ${this.name} ${this.files[kind]} --live`);
  }

  async end(): Promise<void> {
    await this.side.virsh.tell(`destroy ${this.name}`);
  }
}

async function untilReady(serial: string): Promise<void> {
  for (let tries = 0; tries < 1200; tries += 1) {
    if (existsSync(serial) && readFileSync(serial).includes('vireo guest: ready')) return;
    await delay(100);
  }
  throw new Error('the guest is not ready');
}
