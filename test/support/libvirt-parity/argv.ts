/** What of a QEMU command line the guest can see, one line for each device, option or property, sorted. */

/** Options that are the host's own business: where things come from, how QEMU is spoken to and kept in. */
const hostOptions: ReadonlySet<string> = new Set([
  ...[
    '-name',
    '-chardev',
    '-mon',
    '-blockdev',
    '-drive',
    '-add-fd',
    '-netdev',
    '-audiodev',
    '-sandbox',
    '-msg',
  ],
  ...[
    '-object',
    '-vnc',
    '-spice',
    '-display',
    '-qmp',
    '-tpmdev',
    '-fsdev',
    '-run-with',
    '-uuid',
    '-overcommit',
  ],
  // What happens at the host when the guest resets or its watchdog bites.
  ...['-action', '-watchdog-action'],
]);

/** Flags without a value. */
const bareFlags: ReadonlySet<string> = new Set([
  ...[
    '-S',
    '-nodefaults',
    '-no-user-config',
    '-no-shutdown',
    '-no-reboot',
    '-nographic',
    '-no-hpet',
    '-no-acpi',
  ],
  ...['-daemonize', '-snapshot', '-no-fd-bootchk'],
]);

/** Flags that became properties of the machine; the others say nothing to the guest. */
const machineFlags: Readonly<Record<string, string>> = {
  '-no-hpet': '-machine hpet=off',
  '-no-acpi': '-machine acpi=off',
};

/** Properties of devices that name a backend on the host, or say how it is used. */
const hostProperties: ReadonlySet<string> = new Set([
  ...['drive', 'chardev', 'netdev', 'audiodev', 'tpmdev', 'fsdev', 'memdev', 'rng', 'vhostfd', 'vhost-vsock'],
  ...['write-cache', 'hostfd', 'mac'],
]);

/** The guest's view of a command line. The binary and words before the first option are skipped. */
export function guestView(words: readonly string[]): string[] {
  const seen: string[] = [];
  for (let i = words.findIndex((word) => word.startsWith('-')); i < words.length && i >= 0; i++) {
    const flag = words[i] ?? '';
    if (bareFlags.has(flag)) {
      const machine = machineFlags[flag];
      if (machine !== undefined) seen.push(machine);
      continue;
    }
    const value = words[++i] ?? '';
    if (!hostOptions.has(flag)) seen.push(...optionLines(flag, value));
  }
  return seen.toSorted();
}

function optionLines(flag: string, value: string): string[] {
  const properties = propertiesOf(value);
  if (flag === '-m') return memoryLines(properties);
  if (flag === '-kernel' || flag === '-initrd') return [`${flag} FILE`];
  if (flag === '-rtc' && /base=\d/.test(value)) return ['-rtc base=DATE'];
  if (flag === '-global' && value.startsWith('kvm-pit.')) return [];
  if (flag === '-device') return [deviceLine(properties)];
  if (flag === '-global' || flag === '-smbios' || flag === '-fw_cfg' || flag === '-append')
    return [`${flag} ${value}`];
  return properties.map(([key, one]) => `${flag} ${key}=${one}`).filter((line) => !defaults.has(line));
}

/** What is said by one daemon and left at QEMU's default by the other. */
const defaults: ReadonlySet<string> = new Set(['-smp dies=1', '-machine kernel_irqchip=split']);

/** `-m 64` means MiB. */
function memoryLines(properties: readonly (readonly [string, string])[]): string[] {
  return properties.map(
    ([key, one]) => `-m ${key === 'driver' ? `size=${Number(one) * 1024}k` : `${key}=${one}`}`,
  );
}

/** Names that QEMU has twice (its qdev_alias_table). */
const deviceAliases: Readonly<Record<string, string>> = {
  lsi: 'lsi53c895a',
  ahci: 'ich9-ahci',
  'dc-390': 'dc390',
};

/** Properties at their default, by device. */
const defaultProperties: readonly (readonly [RegExp, string])[] = [
  [/^usb-storage$/, 'removable=off'],
  [/^qxl/, 'vram64_size_mb=0'],
  [/^isa-parallel$/, 'index=0'],
  [/^ccid-card-passthru$/, 'slot=0'],
];

function deviceLine(properties: readonly (readonly [string, string])[]): string {
  const { driver = '', ...rest } = Object.fromEntries(properties);
  const shown = Object.entries(rest)
    .filter(([key]) => !hostProperties.has(key))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, one]) => `${key}=${one}`)
    .filter((property) => !defaultProperties.some(([name, one]) => name.test(driver) && one === property));
  return `-device ${deviceAliases[driver] ?? driver} ${shown.join(' ')}`;
}

/** Both forms of an option, `{"a":true}` and `x,a=on`; a first word without key is `driver`. */
function propertiesOf(value: string): [string, string][] {
  if (value.startsWith('{')) return flatten('', JSON.parse(value));
  return value.split(/(?<!,),(?!,)/).map((part, index): [string, string] => {
    const [key = '', ...rest] = part.split('=');
    if (rest.length > 0) return [key, normal(rest.join('='))];
    return index === 0 ? ['driver', key] : [key, 'on'];
  });
}

function flatten(prefix: string, value: unknown): [string, string][] {
  if (typeof value !== 'object' || value === null) return [[prefix, normal(String(value))]];
  return Object.entries(value).flatMap(([key, one]) =>
    flatten(prefix === '' ? key : `${prefix}.${key}`, one),
  );
}

const words: Readonly<Record<string, string>> = { true: 'on', false: 'off', yes: 'on', no: 'off' };

/** Booleans in one spelling, numbers in decimal. */
function normal(value: string): string {
  return words[value] ?? (/^0x[0-9a-f]+$/i.test(value) ? String(Number(value)) : value);
}
