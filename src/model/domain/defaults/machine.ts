/** Defaults of what isn't a device: identity, memory, CPUs, boot, clock, events. */
import { VirtError } from '../../../base/errors.ts';
import { cpusetMembers, formatCpuset } from '../cpuset.ts';
import { isX86, machineFamily } from '../machine.ts';
import { vcpuStates } from '../vcpu-states.ts';
import type { DefaultsFacts, Draft } from './facts.ts';

export function defaultIdentity(draft: Draft, facts: DefaultsFacts): void {
  draft.uuid ??= facts.newUuid();
  if (draft.genid === '') draft.genid = facts.newUuid();
}

export function defaultMemory(draft: Draft): void {
  addModules(draft);
  const totalKiB = draft.memory.sizeKiB;
  // libvirt treats a balloon target of 0, or above the memory, as "all of it".
  if (!draft.currentMemoryKiB || draft.currentMemoryKiB > totalKiB) draft.currentMemoryKiB = totalKiB;
}

/** Memory devices are part of `memory`: a document that gives the RAM at boot alone, as its cells have it, gets the sum. */
function addModules(draft: Draft): void {
  const sum = (sizes: number[]): number => sizes.reduce((total, size) => total + size, 0);
  const cellsKiB = sum((draft.cpu?.numa?.cells ?? []).map((cell) => cell.memoryKiB));
  const modulesKiB = sum(draft.devices.memories.map((module) => module.target.sizeKiB));
  if (cellsKiB > 0 && draft.memory.sizeKiB === cellsKiB) draft.memory.sizeKiB += modulesKiB;
}

export function defaultVcpus(draft: Draft): void {
  const { vcpu } = draft;
  defaultPlacement(draft);
  nameAllVcpus(draft);
  if (vcpu.current !== undefined && vcpu.current >= vcpu.count) delete vcpu.current;
  for (const [index, cell] of (draft.cpu?.numa?.cells ?? []).entries()) cell.id ??= index;
  mirrorDistances(draft);
  adoptLooseCpus(draft);
  numberIothreads(draft);
}

/** Where single CPUs are named, all are, and the count follows from them (formatdomain, "vcpus"). */
function nameAllVcpus(draft: Draft): void {
  if (draft.vcpus.length === 0) return;
  // Numbers beyond the count stay, to be refused by their place.
  const beyond = draft.vcpus.filter(({ id }) => id >= draft.vcpu.count);
  const states = vcpuStates(draft);
  draft.vcpu.current = states.filter(({ enabled }) => enabled).length;
  draft.vcpus = [...states, ...beyond];
}

/** `auto` on either of vcpu and numatune means auto on both (formatdomain, "numatune"). */
function defaultPlacement(draft: Draft): void {
  const { vcpu } = draft;
  const memory = draft.numatune?.memory;
  if (memory !== undefined && memory.nodeset === undefined) memory.placement ??= 'auto';
  const isAuto = draft.numatune?.memory?.placement === 'auto' && vcpu.cpuset === undefined;
  vcpu.placement ??= isAuto ? 'auto' : 'static';
  if (vcpu.placement !== 'auto') return;
  draft.numatune ??= { memnodes: [] };
  draft.numatune.memory ??= { mode: 'strict', placement: 'auto' };
}

/** A distance that one cell gives holds for the way back too, and it is ten to oneself (ACPI 6.4, section 5.2.17). */
function mirrorDistances(draft: Draft): void {
  const cells = draft.cpu?.numa?.cells ?? [];
  const given = cells.flatMap((cell) =>
    cell.distances.map((one) => ({ from: cell.id, to: one.id, value: one.value })),
  );
  if (given.length === 0) return;
  const valueOf = (from?: number, to?: number): number | undefined =>
    given.find((one) => one.from === from && one.to === to)?.value;
  for (const cell of cells)
    cell.distances = cells.flatMap(({ id }) => {
      const value = valueOf(cell.id, id) ?? valueOf(id, cell.id) ?? (cell.id === id ? 10 : 20);
      return id === undefined ? [] : [{ id, value }];
    });
}

/** CPUs that no NUMA cell claims are in the first, as QEMU does it with a warning. */
function adoptLooseCpus(draft: Draft): void {
  const cells = draft.cpu?.numa?.cells ?? [];
  const [first] = cells;
  if (first === undefined || cells.every((cell) => cell.cpus === undefined)) return;
  const claimed = new Set(cells.flatMap((cell) => (cell.cpus === undefined ? [] : cpusetMembers(cell.cpus))));
  const loose: number[] = [];
  for (let cpu = 0; cpu < draft.vcpu.count; cpu++) if (!claimed.has(cpu)) loose.push(cpu);
  if (loose.length === 0) return;
  const own = first.cpus === undefined ? [] : cpusetMembers(first.cpus);
  first.cpus = formatCpuset([...own, ...loose].sort((a, b) => a - b));
}

/** Where some threads have ids the others get the lowest that are free. */
function numberIothreads(draft: Draft): void {
  const { iothreadids } = draft;
  if (iothreadids.length === 0) return;
  const ids = new Set(iothreadids.map((thread) => thread.id));
  for (let id = 1; iothreadids.length < (draft.iothreads ?? 0); id++)
    if (!ids.has(id)) iothreadids.push({ id });
  draft.iothreads = iothreadids.length;
}

/**
 * Architecture, machine type and emulator.
 * @throws VirtError qemu.missing, qemu.lacks
 */
