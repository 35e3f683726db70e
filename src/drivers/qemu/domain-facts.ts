/** What a domain may contain with one QEMU binary and machine type: from capabilities to facts, without I/O. */
import type { SevLimits } from '../../kvm/sev.ts';
import { featureName, vendorName, vendorOfModel } from '../../model/capabilities/cpu-names.ts';
import type {
  CustomModelFacts,
  DeviceFacts,
  DomainCapabilityFacts,
  Enums,
  HostModelFacts,
} from '../../model/capabilities/domain-capabilities.ts';
import { type FirmwareDescriptor, fitsMachine } from './firmware.ts';
import type { AcceleratorCapabilities, QemuCapabilities, QemuMachine } from './probe/types.ts';

export interface DomainFactsRequest {
  readonly capabilities: QemuCapabilities;
  readonly domainType: 'kvm' | 'qemu';
  readonly machine: QemuMachine;
  /** Of the guest; the binary may be of a wider architecture. */
  readonly arch: string;
  readonly firmware: readonly FirmwareDescriptor[];
  /** The most vCPUs KVM gives one guest. */
  readonly kvmMaxVcpus?: number;
  /** swtpm is installed, so that emulated TPMs can be had. */
  readonly hasSwtpm: boolean;
  /** virtiofsd is installed. */
  readonly hasVirtiofsd: boolean;
  /** The host has an IOMMU that is on, so that PCI devices can be passed through. */
  readonly hasIommu: boolean;
  /** How many guests with encrypted memory there can be; asked for only where there can be some. */
  readonly sevLimits?: SevLimits;
}

const virtioModels = ['virtio', 'virtio-transitional', 'virtio-non-transitional'];

export function domainCapabilityFacts(request: DomainFactsRequest): DomainCapabilityFacts {
  const { capabilities, domainType, machine, arch } = request;
  const limit = domainType === 'kvm' ? (request.kvmMaxVcpus ?? Infinity) : Infinity;
  return {
    path: capabilities.path,
    domainType,
    machine: machine.name,
    arch,
    maxVcpus: Math.min(machine.maxCpus, limit),
    iothreads: capabilities.objects.includes('iothread'),
    firmware: firmwareFacts(request),
    cpu: cpuFacts(request),
    memorySources: memorySources(capabilities),
    devices: deviceFacts(request),
    features: featureFacts(request),
  };
}

function firmwareFacts({ firmware, arch, machine }: DomainFactsRequest): DomainCapabilityFacts['firmware'] {
  const fitting = firmware.filter((one) => fitsMachine(one, arch, machine.name) && one.kind !== 'combined');
  const has = (name: string): boolean => fitting.some((one) => one.interfaces.includes(name));
  const isX86 = arch === 'x86_64' || arch === 'i686';
  return {
    kinds: [...(isX86 || has('bios') ? ['bios'] : []), ...(has('uefi') ? ['efi'] : [])],
    loaders: [...new Set(fitting.map((one) => one.loader.path))].sort(),
    types: ['rom', 'pflash'],
    secure: fitting.some((one) => one.features.has('secure-boot') && one.features.has('requires-smm')),
  };
}

function cpuFacts(request: DomainFactsRequest): DomainCapabilityFacts['cpu'] {
  const isKvm = request.domainType === 'kvm';
  const accelerator = acceleratorOf(request);
  const names = new Set(accelerator?.cpuModels.map(({ name }) => name));
  const host = hostModel(accelerator);
  return {
    hostPassthrough: isKvm && names.has('host'),
    maximum: names.has('max'),
    ...(host && { hostModel: host }),
    custom: (accelerator?.cpuModels ?? [])
      .filter(({ name }) => !/^(max|host|base)$/.test(name))
      .map(customModel),
    migratable: isX86(request),
  };
}

function acceleratorOf({
  capabilities,
  domainType,
}: DomainFactsRequest): AcceleratorCapabilities | undefined {
  return domainType === 'kvm' ? capabilities.accelerators.kvm : capabilities.accelerators.tcg;
}

function isX86({ arch }: DomainFactsRequest): boolean {
  return arch === 'x86_64' || arch === 'i686';
}

/** The closest model, with what must be added; also what the host's own CPU is called in capabilities. */
export function hostModel(accelerator: AcceleratorCapabilities | undefined): HostModelFacts | undefined {
  const closest = accelerator?.closestModel;
  if (closest === undefined) return undefined;
  const vendor = vendorName(closest.vendor);
  return {
    model: closest.name,
    ...(vendor !== undefined && { vendor }),
    features: closest.addedFeatures.map(featureName).sort(),
    disabled: (closest.removedFeatures ?? []).map(featureName).sort(),
  };
}

