/** From a short description to a whole definition: what a good modern guest has, for our own create verbs. */
import { VirtError } from '../../base/errors.ts';
import type { DomainDef } from './domain.ts';
import { isSafeNewName } from './names.ts';
import { type Board, boardOf } from './profile/board.ts';
import { buildDevices } from './profile/devices.ts';

/** One image as a disk. */
export interface SpecDisk {
  readonly path: string;
  /** The image's format, which is never read from the image itself. */
  readonly format: string;
  readonly bus?: 'virtio' | 'scsi' | 'sata' | 'ide' | 'usb' | undefined;
  readonly readonly?: boolean | undefined;
  /** It is a volume, which the definition names instead of its path. */
  readonly volume?: { readonly pool: string; readonly name: string } | undefined;
  readonly deviceType?: 'disk' | 'cdrom' | 'floppy' | undefined;
  /** The image that it lies on; undefined leaves that to its header. */
  readonly below?: { readonly path: string; readonly format: string } | undefined;
  /** What opens the image, if it is encrypted with LUKS. */
  readonly secret?: { readonly uuid: string } | { readonly usage: string } | undefined;
}

/** A port of the host that leads to a port of the guest. */
export interface SpecPortForward {
  readonly protocol: 'tcp' | 'udp';
  readonly hostAddress?: string | undefined;
  readonly hostPort: number;
  /** Only the address that the guest gets by DHCP can be said in a definition. */
  readonly guestAddress?: string | undefined;
  readonly guestPort: number;
}

export interface SpecNetwork {
  readonly type: 'user' | 'network' | 'bridge' | 'direct' | 'segment';
  /** The name of the network, the bridge, the host's interface or the segment. */
  readonly source?: string | undefined;
  /** For type user: who does it, QEMU itself when absent. */
  readonly backend?: 'passt' | undefined;
  /** For type direct; `bridge` when absent. */
  readonly mode?: 'bridge' | 'vepa' | 'private' | 'passthrough' | undefined;
  readonly model?: string | undefined;
  readonly portForwards?: readonly SpecPortForward[] | undefined;
}

export interface DomainSpec {
  readonly name: string;
  readonly memoryBytes: number;
  readonly vcpus: number;
  /** libvirt's name; the host's when absent. */
  readonly arch?: string | undefined;
  /** A machine type of QEMU; the modern one of the architecture when absent (`q35` on x86). */
  readonly machine?: string | undefined;
  readonly virtType: 'kvm' | 'qemu';
  readonly firmware?: 'bios' | 'efi' | undefined;
  readonly disks: readonly SpecDisk[];
  /** An image for a CD-ROM drive, from which the guest boots first. */
  readonly cdrom?: string | undefined;
  /** One card of type `user` when absent. */
  readonly networks?: readonly SpecNetwork[] | undefined;
  readonly kernel?: string | undefined;
  readonly initrd?: string | undefined;
  readonly cmdline?: string | undefined;
  readonly graphics?: 'vnc' | 'spice' | 'none' | undefined;
  /** Where the output of the serial console is kept besides. */
  readonly serialLogPath?: string | undefined;
  readonly title?: string | undefined;
  readonly description?: string | undefined;
}

/** What must be known of the host. */
export interface SpecFacts {
  /** libvirt's name of the host's architecture. */
  readonly hostArch: string;
  /** Who the daemon runs as: segments of different users are different. */
  readonly uid: number;
  /** Whether a path is a block device; without this everything below /dev (but /dev/shm) is taken for one. */
  isBlockDevice?(path: string): boolean;
}

/**
 * Builds the definition. Uuid, MACs, addresses and the machine's full name are left to `applyDefaults` and
 * `assignAddresses`, as in any definition.
 * @throws VirtError request.invalid when the description contradicts itself, definition.unsupported when a definition
 * cannot say it
 */
export function buildDomain(spec: DomainSpec, facts: SpecFacts): DomainDef {
  checkSpec(spec);
  const board = boardOf(spec.arch ?? facts.hostArch, spec.machine);
  const memoryKiB = Math.ceil(spec.memoryBytes / 1024);
  return {
    type: spec.virtType,
    name: spec.name,
    ...(spec.title !== undefined && { title: spec.title }),
    ...(spec.description !== undefined && { description: spec.description }),
    metadata: [],
    memory: { sizeKiB: memoryKiB },
    currentMemoryKiB: memoryKiB,
    vcpu: { placement: 'static', count: spec.vcpus },
    vcpus: [],
    iothreadids: [],
    sysinfo: [],
    os: buildOs(spec, board),
    features: structuredClone(board.features),
    cpu: cpuOf(spec),
    clock: { offset: 'utc', timers: structuredClone(board.timers) },
    onPoweroff: 'destroy',
    onReboot: 'restart',
    onCrash: 'destroy',
    ...(board.hasPm && { pm: { suspendToMem: false, suspendToDisk: false } }),
    perf: [],
    devices: buildDevices(spec, board, facts),
    seclabels: [],
    keywrap: [],
  };
}

/** All that KVM's host has; under emulation all that TCG can do. */
function cpuOf(spec: DomainSpec): NonNullable<DomainDef['cpu']> {
  return spec.virtType === 'kvm'
    ? { mode: 'host-passthrough', check: 'none', migratable: true, features: [] }
    : { mode: 'maximum', check: 'none', migratable: true, features: [] };
}

function buildOs(spec: DomainSpec, board: Board): DomainDef['os'] {
  const firmware = spec.firmware ?? 'bios';
  return {
    ...(firmware === 'efi' && { firmware: 'efi' as const }),
    type: { arch: board.arch, machine: board.machine, kind: 'hvm' },
    firmwareFeatures: [],
    ...(spec.kernel !== undefined && { kernel: spec.kernel }),
    ...(spec.initrd !== undefined && { initrd: spec.initrd }),
    ...(spec.cmdline !== undefined && { cmdline: spec.cmdline }),
    acpiTables: [],
    boot: [],
  };
}

function checkSpec(spec: DomainSpec): void {
  const wanted = `make a domain '${spec.name.slice(0, 64)}'`;
  const refuse = (reason: string, hint?: string): never => {
    throw new VirtError('request.invalid', { wanted, reason, ...(hint !== undefined && { hint }) });
  };
  if (!isSafeNewName(spec.name))
    refuse(
      'the name is not 1 to 64 letters, digits and _ . : + - (or spaces), beginning with a letter or digit',
    );
  if (!Number.isSafeInteger(spec.memoryBytes) || spec.memoryBytes < 1024 * 1024)
    refuse('memory is less than 1 MiB');
  if (!Number.isInteger(spec.vcpus) || spec.vcpus < 1) refuse('a domain needs at least one virtual CPU');
  if (spec.kernel === undefined && (spec.initrd ?? spec.cmdline) !== undefined)
    refuse('initrd and cmdline need a kernel', 'give the kernel too');
}
