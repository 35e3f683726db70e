/** libvirt's `<domainCapabilities>` document (libvirt docs, formatdomaincaps): what a domain may contain, from facts. */
import { formatXml, type XmlElement } from '../../base/xml/tree.ts';
import { element, textElement } from './parts.ts';

/** Lists of values by attribute name, in the order in which they are written. */
export type Enums = Readonly<Record<string, readonly (string | number)[]>>;

export interface CustomModelFacts {
  readonly name: string;
  readonly vendor: string;
  readonly usable: 'yes' | 'no' | 'unknown';
  readonly deprecated: boolean;
}

export interface HostModelFacts {
  readonly model: string;
  readonly vendor?: string;
  /** Features beyond the model, in libvirt's names. */
  readonly features: readonly string[];
  /** Features of the model that the host lacks, in libvirt's names. */
  readonly disabled: readonly string[];
}

/** The devices of the document, in its order. Undefined: not supported. */
export interface DeviceFacts {
  readonly disk?: Enums;
  readonly graphics?: Enums;
  readonly video?: Enums;
  readonly hostdev?: Enums;
  readonly rng?: Enums;
  readonly filesystem?: Enums;
  readonly tpm?: Enums;
  readonly redirdev?: Enums;
  readonly channel?: Enums;
}

export interface DomainCapabilityFacts {
  readonly path: string;
  readonly domainType: 'kvm' | 'qemu';
  /** The machine type's own name, not an alias. */
  readonly machine: string;
  readonly arch: string;
  readonly maxVcpus: number;
  readonly iothreads: boolean;
  readonly firmware: {
    /** What `<os firmware=>` can be: `bios`, `efi`. */
    readonly kinds: readonly string[];
    readonly loaders: readonly string[];
    readonly types: readonly ('rom' | 'pflash')[];
    /** A loader for Secure Boot can be had. */
    readonly secure: boolean;
  };
  readonly cpu: {
    readonly hostPassthrough: boolean;
    readonly maximum: boolean;
    readonly hostModel?: HostModelFacts;
    readonly custom: readonly CustomModelFacts[];
    /** `migratable=` can be chosen for host-passthrough and maximum: a property of x86 CPUs. */
    readonly migratable: boolean;
  };
  readonly memorySources: readonly string[];
  readonly devices: DeviceFacts;
  readonly features: {
    readonly gicVersions: readonly number[];
    readonly vmcoreinfo: boolean;
    readonly genid: boolean;
    readonly backingStoreInput: boolean;
    readonly backup: boolean;
    /** Enlightenments for Windows; empty where they don't exist. */
    readonly hyperv: readonly string[];
    readonly sev?: SevFacts;
    /** What `<launchSecurity type=>` can be. */
    readonly launchSecurity: readonly string[];
  };
}

/** AMD's memory encryption on this host. */
export interface SevFacts {
  readonly cbitpos: number;
  readonly reducedPhysBits: number;
  /** Guests at a time with encrypted memory only, and with encrypted registers too. */
  readonly maxGuests: number;
  readonly maxEsGuests: number;
  readonly cpu0Id?: string;
}

/** Writes the document. */
export function formatDomainCapabilities(facts: DomainCapabilityFacts): string {
  return formatXml(
    element('domainCapabilities', {}, [
      textElement('path', facts.path),
      textElement('domain', facts.domainType),
      textElement('machine', facts.machine),
      textElement('arch', facts.arch),
      element('vcpu', { max: facts.maxVcpus }),
      element('iothreads', { supported: facts.iothreads }),
      os(facts.firmware),
      cpu(facts.cpu),
      supported('memoryBacking', enumsUnlessEmpty({ sourceType: facts.memorySources })),
      element('devices', {}, devices(facts.devices)),
      element('features', {}, features(facts.features)),
    ]),
  );
}

function enumElements(enums: Enums): XmlElement[] {
  return Object.entries(enums).map(([name, values]) =>
    element(
      'enum',
      { name },
      values.map((value) => textElement('value', value)),
    ),
  );
}

