/** The state of KVM's kernel modules, from /sys/module. */
import type { CpuInfo } from './cpu-info.ts';
import type { HostFiles } from './host-files.ts';

export interface KvmModule {
  /** The module that serves (or would serve) this processor: kvm_intel, kvm_amd, kvm_pvm; else kvm. */
  readonly name: string;
  readonly loaded: boolean;
  /** Guests may run guests; undefined when the module does not say. */
  readonly nested: boolean | undefined;
}

/** Modules that make KVM work on x86, beside the common `kvm`; pvm is the software one of some clouds' kernels. */
const vendorModules = ['kvm_intel', 'kvm_amd', 'kvm_pvm'] as const;

/** Which module is loaded, or which one this processor needs. A built-in module with parameters counts as loaded. */
export function readKvmModule(files: HostFiles, cpu: CpuInfo, arch: string): KvmModule {
  const loaded = vendorModules.find((name) => files.exists(`/sys/module/${name}`));
  const name = loaded ?? wantedModule(cpu, arch);
  return {
    name,
    loaded: loaded !== undefined || (name === 'kvm' && files.exists('/sys/module/kvm')),
    nested: parseSwitch(files.read(`/sys/module/${name}/parameters/nested`)),
  };
}

function wantedModule(cpu: CpuInfo, arch: string): string {
  if (arch !== 'x86_64' && arch !== 'i686') return 'kvm';
  // Zhaoxin and Centaur processors have VMX and are served by kvm_intel; Hygon has SVM.
  return cpu.flags.includes('svm') || /AMD|Hygon/.test(cpu.vendor ?? '') ? 'kvm_amd' : 'kvm_intel';
}

/** A module parameter's boolean: Y/N, or 1/0 where it is an int. */
function parseSwitch(text: string | undefined): boolean | undefined {
  const word = text?.trim();
  if (word === undefined || word === '') return undefined;
  return word === 'Y' || word === 'y' || word === '1';
}

/** Whether the running kernel has that module at all, loaded or not; undefined when its lists cannot be read. */
export function kernelHasModule(files: HostFiles, module: string): boolean | undefined {
  const release = files.read('/proc/sys/kernel/osrelease')?.trim();
  if (release === undefined) return undefined;
  const lists = ['modules.dep', 'modules.builtin'].map((name) =>
    files.read(`/lib/modules/${release}/${name}`),
  );
  if (lists.every((list) => list === undefined)) return undefined;
  const file = new RegExp(`/${module.replaceAll('_', '[-_]')}\\.ko`);
  return lists.some((list) => list !== undefined && file.test(list));
}

/** Modules of other hypervisors that take the processor's virtualisation for themselves. */
const rivals: readonly (readonly [module: string, product: string])[] = [
  ['vboxdrv', 'VirtualBox'],
  ['vmmon', 'VMware'],
  ['xen_evtchn', 'Xen'],
];

/** Another hypervisor whose module is loaded. */
export function rivalHypervisor(files: HostFiles): { module: string; product: string } | undefined {
  const found = rivals.find(([module]) => files.exists(`/sys/module/${module}`));
  return found && { module: found[0], product: found[1] };
}
