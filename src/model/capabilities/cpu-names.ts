/** Names of CPU vendors, models and features: CPUID's and QEMU's on one side, libvirt's on the other. */

/** libvirt's words for the vendor string of CPUID leaf 0 (libvirt, src/cpu_map). */
const vendors: Readonly<Record<string, string>> = {
  GenuineIntel: 'Intel',
  AuthenticAMD: 'AMD',
  HygonGenuine: 'Hygon',
};

/** libvirt's word for a vendor; undefined for one it has no word for. */
export function vendorName(cpuidVendor: string | undefined): string | undefined {
  return cpuidVendor === undefined ? undefined : vendors[cpuidVendor];
}

const amdModel = /^(athlon|phenom|Opteron|EPYC)/;
const hygonModel = /^Dhyana/;
const intelModel =
  /^(486|pentium|coreduo|core2duo|n270|Conroe|Penryn|Nehalem|Westmere|SandyBridge|IvyBridge|Haswell|Broadwell|Skylake|Cascadelake|Cooperlake|Icelake|Snowridge|SapphireRapids|GraniteRapids|SierraForest|ClearwaterForest|DiamondRapids|KnightsMill|Denverton)/;

/** The vendor whose processor one of QEMU's x86 models is named after, in libvirt's words; `unknown` for the others. */
export function vendorOfModel(model: string): string {
  if (amdModel.test(model)) return 'AMD';
  if (hygonModel.test(model)) return 'Hygon';
  return intelModel.test(model) ? 'Intel' : 'unknown';
}

/** x86 features whose libvirt name (docs: formatdomain, CPU model) is not QEMU's. QEMU takes both spellings. */
const featureNames: Readonly<Record<string, string>> = {
  'cmp-legacy': 'cmp_legacy',
  'ds-cpl': 'ds_cpl',
  'fxsr-opt': 'fxsr_opt',
  'lahf-lm': 'lahf_lm',
  'nodeid-msr': 'nodeid_msr',
  pclmulqdq: 'pclmuldq',
  'perfctr-core': 'perfctr_core',
  'perfctr-nb': 'perfctr_nb',
  'tsc-adjust': 'tsc_adjust',
};

/** Flags of /proc/cpuinfo (arch/x86/include/asm/cpufeatures.h) whose name is nowhere near QEMU's. */
const kernelNames: Readonly<Record<string, string>> = {
  tsc_deadline_timer: 'tsc-deadline',
  nonstop_tsc: 'invtsc',
};

/**
 * libvirt's names that a flag of /proc/cpuinfo may stand for: the kernel writes underscores where QEMU has a hyphen
 * (`sha_ni`), a dot (`sse4_1`), an underscore or nothing (`avx512_vnni`).
 */
export function namesOfKernelFlag(flag: string): string[] {
  const known = kernelNames[flag];
  const spelled =
    known === undefined ? ['_', '-', '.', ''].map((sign) => flag.replaceAll('_', sign)) : [known];
  return spelled.map(featureName);
}

const qemuNames = Object.fromEntries(Object.entries(featureNames).map(([qemu, libvirt]) => [libvirt, qemu]));

/** QEMU's name of a feature that libvirt calls `feature`. */
export function qemuFeatureName(feature: string): string {
  return qemuNames[feature] ?? feature;
}

/** libvirt's name of a feature that QEMU calls `feature`. */
export function featureName(feature: string): string {
  return featureNames[feature] ?? feature;
}
