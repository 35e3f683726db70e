/** Checks of what makes guests fast: KVM, nesting, IOMMU. */
import { diagnoseRootOnly } from '../../kvm/diagnose.ts';
import type { CheckContext, HostCheck } from './check.ts';

export function checkKvm({ kvm, files, guestUids }: CheckContext): HostCheck {
  const base = { id: 'kvm', title: 'Hardware virtualisation (KVM)' };
  const problem = kvm.problem ?? (guestUids && diagnoseRootOnly(files, kvm.device));
  if (problem) {
    return {
      ...base,
      status: 'problem',
      detail: `${problem.reason}; guests run under emulation, many times slower`,
      repair: problem.repair,
    };
  }
  const detail = `${kvm.device} works: module ${kvm.module.name}, interface ${kvm.apiVersion}, up to ${kvm.vcpus.max} vCPUs per guest (${kvm.vcpus.recommended} recommended)`;
  return { ...base, status: 'ok', detail };
}

export function checkNested({ kvm }: CheckContext): HostCheck {
  const base = { id: 'nested', title: 'Nested virtualisation' };
  const { name, nested } = kvm.module;
  if (nested === true) return { ...base, status: 'ok', detail: `guests may use KVM themselves (${name})` };
  if (nested === undefined) return { ...base, status: 'absent', detail: `not offered by module ${name}` };
  return {
    ...base,
    status: 'absent',
    detail: `switched off in ${name}; guests cannot use KVM themselves`,
    repair: `echo 'options ${name} nested=1' > /etc/modprobe.d/vireo-nested.conf; with no guest running: modprobe -r ${name}; modprobe ${name}`,
  };
}

export function checkIommu({ files, kvm }: CheckContext): HostCheck {
  const base = { id: 'iommu', title: 'IOMMU (PCI devices for guests)' };
  const groups = files.list('/sys/kernel/iommu_groups').filter((name) => /^\d+$/.test(name)).length;
  if (groups > 0) return { ...base, status: 'ok', detail: `${groups} groups` };
  const word = kvm.cpu.vendor === 'GenuineIntel' ? 'intel_iommu=on' : 'iommu=pt';
  return {
    ...base,
    status: 'absent',
    detail: 'no IOMMU groups; PCI devices cannot be given to guests',
    repair: `switch on VT-d / AMD-Vi in the firmware's set-up, and boot with ${word}`,
  };
}
