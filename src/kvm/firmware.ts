/** Whether the firmware switched hardware virtualisation off: by model-specific register, else by the kernel's log. */
import type { VirtualizationFlag } from './cpu-info.ts';
import type { HostFiles } from './host-files.ts';

export type FirmwareVerdict = 'off' | 'on' | 'unknown';

/** Intel SDM vol. 4, IA32_FEATURE_CONTROL: bit 0 lock, bit 2 VMX outside SMX. */
const IA32_FEATURE_CONTROL = 0x3a;
/** AMD APM vol. 2, 15.30.1 VM_CR: bit 4 SVMDIS. */
const VM_CR = 0xc001_0114;

/** Sentences of the kernel's log, by version: arch/x86/kvm (all), arch/x86/kernel/cpu/feat_ctl.c (since 5.6). */
const logSentences = /disabled by bios|SVM disabled \(by BIOS\)|VMX \([^)]*\) disabled by BIOS/i;

/** What can be found out; 'unknown' when neither the register nor the log can be read or says anything. */
export function firmwareVerdict(files: HostFiles, vendor: string | undefined): FirmwareVerdict {
  const byRegister = vendor === 'AuthenticAMD' || vendor === 'HygonGenuine' ? amd(files) : intel(files);
  if (byRegister !== 'unknown') return byRegister;
  const log = files.kernelLog();
  return log !== undefined && logSentences.test(log) ? 'off' : 'unknown';
}

function intel(files: HostFiles): FirmwareVerdict {
  const value = readMsr(files, IA32_FEATURE_CONTROL);
  if (value === undefined) return 'unknown';
  const locked = (value & 1n) !== 0n;
  const vmx = (value & 4n) !== 0n;
  // Unlocked, the kernel may still switch it on itself.
  return locked && !vmx ? 'off' : 'on';
}

function amd(files: HostFiles): FirmwareVerdict {
  const value = readMsr(files, VM_CR);
  if (value === undefined) return 'unknown';
  return (value & 0x10n) !== 0n ? 'off' : 'on';
}

/** msr(4): eight bytes at the offset that is the register's number; needs the msr module and CAP_SYS_RAWIO. */
function readMsr(files: HostFiles, register: number): bigint | undefined {
  return files.readAt('/dev/cpu/0/msr', register, 8)?.readBigUInt64LE();
}

/** The name of the firmware's setting. */
export function firmwareSetting(flag: VirtualizationFlag | undefined, vendor: string | undefined): string {
  const isAmd = flag === 'svm' || vendor === 'AuthenticAMD' || vendor === 'HygonGenuine';
  return isAmd ? 'AMD-V / SVM Mode' : 'Intel VT-x / Virtualization Technology';
}
