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
  readonly models: readonly string[];
  /** Models that can be used as they are. */
  readonly usableModels: readonly string[];
  /** Features by model; models that QEMU does not know, or can't tell of, are missing. */
  features(models: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>;
}

/** CPU models, as the emulators themselves tell of them. */
export interface CpuModelSource {
  /** Names of the models of an architecture. @throws VirtError qemu.missing, qemu.probe-failed */
  names(arch: string): Promise<readonly string[]>;
  /** @throws VirtError qemu.*, request.invalid, kvm.unusable */
  world(query: CpuQuery): Promise<CpuWorld>;
  /** The definition with `host-model` written out as a named model and its features. @throws VirtError qemu.* */
  expandHostModel(definition: DomainDef): Promise<DomainDef>;
}