function customModel(model: AcceleratorCapabilities['cpuModels'][number]): CustomModelFacts {
  const missing = model.unavailableFeatures;
  return {
    name: model.name,
    vendor: vendorOfModel(model.name),
    usable: missing === undefined ? 'unknown' : missing.length === 0 ? 'yes' : 'no',
    deprecated: model.deprecated,
  };
}

function memorySources({ objects }: QemuCapabilities): string[] {
  const backends = {
    file: 'memory-backend-file',
    anonymous: 'memory-backend-ram',
    memfd: 'memory-backend-memfd',
  };
  return Object.entries(backends)
    .filter(([, object]) => objects.includes(object))
    .map(([name]) => name);
}

/** Asks the device list of one binary. */
class Devices {
  private readonly names: ReadonlySet<string>;

  constructor(capabilities: QemuCapabilities) {
    this.names = new Set(capabilities.devices);
  }

  has(name: string): boolean {
    return this.names.has(name);
  }

  /** virtio on this binary's bus: PCI, or CCW on s390x. */
  hasVirtio(kind: string): boolean {
    return this.names.has(`virtio-${kind}-pci`) || this.names.has(`virtio-${kind}-ccw`);
  }

  /** The values whose device is there. */
  offered(byValue: Readonly<Record<string, string>>): string[] {
    return Object.keys(byValue).filter((value) => this.names.has(byValue[value] ?? ''));
  }

  /** Models of a virtio device: with transitional ones where the binary has them. */
  virtioModels(kind: string): string[] {
    if (!this.hasVirtio(kind)) return [];
    return this.names.has(`virtio-${kind}-pci-transitional`) ? virtioModels : ['virtio'];
  }
}

function deviceFacts(request: DomainFactsRequest): DeviceFacts {
  const devices = new Devices(request.capabilities);
  return {
    disk: diskFacts(request, devices),
    graphics: { type: graphicsTypes(request.capabilities) },
    video: { modelType: videoModels(devices) },
    ...optional('hostdev', hostdevFacts(request, devices)),
    ...optional('rng', rngFacts(request, devices)),
    ...optional('filesystem', filesystemFacts(request, devices)),
    ...optional('tpm', tpmFacts(request)),
    ...optional('redirdev', devices.has('usb-redir') ? { bus: ['usb'] } : undefined),
    ...optional(
      'channel',
      devices.has('virtserialport') ? { type: channelTypes(request.capabilities) } : undefined,
    ),
  };
}

function optional(name: keyof DeviceFacts, enums: Enums | undefined): DeviceFacts {
  return enums === undefined ? {} : { [name]: enums };
}

function isI440fx(machine: QemuMachine): boolean {
  return /^(pc|pc-i440fx-.*|pc-\d.*|isapc)$/.test(machine.name);
}

function isQ35(machine: QemuMachine): boolean {
  return /^(q35|pc-q35-.*)$/.test(machine.name);
}

function diskFacts({ machine }: DomainFactsRequest, devices: Devices): Enums {
  const hasFloppy = devices.has('floppy') && (isI440fx(machine) || isQ35(machine));
  const bus = [
    ...(isI440fx(machine) && devices.has('ide-hd') ? ['ide'] : []),
    ...(hasFloppy ? ['fdc'] : []),
    ...(devices.has('scsi-hd') ? ['scsi'] : []),
    ...(devices.hasVirtio('blk') ? ['virtio'] : []),
    ...(devices.has('usb-storage') ? ['usb'] : []),
    ...(devices.has('ich9-ahci') && devices.has('ide-hd') ? ['sata'] : []),
  ];
  const hasLun = devices.has('scsi-block');
  const diskDevice = ['disk', 'cdrom', ...(hasFloppy ? ['floppy'] : []), ...(hasLun ? ['lun'] : [])];
  return { diskDevice, bus, model: devices.virtioModels('blk') };
}

function graphicsTypes({ commands, options, displays }: QemuCapabilities): string[] {
  // query-spice is compiled in or not; the option comes with the module that must be installed.
  const hasSpice = commands.includes('query-spice') && Object.hasOwn(options, 'spice');
  return [
    ...(commands.includes('query-vnc') ? ['vnc'] : []),
    ...(hasSpice ? ['spice'] : []),
    ...(displays.includes('egl-headless') ? ['egl-headless'] : []),
  ];
}

function videoModels(devices: Devices): string[] {
  const byModel = {
    vga: 'VGA',
    cirrus: 'cirrus-vga',
    vmvga: 'vmware-svga',
    qxl: 'qxl',
    virtio: devices.has('virtio-gpu-ccw') ? 'virtio-gpu-ccw' : 'virtio-gpu-pci',
    bochs: 'bochs-display',
    ramfb: 'ramfb',
  };
  return [...devices.offered(byModel), 'none'];
}

