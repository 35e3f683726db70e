/** What we know of one QEMU binary: recorded in a file as JSON, read by argv building, validation and answers. */

export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

/** One machine type (QMP query-machines). */
export interface QemuMachine {
  readonly name: string;
  readonly alias?: string;
  readonly isDefault: boolean;
  readonly maxCpus: number;
  readonly hotpluggableCpus: boolean;
  readonly numaMemSupported: boolean;
  readonly deprecated: boolean;
  readonly defaultCpuType?: string;
  readonly defaultRamId?: string;
  readonly acpi?: boolean;
}

/** One CPU model under one accelerator (QMP query-cpu-definitions). */
export interface QemuCpuModel {
  readonly name: string;
  /** QOM type, `qemu64-x86_64-cpu`. */
  readonly typename: string;
  readonly deprecated: boolean;
  readonly migrationSafe?: boolean;
  readonly isStatic?: boolean;
  /** Features this host lacks; an empty list means usable, undefined that QEMU doesn't say. */
  readonly unavailableFeatures?: readonly string[];
  readonly aliasOf?: string;
}

export type AcceleratorName = 'tcg' | 'kvm';

/** A named CPU model, and what must be added to it and taken from it to be this host's CPU (or TCG's). */
export interface ClosestCpuModel {
  readonly name: string;
  /** The host's vendor, as CPUID has it. */
  readonly vendor?: string;
  /** QEMU's names of CPUID features that the host has beyond the model. */
  readonly addedFeatures: readonly string[];
  /** Those of the model that the host lacks. */
  readonly removedFeatures?: readonly string[];
}

/** AMD's memory encryption as QEMU found it (query-sev-capabilities). */
export interface SevCapabilities {
  /** The bit of a page table entry that says "encrypted". */
  readonly cbitpos: number;
  /** Bits of physical addresses that encryption takes. */
  readonly reducedPhysBits: number;
  /** The platform's Diffie-Hellman key, and the certificates up to AMD's; base64. */
  readonly pdh: string;
  readonly certChain: string;
  /** Identity of the first processor, base64; since QEMU 7.1. */
  readonly cpu0Id?: string;
}

/** What one binary offers under one accelerator. */
export interface AcceleratorCapabilities {
  readonly machines: readonly QemuMachine[];
  readonly cpuModels: readonly QemuCpuModel[];
  /** query-cpu-model-expansion (full) of `max` (TCG) or `host` (KVM): name and every property; x86 and s390 only. */
  readonly hostModel?: {
    readonly name: string;
    readonly props: Readonly<Record<string, boolean | string | number>>;
  };
  /** The same for the static expansion, as the named model closest to it. */
  readonly staticHostModel?: {
    readonly name: string;
    readonly props: Readonly<Record<string, boolean | string | number>>;
  };
  /** The usable named model with most features in common with the host; where QEMU expands models statically (x86). */
  readonly closestModel?: ClosestCpuModel;
  /** Under KVM on hosts of AMD that have it. */
  readonly sev?: SevCapabilities;
}

/** All that was probed of one binary. */
export interface QemuCapabilities {
  /** Format of this record; another number means: probe again. */
  readonly format: 1;
  readonly path: string;
  readonly sizeBytes: number;
  readonly ctimeMs: number;
  /** libvirt's name of the architecture: x86_64, i686, aarch64, ... */
  readonly arch: string;
  readonly version: QemuVersion;
  /** The distribution's package version, `Debian 1:7.2+dfsg-7+deb12u18`. */
  readonly package: string;
  /** KVM is built in (present) and could be used when probed (enabled). */
  readonly kvm: { readonly present: boolean; readonly enabled: boolean };
  readonly accelerators: { readonly tcg?: AcceleratorCapabilities; readonly kvm?: AcceleratorCapabilities };
  /** QMP commands and events. */
  readonly commands: readonly string[];
  readonly events: readonly string[];
  /** QOM types that -device or -object take (qom-list-types, implements device or user-creatable). */
  readonly devices: readonly string[];
  readonly objects: readonly string[];
  /** Properties by device, for the devices that argv building asks about (device-list-properties). */
  readonly deviceProperties: Readonly<Record<string, readonly string[]>>;
  /** Members of QAPI types that argv building asks about, by path: `blockdev-add/arg-type/+file/aio/^io_uring`. */
  readonly schema: readonly string[];
  /** Parameters by command line option (query-command-line-options). */
  readonly options: Readonly<Record<string, readonly string[]>>;
  /** Chardev backends, display types, audio backends, netdev types found in the schema. */
  readonly chardevs: readonly string[];
  readonly netdevs: readonly string[];
  readonly audiodevs: readonly string[];
  readonly displays: readonly string[];
  readonly tpmModels: readonly string[];
  readonly tpmTypes: readonly string[];
  /** Interrupt controllers of the Arm `virt` machines (query-gic-capabilities); empty elsewhere. */
  readonly gicVersions?: readonly number[];
  /** The seccomp sandbox is built in (-sandbox is a known option). */
  readonly sandbox: boolean;
}
