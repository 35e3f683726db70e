/** What a machine type means for devices: its family, and which root its PCI devices hang on. */
import type { DomainDef } from './domain.ts';

export type MachineFamily = 'i440fx' | 'q35' | 'isapc' | 'microvm' | 'virt' | 'pseries' | 'ccw' | 'other';

const x86: ReadonlySet<string> = new Set(['x86_64', 'i686']);
const virtArchs: ReadonlySet<string> = new Set([
  'aarch64',
  'armv7l',
  'armv6l',
  'riscv64',
  'riscv32',
  'loongarch64',
]);

export function isX86(arch: string | undefined): boolean {
  return arch !== undefined && x86.has(arch);
}

/** The family of a machine name, as QEMU names its versioned types (docs/system/targets.rst). */
export function machineFamily(arch: string | undefined, machine: string | undefined): MachineFamily {
  if (machine === undefined) return 'other';
  if (isX86(arch)) return x86Family(machine);
  if (arch !== undefined && virtArchs.has(arch) && /^virt(-|$)/.test(machine)) return 'virt';
  if ((arch === 'ppc64' || arch === 'ppc64le') && /^pseries(-|$)/.test(machine)) return 'pseries';
  if (arch === 's390x') return 'ccw';
  return 'other';
}

function x86Family(machine: string): MachineFamily {
  if (/^(q35$|pc-q35-)/.test(machine)) return 'q35';
  if (/^(pc$|pc-i440fx-|pc-\d|rhel6\.|xenfv)/.test(machine)) return 'i440fx';
  if (machine === 'isapc') return 'isapc';
  return machine === 'microvm' ? 'microvm' : 'other';
}

export function familyOf(definition: DomainDef): MachineFamily {
  return machineFamily(definition.os.type.arch, definition.os.type.machine);
}

/** The controller model that bus 0 of a family is; undefined where there is no PCI. */
export function pciRootOf(family: MachineFamily): 'pci-root' | 'pcie-root' | undefined {
  switch (family) {
    case 'i440fx':
    case 'pseries':
      return 'pci-root';
    case 'q35':
    case 'virt':
      return 'pcie-root';
    default:
      return undefined;
  }
}
