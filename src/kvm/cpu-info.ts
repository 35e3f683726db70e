/** What /proc/cpuinfo says: identity of the processor and its virtualisation flag. Pure. */

export interface CpuInfo {
  /** libvirt's and the kernel's vendor word: GenuineIntel, AuthenticAMD, ARM, ... */
  readonly vendor?: string;
  readonly modelName?: string;
  readonly family?: number;
  readonly model?: number;
  readonly stepping?: number;
  readonly microcode?: string;
  /** Of the first processor, at the time of reading. */
  readonly mhz?: number;
  readonly flags: readonly string[];
}

/** The flag that tells of hardware virtualisation: Intel VT-x, AMD-V, IBM z. ARM and others show none. */
export type VirtualizationFlag = 'vmx' | 'svm' | 'sie';

/** Parses the first processor of /proc/cpuinfo (x86: arch/x86/kernel/cpu/proc.c; arm64: arch/arm64/kernel/cpuinfo.c). */
export function parseCpuInfo(text: string): CpuInfo {
  const fields = firstBlock(text);
  const number = (name: string): number | undefined => {
    const value = fields.get(name);
    return value === undefined || !/^(?:0x[0-9a-f]+|\d+(?:\.\d+)?)$/i.test(value) ? undefined : Number(value);
  };
  return defined({
    vendor: fields.get('vendor_id') ?? armImplementer(fields.get('CPU implementer')),
    modelName: fields.get('model name'),
    family: number('cpu family') ?? number('CPU architecture'),
    model: number('model') ?? number('CPU part'),
    stepping: number('stepping') ?? number('CPU revision'),
    microcode: fields.get('microcode'),
    mhz: number('cpu MHz'),
    flags: (fields.get('flags') ?? fields.get('Features') ?? fields.get('features') ?? '')
      .split(' ')
      .filter((flag) => flag !== ''),
  });
}

/** Name and value of each line up to the first empty line (the first processor). */
function firstBlock(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    if (line.trim() === '' && fields.size > 0) break;
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
  }
  return fields;
}

/** MIDR_EL1 implementer codes (arch/arm64/include/asm/cputype.h), as far as servers and boards are sold with them. */
const armImplementers: Readonly<Record<string, string>> = {
  '0x41': 'ARM',
  '0x43': 'Cavium',
  '0x46': 'Fujitsu',
  '0x48': 'HiSilicon',
  '0x4e': 'NVIDIA',
  '0x51': 'Qualcomm',
  '0x61': 'Apple',
  '0xc0': 'Ampere',
};

function armImplementer(code: string | undefined): string | undefined {
  return code === undefined ? undefined : (armImplementers[code.toLowerCase()] ?? code);
}

function defined<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T;
}

/** The processor's virtualisation flag, if it shows one. */
export function virtualizationFlag(cpu: CpuInfo): VirtualizationFlag | undefined {
  return (['vmx', 'svm', 'sie'] as const).find((flag) => cpu.flags.includes(flag));
}

/** True inside a virtual machine on x86: CPUID leaf 1 ECX bit 31, which the kernel shows as `hypervisor`. */
export function runsUnderHypervisor(cpu: CpuInfo): boolean {
  return cpu.flags.includes('hypervisor');
}
