/** Defaults of serial ports, consoles, parallel ports and channels, and how the first console mirrors a serial port. */
import { clonePlain } from '../../../base/clone.ts';
import { isX86, machineFamily } from '../machine.ts';
import type { Draft } from './facts.ts';

type Serial = Draft['devices']['serials'][number];
type Console = Draft['devices']['consoles'][number];
type TargetType = NonNullable<NonNullable<Serial['target']>['type']>;
type TargetModel = NonNullable<NonNullable<Serial['target']>['model']>;

function isSerialConsole(console: Console | undefined): console is Console {
  return console !== undefined && (console.target?.type === undefined || console.target.type === 'serial');
}

/** The kind of port a machine has on board. */
function onboardSerial(draft: Draft): TargetType | undefined {
  const { arch, machine } = draft.os.type;
  if (isX86(arch)) return 'isa-serial';
  switch (machineFamily(arch, machine)) {
    case 'virt':
      return 'system-serial';
    case 'pseries':
      return 'spapr-vio-serial';
    case 'ccw':
      return 'sclp-serial';
    default:
      return undefined;
  }
}

function modelOf(type: TargetType, arch: string | undefined): TargetModel | undefined {
  switch (type) {
    case 'isa-serial':
    case 'usb-serial':
    case 'pci-serial':
      return type;
    case 'system-serial':
      return arch?.startsWith('riscv') ? '16550a' : 'pl011';
    case 'spapr-vio-serial':
      return 'spapr-vty';
    case 'sclp-serial':
      return 'sclpconsole';
    case 'isa-debug':
      return 'isa-debugcon';
  }
}

function fillSerial(serial: Serial, draft: Draft): void {
  serial.target ??= {};
  const { target } = serial;
  const type = target.type ?? (serial.address === undefined ? onboardSerial(draft) : addressedSerial(serial));
  if (type === undefined) return;
  // Old definitions of boards without ISA say isa-serial for the port that is on board.
  const isMisnamed = type === 'isa-serial' && target.model === undefined && !isX86(draft.os.type.arch);
  target.type = isMisnamed ? (onboardSerial(draft) ?? type) : type;
  const model = modelOf(target.type, draft.os.type.arch);
  if (model !== undefined) target.model ??= model;
}

/** A port with an address is of the kind that the address fits. */
function addressedSerial(serial: Serial): TargetType | undefined {
  switch (serial.address?.type) {
    case 'pci':
      return 'pci-serial';
    case 'usb':
      return 'usb-serial';
    case 'spapr-vio':
      return 'spapr-vio-serial';
    default:
      return 'isa-serial';
  }
}

/** Gives each port without a number the next one above those that are taken. */
function numberPorts(devices: { target?: { port?: number | undefined } | undefined }[]): void {
  let next = Math.max(-1, ...devices.map((device) => device.target?.port ?? -1)) + 1;
  for (const device of devices) {
    device.target ??= {};
    device.target.port ??= next++;
  }
}

/** A console of type serial without any serial port is that port. */
function portFromConsole(draft: Draft): void {
  const { serials, consoles } = draft.devices;
  const [first] = consoles;
  if (serials.length > 0 || !isSerialConsole(first)) return;
  const { target: _target, ...rest } = first;
  serials.push(clonePlain(rest));
}

/** Ports that a machine has on board; only those are mirrored unasked. */
const onboardTypes: ReadonlySet<string> = new Set([
  'isa-serial',
  'system-serial',
  'spapr-vio-serial',
  'sclp-serial',
]);

/**
 * libvirt's rule: the first console is the first serial port under another name. Where both are given the port's
 * backend counts.
 */
function mirrorFirstConsole(draft: Draft): void {
  const { serials, consoles } = draft.devices;
  const [first] = consoles;
  const serial = serials[0];
  if (serial === undefined) return;
  if (isSerialConsole(first)) consoles[0] = mirrorOf(serial);
  else if (onboardTypes.has(serial.target?.type ?? '')) consoles.unshift(mirrorOf(serial));
}

function mirrorOf(serial: Serial): Console {
  return {
    source: clonePlain(serial.source),
    ...(serial.log !== undefined && { log: clonePlain(serial.log) }),
    ...(serial.alias !== undefined && { alias: serial.alias }),
    target: { type: 'serial', port: serial.target?.port ?? 0 },
  };
}

export function defaultChardevs(draft: Draft): void {
  const { serials, consoles, parallels, channels } = draft.devices;
  portFromConsole(draft);
  for (const serial of serials) fillSerial(serial, draft);
  numberPorts(serials);
  numberPorts(parallels);
  mirrorFirstConsole(draft);
  for (const console of consoles) {
    console.target ??= {};
    console.target.type ??= 'serial';
  }
  numberPorts(consoles);
  for (const { source } of [...serials, ...parallels, ...channels])
    if (source.type === 'unix' && source.path === undefined) delete source.mode;
}
