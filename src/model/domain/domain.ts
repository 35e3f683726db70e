/** A domain's definition: its type, and libvirt's XML for it, each element declared once. */
import {
  attr,
  childOrEmpty,
  childText,
  custom,
  type ElementCodec,
  type Field,
  type FormatOptions,
  type Infer,
  object,
  type ParseMode,
  Reader,
  readDocument,
  required,
  writeElement,
} from '../../base/xml/codec.ts';
import { parseXml } from '../../base/xml/parse.ts';
import { longText, oneOf, str, uint, uuidText } from '../../base/xml/scalars.ts';
import { formatXml, xmlElement } from '../../base/xml/tree.ts';
import { clock } from './clock.ts';
import { cpu } from './cpu.ts';
import { devicesCodec } from './devices/devices.ts';
import { throttleGroups } from './devices/disk.ts';
import { onCrash, onLockfailure, onPoweroff, onReboot, perf, pm } from './events.ts';
import { features } from './features.ts';
import { launchSecurity } from './launch-security.ts';
import { currentMemoryKiB, maxMemory, memory, memoryBacking } from './memory.ts';
import { metadata } from './metadata.ts';
import { domainName } from './names.ts';
import { os } from './os.ts';
import {
  declareQemuPrefix,
  normalizeQemuPrefix,
  qemuCapabilities,
  qemuCommandline,
  qemuDeprecation,
  qemuOverride,
} from './qemu-namespace.ts';
import { idmap, keywrap, seclabels } from './security.ts';
import { sysinfo } from './sysinfo.ts';
import { blkiotune, cputune, memtune, numatune, resource } from './tuning.ts';
import { defaultiothread, iothreadids, iothreads, vcpu, vcpus } from './vcpus.ts';

/** libvirt's hypervisors (domaincommon.rng, hvs); which of them work is the driver's to say. */
const virtTypes = oneOf(
  ...(['qemu', 'kvm', 'kqemu', 'xen', 'lxc', 'uml', 'openvz', 'test', 'vmware', 'hyperv', 'vbox'] as const),
  ...(['phyp', 'vz', 'bhyve', 'hvf'] as const),
);

/** The id of a running domain: read past, and written by formatDomain alone. */
const liveId: Field<undefined> = custom(
  (reader) => {
    attr('id', uint({ max: 2 ** 31 - 1 })).read(reader);
    return undefined;
  },
  () => undefined,
);

/** `<genid/>`: an empty element asks for a new one, which is '' here until the defaults are applied. */
const genid: Field<string | undefined> = custom(
  (reader) => {
    const found = reader.child('genid');
    if (found === undefined) return undefined;
    return childText('genid', uuidText).read(reader) ?? '';
  },
  (element, value) => {
    if (value !== undefined) element.children.push(xmlElement('genid', [], value === '' ? [] : [value]));
  },
);

/** The order is the one in which libvirt prints. */
const domainCodec = object({
  type: required(attr('type', virtTypes), 'type'),
  id: liveId,
  name: required(childText('name', domainName), 'name'),
  uuid: childText('uuid', uuidText),
  genid,
  title: childText('title', str()),
  description: childText('description', longText(1_048_576)),
  metadata: metadata((reader) => reader.element),
  maxMemory,
  memory,
  currentMemoryKiB,
  blkiotune,
  memtune,
  memoryBacking,
  vcpu,
  vcpus,
  iothreads,
  iothreadids,
  defaultiothread,
  throttleGroups,
  cputune,
  numatune,
  resource,
  sysinfo,
  os,
  idmap,
  features,
  cpu,
  clock,
  onPoweroff,
  onReboot,
  onCrash,
  onLockfailure,
  pm,
  perf,
  devices: childOrEmpty('devices', devicesCodec),
  seclabels,
  qemuCommandline,
  qemuCapabilities,
  qemuDeprecation,
  qemuOverride,
  keywrap,
  launchSecurity,
});

/** A domain as its definition tells it. What the document left out is absent until `applyDefaults`. */
export type DomainDef = Omit<Infer<typeof domainCodec>, 'id'>;

export interface ParsedDomain {
  readonly definition: DomainDef;
  /** Paths of what a lenient parse left out. */
  readonly dropped: readonly string[];
}

/**
 * Reads a definition.
 * @throws VirtError xml.malformed, or xml.invalid with all problems in `details.problems`.
 */
export function parseDomain(xml: string, options: { readonly mode: ParseMode }): ParsedDomain {
  const root = normalizeQemuPrefix(parseXml(xml));
  const { value, dropped } = readDocument(checkedCodec, root, 'domain', {
    mode: options.mode,
    what: 'domain definition',
  });
  return { definition: value, dropped };
}

/** The mapping, with the rules that need more than one element. */
const checkedCodec: ElementCodec<DomainDef> = {
  read(reader) {
    const found: DomainDef = domainCodec.read(reader);
    const cellsKiB = (found.cpu?.numa?.cells ?? []).reduce((sum, cell) => sum + (cell.memoryKiB ?? 0), 0);
    // libvirt takes the guest's NUMA cells for the truth about boot memory, when there are any; memory devices come
    // on top. Strictly read, a total that says something else is reported by validation.
    const takesCells = found.memory.sizeKiB === 0 || reader.state.mode === 'lenient';
    if (takesCells && cellsKiB > 0) {
      const modulesKiB = found.devices.memories.reduce((sum, module) => sum + module.target.sizeKiB, 0);
      return { ...found, memory: { ...found.memory, sizeKiB: cellsKiB + modulesKiB } };
    }
    if (found.memory.sizeKiB === 0 && reader.state.problems.length === 0)
      reader.problem('memory', 'is missing, or zero');
    return found;
  },
  write: (element, value, options) => domainCodec.write(element, value, options),
};

/** Prints a definition as libvirt does. `id` is written for a running domain only. */
export function formatDomain(
  definition: DomainDef,
  options: FormatOptions & { readonly id?: number } = {},
): string {
  const root = writeElement(checkedCodec, 'domain', definition, options);
  if (options.id !== undefined && !options.inactive) root.attrs.set('id', String(options.id));
  return formatXml(declareQemuPrefix(root));
}

/**
 * A definition inside another document (a snapshot's <domain> and <inactiveDomain>). One without a type is none: libvirt
 * writes `<domain><uuid>…` where it has nothing more.
 */
export function embeddedDomain(name: string): Field<DomainDef | undefined> {
  return custom(
    (reader) => {
      const found = reader.child(name);
      if (found === undefined || !found.attrs.has('type')) return undefined;
      return checkedCodec.read(new Reader(normalizeQemuPrefix(found), reader.at(name), reader.state));
    },
    (element, value, options) => {
      if (value !== undefined)
        element.children.push(declareQemuPrefix(writeElement(checkedCodec, name, value, options)));
    },
  );
}