function hostdevFacts({ hasIommu }: DomainFactsRequest, devices: Devices): Enums | undefined {
  const pci = hasIommu && devices.has('vfio-pci');
  const scsi = devices.has('scsi-generic');
  const subsysType = [
    ...(devices.has('usb-host') ? ['usb'] : []),
    ...(pci ? ['pci'] : []),
    ...(scsi ? ['scsi'] : []),
  ];
  if (subsysType.length === 0) return undefined;
  return {
    mode: ['subsystem'],
    startupPolicy: ['default', 'mandatory', 'requisite', 'optional'],
    subsysType,
    capsType: [],
    pciBackend: pci ? ['default', 'vfio'] : [],
  };
}

function rngFacts({ capabilities }: DomainFactsRequest, devices: Devices): Enums | undefined {
  const model = devices.virtioModels('rng');
  if (model.length === 0) return undefined;
  const backends = { random: 'rng-random', egd: 'rng-egd', builtin: 'rng-builtin' };
  const backendModel = Object.entries(backends)
    .filter(([, object]) => capabilities.objects.includes(object))
    .map(([name]) => name);
  return { model, backendModel };
}

function filesystemFacts({ hasVirtiofsd }: DomainFactsRequest, devices: Devices): Enums | undefined {
  const driverType = [
    ...(devices.hasVirtio('9p') ? ['path'] : []),
    ...(hasVirtiofsd && devices.has('vhost-user-fs-pci') ? ['virtiofs'] : []),
  ];
  return driverType.length === 0 ? undefined : { driverType };
}

function tpmFacts({ capabilities, hasSwtpm }: DomainFactsRequest): Enums | undefined {
  const { tpmModels, tpmTypes } = capabilities;
  if (!hasSwtpm || !tpmTypes.includes('emulator') || tpmModels.length === 0) return undefined;
  return { model: tpmModels, backendModel: ['emulator'], backendVersion: ['1.2', '2.0'] };
}

function channelTypes({ chardevs }: QemuCapabilities): string[] {
  const types = { pty: 'pty', unix: 'socket', spicevmc: 'spicevmc' };
  return Object.entries(types)
    .filter(([, backend]) => chardevs.includes(backend))
    .map(([name]) => name);
}

/** Enlightenments in libvirt's names, and the property of QEMU's x86 CPUs that stands for each. */
const hypervProperties: Readonly<Record<string, string>> = {
  relaxed: 'hv-relaxed',
  vapic: 'hv-vapic',
  spinlocks: 'hv-spinlocks',
  vpindex: 'hv-vpindex',
  runtime: 'hv-runtime',
  synic: 'hv-synic',
  stimer: 'hv-stimer',
  reset: 'hv-reset',
  vendor_id: 'hv-vendor-id',
  frequencies: 'hv-frequencies',
  reenlightenment: 'hv-reenlightenment',
  tlbflush: 'hv-tlbflush',
  ipi: 'hv-ipi',
  evmcs: 'hv-evmcs',
  avic: 'hv-avic',
};

function featureFacts(request: DomainFactsRequest): DomainCapabilityFacts['features'] {
  const { capabilities } = request;
  const devices = new Devices(capabilities);
  const isArm = request.arch === 'aarch64' || request.arch === 'armv7l';
  return {
    gicVersions: isArm ? (capabilities.gicVersions ?? []) : [],
    vmcoreinfo: devices.has('vmcoreinfo'),
    genid: devices.has('vmgenid'),
    backingStoreInput: true,
    backup: true,
    hyperv: request.domainType === 'kvm' && isX86(request) ? hypervFeatures(acceleratorOf(request)) : [],
    ...sevFacts(request),
  };
}

/** Only KVM encrypts memory: under TCG the accelerator has nothing to tell. */
function sevFacts(
  request: DomainFactsRequest,
): Pick<DomainCapabilityFacts['features'], 'sev' | 'launchSecurity'> {
  const found = acceleratorOf(request)?.sev;
  if (found === undefined || request.arch !== 'x86_64') return { launchSecurity: [] };
  const { cbitpos, reducedPhysBits, cpu0Id } = found;
  const limits = request.sevLimits ?? { maxGuests: 0, maxEsGuests: 0 };
  return {
    sev: { cbitpos, reducedPhysBits, ...limits, ...(cpu0Id !== undefined && { cpu0Id }) },
    launchSecurity: ['sev', 'sev-snp'].filter((kind) =>
      request.capabilities.objects.includes(`${kind}-guest`),
    ),
  };
}

function hypervFeatures(accelerator: AcceleratorCapabilities | undefined): string[] {
  const props = accelerator?.hostModel?.props ?? {};
  return Object.keys(hypervProperties).filter((name) => Object.hasOwn(props, hypervProperties[name] ?? ''));
}