/** An element that says whether it is supported, and with what values. */
function supported(name: string, enums: Enums | undefined): XmlElement {
  return element(name, { supported: enums !== undefined }, enums === undefined ? [] : enumElements(enums));
}

function enumsUnlessEmpty(enums: Enums): Enums | undefined {
  return Object.values(enums).some((values) => values.length > 0) ? enums : undefined;
}

function os(firmware: DomainCapabilityFacts['firmware']): XmlElement {
  const loader = element('loader', { supported: firmware.types.length > 0 }, [
    ...firmware.loaders.map((path) => textElement('value', path)),
    ...enumElements({
      type: firmware.types,
      readonly: ['yes', 'no'],
      secure: firmware.secure ? ['yes', 'no'] : ['no'],
    }),
  ]);
  return element('os', { supported: true }, [...enumElements({ firmware: firmware.kinds }), loader]);
}

function cpu(facts: DomainCapabilityFacts['cpu']): XmlElement {
  const choices = facts.migratable ? ['on', 'off'] : [];
  return element('cpu', {}, [
    cpuMode('host-passthrough', facts.hostPassthrough, enumElements({ hostPassthroughMigratable: choices })),
    cpuMode('maximum', facts.maximum, enumElements({ maximumMigratable: choices })),
    cpuMode('host-model', facts.hostModel !== undefined, facts.hostModel ? hostModel(facts.hostModel) : []),
    cpuMode('custom', facts.custom.length > 0, facts.custom.map(customModel)),
  ]);
}

function cpuMode(name: string, isSupported: boolean, children: readonly XmlElement[]): XmlElement {
  return element('mode', { name, supported: isSupported }, isSupported ? children : []);
}

function hostModel(facts: HostModelFacts): XmlElement[] {
  return [
    element('model', { fallback: 'forbid' }, [facts.model]),
    ...(facts.vendor === undefined ? [] : [textElement('vendor', facts.vendor)]),
    ...facts.features.map((name) => element('feature', { policy: 'require', name })),
    ...facts.disabled.map((name) => element('feature', { policy: 'disable', name })),
  ];
}

function customModel(facts: CustomModelFacts): XmlElement {
  const { usable, vendor } = facts;
  return element('model', { usable, deprecated: facts.deprecated ? true : undefined, vendor }, [facts.name]);
}

function devices(facts: DeviceFacts): XmlElement[] {
  return [
    supported('disk', facts.disk),
    supported('graphics', facts.graphics),
    supported('video', facts.video),
    supported('hostdev', facts.hostdev),
    supported('rng', facts.rng),
    supported('filesystem', facts.filesystem),
    supported('tpm', facts.tpm),
    supported('redirdev', facts.redirdev),
    supported('channel', facts.channel),
  ];
}

function features(facts: DomainCapabilityFacts['features']): XmlElement[] {
  return [
    supported('gic', enumsUnlessEmpty({ version: facts.gicVersions })),
    element('vmcoreinfo', { supported: facts.vmcoreinfo }),
    element('genid', { supported: facts.genid }),
    element('backingStoreInput', { supported: facts.backingStoreInput }),
    element('backup', { supported: facts.backup }),
    sev(facts.sev),
    supported('hyperv', enumsUnlessEmpty({ features: facts.hyperv })),
    // Younger than libvirt 9.0's schema, so only where there is something to say.
    ...(facts.launchSecurity.length > 0
      ? [supported('launchSecurity', { sectype: facts.launchSecurity })]
      : []),
  ];
}

function sev(facts: SevFacts | undefined): XmlElement {
  if (facts === undefined) return element('sev', { supported: false });
  return element('sev', { supported: true }, [
    textElement('cbitpos', String(facts.cbitpos)),
    textElement('reducedPhysBits', String(facts.reducedPhysBits)),
    textElement('maxGuests', String(facts.maxGuests)),
    textElement('maxESGuests', String(facts.maxEsGuests)),
    ...(facts.cpu0Id === undefined ? [] : [textElement('cpu0Id', facts.cpu0Id)]),
  ]);
}
