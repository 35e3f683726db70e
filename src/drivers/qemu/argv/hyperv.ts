/** Hyper-V enlightenments of -cpu (QEMU docs/system/i386/hyperv.rst). */
import type { HypervFeatures } from '../../../model/domain/features.ts';
import type { Build } from './context.ts';
import type { CpuOption } from './cpu.ts';

/** Enlightenments that are a plain switch. */
const switches = {
  relaxed: 'hv-relaxed',
  vapic: 'hv-vapic',
  vpindex: 'hv-vpindex',
  runtime: 'hv-runtime',
  synic: 'hv-synic',
  reset: 'hv-reset',
  frequencies: 'hv-frequencies',
  reenlightenment: 'hv-reenlightenment',
  tlbflush: 'hv-tlbflush',
  ipi: 'hv-ipi',
  evmcs: 'hv-evmcs',
  avic: 'hv-avic',
  emsrBitmap: 'hv-emsr-bitmap',
  xmmInput: 'hv-xmm-input',
} as const satisfies Partial<Record<keyof HypervFeatures, string>>;

/** Retries before a spinning guest tells the hypervisor; what libvirt's documents call never is QEMU's default. */
const DEFAULT_RETRIES = 0x1fff;

/**
 * The options for <features><hyperv> and the timer hypervclock. They are KVM's: under TCG QEMU takes them and the guest
 * sees none of it. libvirt passes them all the same, and virt-install asks for them for every Windows.
 */
export function hypervOptions(b: Build): CpuOption[] {
  const hyperv = b.definition.features?.hyperv;
  const clock = b.definition.clock?.timers.find((timer) => timer.name === 'hypervclock');
  const options: CpuOption[] = [
    ...(clock?.present ? [['hv-time', true] as const] : []),
    ...(hyperv === undefined ? [] : enlightenments(hyperv)),
    ...(b.definition.devices.panics.some((panic) => panic.model === 'hyperv')
      ? [['hv-crash', true] as const]
      : []),
  ];
  if (options.length > 0 && !b.isX86) b.problem('features.hyperv', `is only there on x86, not on ${b.arch}`);
  return options;
}

function enlightenments(hyperv: HypervFeatures): CpuOption[] {
  const options: CpuOption[] = hyperv.mode === 'passthrough' ? [['hv-passthrough', true]] : [];
  for (const [key, name] of Object.entries(switches))
    if (hyperv[key as keyof typeof switches]) options.push([name, true]);
  if (hyperv.spinlocks !== undefined && hyperv.spinlocks.state !== false)
    options.push(['hv-spinlocks', `0x${(hyperv.spinlocks.retries ?? DEFAULT_RETRIES).toString(16)}`]);
  if (hyperv.stimer !== undefined && hyperv.stimer.state !== false) {
    options.push(['hv-stimer', true]);
    if (hyperv.stimer.direct) options.push(['hv-stimer-direct', true]);
  }
  if (hyperv.vendorId !== undefined && hyperv.vendorId.state !== false)
    options.push(['hv-vendor-id', hyperv.vendorId.value ?? '']);
  return options;
}
