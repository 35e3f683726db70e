/** How the guest boots: firmware, boot order, direct kernel boot. */
import {
  attr,
  child,
  childAttr,
  children,
  childText,
  type Field,
  type Infer,
  object,
  required,
  text,
  wrapped,
} from '../../base/xml/codec.ts';
import { int, matching, oneOf, path, str, uint, yesNo } from '../../base/xml/scalars.ts';
import { type DiskSource, diskSource } from './devices/source.ts';

/** libvirt's names of architectures (basictypes.rng, archnames), and those that came later. */
export const archNames = [
  'aarch64',
  'alpha',
  'armv6l',
  'armv7l',
  'cris',
  'i686',
  'ia64',
  'lm32',
  'loongarch64',
  'm68k',
  'microblaze',
  'microblazeel',
  'mips',
  'mipsel',
  'mips64',
  'mips64el',
  'openrisc',
  'parisc',
  'parisc64',
  'ppc',
  'ppc64',
  'ppc64le',
  'ppcemb',
  'riscv32',
  'riscv64',
  's390',
  's390x',
  'sh4',
  'sh4eb',
  'sparc',
  'sparc64',
  'unicore32',
  'x86_64',
  'xtensa',
  'xtensaeb',
] as const;

export type ArchName = (typeof archNames)[number];

const arch = oneOf(...archNames);

/** Machine names go into an option string: no comma. */
const machineName = matching(/^[A-Za-z0-9_.-]{1,64}$/, 'a machine type');

/** `<type>`: what is not hvm is for other hypervisors; the driver refuses it. */
const osType = object({
  arch: attr('arch', arch),
  machine: attr('machine', machineName),
  kind: required(text(oneOf('hvm', 'xen', 'linux', 'xenpvh', 'exe', 'uml')), 'type'),
});

const format = attr('format', oneOf('raw', 'qcow2'));

const loader = object({
  readonly: attr('readonly', yesNo),
  secure: attr('secure', yesNo),
  type: attr('type', oneOf('rom', 'pflash')),
  stateless: attr('stateless', yesNo),
  format,
  path: text(path),
});

/** Only there when the element says what type of source it has; else the path is its text. */
const nvramSource: Field<DiskSource | undefined> = {
  read: (reader) => (reader.attr('type') === undefined ? undefined : diskSource.read(reader)),
  write(element, value, options) {
    if (value !== undefined) diskSource.write(element, value, options);
  },
};

/** Variables of UEFI: a path in the text, or since libvirt 8.5 a source like a disk's. */
const nvram = object({
  template: attr('template', path),
  templateFormat: attr('templateFormat', oneOf('raw', 'qcow2')),
  format,
  source: nvramSource,
  path: text(path),
});

const acpiTable = object({
  type: required(attr('type', oneOf('slic', 'raw', 'rawset', 'msdm')), 'type'),
  path: required(text(path), 'path'),
});

const osCodec = object({
  firmware: attr('firmware', oneOf('bios', 'efi')),
  type: required(child('type', osType), 'type'),
  firmwareFeatures: wrapped(
    'firmware',
    children(
      'feature',
      object({
        enabled: required(attr('enabled', yesNo), 'enabled'),
        name: required(attr('name', oneOf('enrolled-keys', 'secure-boot')), 'name'),
      }),
    ),
  ),
  loader: child('loader', loader),
  nvram: child('nvram', nvram),
  kernel: childText('kernel', path),
  initrd: childText('initrd', path),
  cmdline: childText('cmdline', str({ max: 65_536 })),
  dtb: childText('dtb', path),
  shim: childText('shim', path),
  acpiTables: wrapped('acpi', children('table', acpiTable)),
  boot: children(
    'boot',
    object({ dev: required(attr('dev', oneOf('hd', 'fd', 'cdrom', 'network')), 'dev') }),
  ),
  bootmenu: child(
    'bootmenu',
    object({
      enable: required(attr('enable', yesNo), 'enable'),
      /** Milliseconds. */
      timeout: attr('timeout', uint({ max: 65_535 })),
    }),
  ),
  bios: child(
    'bios',
    object({
      useserial: attr('useserial', yesNo),
      /** Milliseconds until the next try when nothing boots; -1 never tries again. */
      rebootTimeout: attr('rebootTimeout', int({ min: -1, max: 65_535 })),
    }),
  ),
  smbios: childAttr('smbios', 'mode', oneOf('emulate', 'host', 'sysinfo')),
});

export type Os = Infer<typeof osCodec>;

export const os = required(child('os', osCodec), 'os');
