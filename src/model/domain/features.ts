/** Switches of the virtual machine itself: acpi, apic, smm, gic, Hyper-V enlightenments, ... */
import {
  attr,
  child,
  childAttr,
  childSwitch,
  custom,
  type Field,
  flag,
  type Infer,
  object,
} from '../../base/xml/codec.ts';
import { matching, oneOf, onOff, uint } from '../../base/xml/scalars.ts';
import { isElement, xmlElement } from '../../base/xml/tree.ts';
import { childBytes } from './sizes.ts';

/** `<name state='on|off'/>`; the attribute may be absent, which means on. */
const state = (name: string): Field<boolean | undefined> => childSwitch(name, 'state');

const on = attr('state', onOff);

const hyperv = object({
  mode: attr('mode', oneOf('custom', 'passthrough')),
  relaxed: state('relaxed'),
  vapic: state('vapic'),
  spinlocks: child(
    'spinlocks',
    object({ state: on, retries: attr('retries', uint({ min: 4095, max: 2 ** 32 - 1 })) }),
  ),
  vpindex: state('vpindex'),
  runtime: state('runtime'),
  synic: state('synic'),
  stimer: child('stimer', object({ state: on, direct: state('direct') })),
  reset: state('reset'),
  vendorId: child(
    'vendor_id',
    object({
      state: on,
      // It goes into the -cpu option string and into 12 bytes of CPUID.
      value: attr('value', matching(/^[\x20-\x2b\x2d-\x7e]{0,12}$/, 'at most 12 ASCII characters, no comma')),
    }),
  ),
  frequencies: state('frequencies'),
  reenlightenment: state('reenlightenment'),
  tlbflush: state('tlbflush'),
  ipi: state('ipi'),
  evmcs: state('evmcs'),
  avic: state('avic'),
  emsrBitmap: state('emsr_bitmap'),
  xmmInput: state('xmm_input'),
});

export type HypervFeatures = Infer<typeof hyperv>;

const kvm = object({
  hidden: state('hidden'),
  hintDedicated: state('hint-dedicated'),
  pollControl: state('poll-control'),
  pvIpi: state('pv-ipi'),
  dirtyRing: child('dirty-ring', object({ state: on, size: attr('size', uint({ min: 1024, max: 65_536 })) })),
});

/** For Xen guests; read so that the driver can say what it refuses. */
const xen = object({
  e820Host: state('e820_host'),
  passthrough: child('passthrough', object({ state: on, mode: attr('mode', oneOf('sync_pt', 'share_pt')) })),
});

/** Linux capabilities of container guests: names as they are, each on or off. */
const capabilities = object({
  policy: attr('policy', oneOf('default', 'allow', 'deny')),
  states: custom<{ name: string; state: boolean }[]>(
    (reader) => {
      const names = new Set(reader.element.children.filter(isElement).map((node) => node.name));
      return [...names].map((name) => ({ name, state: state(name).read(reader) ?? true }));
    },
    (element, value) => {
      for (const one of value)
        element.children.push(xmlElement(one.name, [['state', onOff.format(one.state)]]));
    },
  ),
});

const featuresCodec = object({
  acpi: flag('acpi'),
  apic: child('apic', object({ eoi: attr('eoi', onOff) })),
  pae: flag('pae'),
  hap: state('hap'),
  viridian: flag('viridian'),
  privnet: flag('privnet'),
  hyperv: child('hyperv', hyperv),
  kvm: child('kvm', kvm),
  xen: child('xen', xen),
  pvspinlock: state('pvspinlock'),
  capabilities: child('capabilities', capabilities),
  pmu: state('pmu'),
  vmport: state('vmport'),
  gic: child('gic', object({ version: attr('version', oneOf('2', '3', 'host')) })),
  smm: child('smm', object({ state: on, tsegBytes: childBytes('tseg', 'MiB') })),
  ioapic: childAttr('ioapic', 'driver', oneOf('qemu', 'kvm')),
  hpt: child(
    'hpt',
    object({
      resizing: attr('resizing', oneOf('enabled', 'disabled', 'required')),
      maxpagesizeBytes: childBytes('maxpagesize', 'KiB'),
    }),
  ),
  vmcoreinfo: state('vmcoreinfo'),
  htm: state('htm'),
  nestedHv: state('nested-hv'),
  msrs: childAttr('msrs', 'unknown', oneOf('ignore', 'fault')),
  ccfAssist: state('ccf-assist'),
  cfpc: childAttr('cfpc', 'value', oneOf('broken', 'workaround', 'fixed')),
  sbbc: childAttr('sbbc', 'value', oneOf('broken', 'workaround', 'fixed')),
  ibs: childAttr('ibs', 'value', oneOf('broken', 'workaround', 'fixed-ibs', 'fixed-ccd', 'fixed-na')),
  tcg: child('tcg', object({ tbCacheBytes: childBytes('tb-cache', 'KiB') })),
  asyncTeardown: childSwitch('async-teardown', 'enabled', 'yes'),
  ras: state('ras'),
  ps2: state('ps2'),
});

export type Features = Infer<typeof featuresCodec>;

export const features: Field<Features | undefined> = child('features', featuresCodec);
