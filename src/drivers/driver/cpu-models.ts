/** Processor models, as the emulators themselves tell of them. */
import type { DomainDef } from '../../model/domain/domain.ts';

/** Which emulator is meant; what is left out is the host's best. */
export interface CpuQuery {
  readonly emulator?: string;
  readonly arch?: string;
  readonly machine?: string;
  readonly virtType?: string;
}

/** Processors under one emulator and accelerator. Features are in libvirt's names, sorted. */
export interface CpuWorld {
  /** All that guests can have here. */
  readonly hypervisor: readonly string[];
  /** Of that processor, in libvirt's words; undefined where QEMU tells none. */
  readonly vendor?: string | undefined;
  readonly models: readonly string[];
  /** Models that can be used as they are. */
  readonly usableModels: readonly string[];
  /** Features by model; models that QEMU does not know, or can't tell of, are missing. */
  features(models: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>;
}

/** AMD's memory encryption, as the host's own emulator finds it. */
export interface SevPlatform {
  readonly cbitpos: number;
  readonly reducedPhysBits: number;
  /** Guests at a time with encrypted memory only, and with encrypted registers too; 0: the kernel does not tell. */
  readonly maxGuests: number;
  readonly maxEsGuests: number;
  /** Base64. */
  readonly pdh: string;
  readonly certChain: string;
  readonly cpu0Id?: string;
}

/** The platform; or why guests cannot have it, and what repairs that. */
export interface MemoryEncryption {
  readonly platform?: SevPlatform;
  readonly problem?: { readonly reason: string; readonly repair: string };
}

/** CPU models, as the emulators themselves tell of them. */
export interface CpuModelSource {
  /** Names of the models of an architecture. @throws VirtError qemu.missing, qemu.probe-failed */
  names(arch: string): Promise<readonly string[]>;
  /** @throws VirtError qemu.*, request.invalid, kvm.unusable */
  world(query: CpuQuery): Promise<CpuWorld>;
  /** Whether guests can have encrypted memory here. @throws VirtError qemu.missing, qemu.probe-failed */
  memoryEncryption(): Promise<MemoryEncryption>;
  /** The definition with its CPU as a guest would get it now: a named model and features. @throws VirtError qemu.* */
  expandHostModel(definition: DomainDef): Promise<DomainDef>;
}
