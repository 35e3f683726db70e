/** Checks of what makes guests fast and keeps them apart: KVM, nesting, IOMMU, encrypted memory. */
import { diagnoseRootOnly } from '../../kvm/diagnose.ts';
import { isOfAmd, sevProblem } from '../../kvm/sev.ts';
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

/** Encrypted memory of guests: which of AMD's three generations can be had. Nothing to tell on other processors. */
export function checkSev({ files, arch, guestUids, kvm }: CheckContext): HostCheck[] {
  if (!isOfAmd(kvm.cpu.vendor)) return [];
  const base = { id: 'sev', title: 'Encrypted guests (AMD SEV)' };
  const options = { arch, guestsUnprivileged: guestUids !== undefined };
  const problem = sevProblem(files, 'sev', options);
  if (problem !== undefined)
    return [{ ...base, status: 'absent', detail: problem.reason, repair: problem.repair }];
  const names = { sev: 'SEV', sev_es: 'SEV-ES', sev_snp: 'SEV-SNP' } as const;
  const usable = (['sev', 'sev_es', 'sev_snp'] as const).filter(
    (one) => sevProblem(files, one, options) === undefined,
  );
  return [{ ...base, status: 'ok', detail: `${usable.map((one) => names[one]).join(', ')} can be had` }];
}
