/** -boot, and the boot index of devices, which <os><boot> also comes down to. */
import type { Build } from './context.ts';

/** -boot with strict=on: what has no boot index is not tried. */
export function buildBoot(b: Build): void {
  const { bootmenu, bios } = b.definition.os;
  b.pairs('-boot', [
    ['menu', bootmenu?.enable],
    ['splash-time', bootmenu?.enable ? bootmenu.timeout : undefined],
    ['reboot-timeout', bios?.rebootTimeout],
    ['strict', true],
  ]);
  if (bios?.useserial) buildSerialBios(b);
}

/** The boot messages of SeaBIOS on the serial port: since QEMU 5.1 by the machine (graphics=off), before by a ROM. */
function buildSerialBios(b: Build): void {
  const { serials } = b.definition.devices;
  if (serials.length === 0) b.problem('os.bios.useserial', 'needs a serial port');
  if (!b.isX86) b.problem('os.bios.useserial', `is only there on x86, not on ${b.arch}`);
  b.pairs('-machine', [['graphics', false]]);
}

type BootDevice = 'hd' | 'fd' | 'cdrom' | 'network';

/**
 * Boot indexes for devices in the order of <os><boot>: the first disk, CD-ROM, floppy and network card of each
 * named kind, as libvirt does it; devices that say <boot order> keep their own.
 */
export class BootOrder {
  private readonly wanted: readonly BootDevice[];
  private readonly given = new Set<BootDevice>();

  constructor(b: Build) {
    this.wanted = b.definition.os.boot.map((entry) => entry.dev);
  }

  /** The index for the next device of that kind; undefined when it is not booted from. */
  indexFor(kind: BootDevice, own: number | undefined): number | undefined {
    if (own !== undefined) return own;
    const place = this.wanted.indexOf(kind);
    if (place === -1 || this.given.has(kind)) return undefined;
    this.given.add(kind);
    return place + 1;
  }
}