export function defaultMachine(draft: Draft, facts: DefaultsFacts): void {
  const { type } = draft.os;
  const arch = (type.arch ??= facts.hostArch as NonNullable<typeof type.arch>);
  draft.devices.emulator ??= emulator(draft, arch, facts);
  const machine = facts.canonicalMachine(arch, type.machine);
  if (machine === undefined)
    throw new VirtError('qemu.lacks', {
      wanted: `complete the definition of domain '${draft.name}'`,
      reason:
        type.machine === undefined
          ? `os.type.machine: the emulator has no default machine type for ${arch}; name one`
          : `os.type.machine: the emulator has no machine type '${type.machine}' for ${arch}`,
      hint: 'see the machine types of the emulator, or leave the attribute out',
    });
  type.machine = machine;
}

function emulator(draft: Draft, arch: string, facts: DefaultsFacts): string {
  const found = facts.emulatorFor(arch);
  if (found === undefined)
    throw new VirtError('qemu.missing', {
      wanted: `complete the definition of domain '${draft.name}'`,
      reason: `there is no QEMU for ${arch} on this host`,
      hint: 'install it, or name another architecture in <os><type arch=...>',
    });
  return found;
}

/** What a loader's attributes mean when they are left out. */
export function defaultFirmware(draft: Draft): void {
  const { loader, firmware, firmwareFeatures } = draft.os;
  if (loader?.path !== undefined && firmware === undefined) loader.type ??= 'rom';
  const has = (name: 'enrolled-keys' | 'secure-boot'): boolean =>
    firmwareFeatures.some((feature) => feature.name === name);
  const enrolled = firmwareFeatures.some((feature) => feature.name === 'enrolled-keys' && feature.enabled);
  // Keys without secure boot would be pointless; libvirt says so in the definition.
  if (enrolled && !has('secure-boot')) firmwareFeatures.push({ enabled: true, name: 'secure-boot' });
  firmwareFeatures.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Without any boot order the first hard disk boots. */
export function defaultBoot(draft: Draft): void {
  if (draft.os.boot.length > 0 || hasDeviceBoot(draft)) return;
  draft.os.boot.push({ dev: 'hd' });
}

function hasDeviceBoot({ devices }: Draft): boolean {
  const bootable = [devices.disks, devices.interfaces, devices.hostdevs, devices.redirdevs].flat();
  return [...bootable, ...devices.filesystems].some((device) => device.boot !== undefined);
}

export function defaultEvents(draft: Draft): void {
  draft.onPoweroff ??= 'destroy';
  draft.onReboot ??= 'restart';
  draft.onCrash ??= 'destroy';
}

export function defaultClock(draft: Draft): void {
  draft.clock ??= { offset: 'utc', timers: [] };
  const { clock } = draft;
  if (clock.offset === 'variable') {
    clock.adjustment ??= 0;
    clock.basis ??= 'utc';
  }
}

export function defaultFeatures(draft: Draft): void {
  if (draft.features?.hyperv !== undefined) draft.features.hyperv.mode ??= 'custom';
  const { arch, machine } = draft.os.type;
  if (machineFamily(arch, machine) !== 'virt' || (arch !== 'aarch64' && arch !== 'armv7l')) return;
  // QEMU's virt machine has GICv2 by itself under TCG; under KVM it takes the host's.
  draft.features ??= {};
  draft.features.gic ??= {};
  draft.features.gic.version ??= draft.type === 'kvm' ? 'host' : '2';
}

/** Modes by what the definition says of the CPU, and the model that QEMU would take when it says nothing. */
export function defaultCpu(draft: Draft, facts: DefaultsFacts): void {
  const { arch, machine } = draft.os.type;
  const isOpen = draft.cpu?.mode === undefined || draft.cpu.mode === 'custom';
  if (isOpen && draft.cpu?.model?.name === undefined) nameDefaultCpu(draft, facts);
  const { cpu } = draft;
  if (cpu === undefined) return;
  if (cpu.topology !== undefined) cpu.topology.dies ??= 1;
  if (cpu.mode === undefined && cpu.model?.name !== undefined) cpu.mode = 'custom';
  if (cpu.mode === 'custom') {
    cpu.match ??= 'exact';
    // An emulated CPU isn't compared with the host's.
    cpu.check ??= isX86(arch) && draft.type === 'kvm' ? 'partial' : 'none';
    if (cpu.model !== undefined) cpu.model.fallback ??= 'allow';
  }
  if (cpu.mode === 'host-model') cpu.check ??= 'partial';
  if (cpu.mode === 'host-passthrough' || cpu.mode === 'maximum') {
    cpu.check ??= 'none';
    if (isX86(arch) && machine !== undefined && draft.type === 'kvm') cpu.migratable ??= true;
  }
  for (const feature of cpu.features) feature.policy ??= 'require';
}

function nameDefaultCpu(draft: Draft, facts: DefaultsFacts): void {
  const { arch, machine } = draft.os.type;
  const name = facts.defaultCpu?.(arch ?? facts.hostArch, machine ?? '', draft.type);
  if (name === undefined) return;
  draft.cpu ??= { features: [] };
  const { cpu } = draft;
  cpu.check ??= 'none';
  if (name === 'host') cpu.mode = 'host-passthrough';
  else if (name === 'max') cpu.mode = 'maximum';
  else
    Object.assign(cpu, { mode: 'custom', match: cpu.match ?? 'exact', model: { fallback: 'forbid', name } });
}
