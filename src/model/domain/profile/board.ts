/** What suits each architecture and machine: the board that a new guest is built on. */
import { VirtError } from '../../../base/errors.ts';
import type { Clock } from '../clock.ts';
import type { Features } from '../features.ts';
import { isX86, type MachineFamily, machineFamily } from '../machine.ts';
import { type ArchName, archNames } from '../os.ts';

export interface Board {
  readonly arch: ArchName;
  readonly machine: string;
  readonly family: MachineFamily;
  /** Where a CD-ROM drive goes. */
  readonly cdromBus: 'sata' | 'ide' | 'scsi';
  readonly features: Features;
  readonly timers: Clock['timers'];
  /** ACPI sleep states can be turned off. */
  readonly hasPm: boolean;
  readonly hasUsb: boolean;
  /** A keyboard is on board; else one is added to a graphical guest. */
  readonly hasKeyboard: boolean;
}

/** The modern machine of each architecture that QEMU boots Linux on. */
const machines: Readonly<Partial<Record<ArchName, string>>> = {
  x86_64: 'q35',
  i686: 'q35',
  aarch64: 'virt',
  armv7l: 'virt',
  riscv64: 'virt',
  riscv32: 'virt',
  loongarch64: 'virt',
  ppc64: 'pseries',
  ppc64le: 'pseries',
  s390x: 's390-ccw-virtio',
};

/**
 * No HPET (slow under virtualisation), a PIT that delays lost ticks and an RTC that catches up: what keeps Linux and
 * Windows guests on time (formatdomain "timer"; the same as osinfo-db's advice).
 */
const x86Timers: Clock['timers'] = [
  { name: 'rtc', tickpolicy: 'catchup' },
  { name: 'pit', tickpolicy: 'delay' },
  { name: 'hpet', present: false },
];

/** @throws VirtError request.invalid for an architecture or a machine that nothing is known of */
export function boardOf(archName: string, machineName: string | undefined): Board {
  const arch = archNames.find((name) => name === archName);
  const machine = machineName ?? (arch && machines[arch]);
  if (arch === undefined || machine === undefined)
    throw new VirtError('request.invalid', {
      wanted: `choose a machine for the architecture '${archName.slice(0, 40)}'`,
      reason:
        arch === undefined ? 'that architecture is not known' : 'it has no machine that fits every guest',
      hint: arch === undefined ? `known are ${Object.keys(machines).join(', ')}` : 'name the machine type',
    });
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(machine))
    throw new VirtError('request.invalid', {
      wanted: `choose the machine '${machine.slice(0, 40)}'`,
      reason: 'that is not the name of a machine type',
    });
  const family = machineFamily(arch, machine);
  return isX86(arch) ? x86Board(arch, machine, family) : otherBoard(arch, machine, family);
}

function x86Board(arch: ArchName, machine: string, family: MachineFamily): Board {
  return {
    arch,
    machine,
    family,
    cdromBus: family === 'i440fx' || family === 'isapc' ? 'ide' : 'sata',
    // vmport is VMware's mouse port, which only confuses guests.
    features: { acpi: true, apic: {}, vmport: false },
    timers: x86Timers,
    hasPm: family === 'i440fx' || family === 'q35',
    hasUsb: family === 'i440fx' || family === 'q35',
    hasKeyboard: true,
  };
}

function otherBoard(arch: ArchName, machine: string, family: MachineFamily): Board {
  const hasAcpi = family === 'virt' && arch === 'aarch64';
  return {
    arch,
    machine,
    family,
    cdromBus: 'scsi',
    features: hasAcpi ? { acpi: true } : {},
    timers: [],
    hasPm: false,
    hasUsb: family === 'virt' || family === 'pseries',
    hasKeyboard: false,
  };
}
