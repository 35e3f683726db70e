/** Serial and parallel ports, consoles, channels. */

import type { Channel, Console, Parallel, Serial } from '../../../model/domain/devices/chardev.ts';
import { isSerialConsole } from '../../../model/domain/devices/chardev.ts';
import { aliasOf, placement } from './address.ts';
import { buildChardev } from './chardev.ts';
import type { Build } from './context.ts';

/** All of <serial>, <parallel>, <console> and <channel>. */
export function buildSerials(b: Build): void {
  const { serials, parallels, consoles, channels } = b.definition.devices;
  for (const [index, serial] of serials.entries()) buildSerial(b, serial, index);
  for (const [index, parallel] of parallels.entries()) buildParallel(b, parallel, index);
  for (const [index, item] of consoles.entries()) buildConsole(b, item, index);
  for (const [index, channel] of channels.entries()) buildChannel(b, channel, index);
}

function buildSerial(b: Build, serial: Serial, index: number): void {
  const path = `devices.serial[${index}]`;
  const alias = aliasOf(serial, path);
  const chardev = buildChardev(b, { alias, source: serial.source, log: serial.log, path });
  const model = serial.target?.model ?? serial.target?.type ?? (b.isX86 ? 'isa-serial' : 'system-serial');
  switch (model) {
    case 'isa-serial':
      b.device(path, {
        driver: model,
        chardev,
        id: alias,
        index: serial.target?.port ?? index,
        ...isaPlace(serial),
      });
      break;
    case 'isa-debugcon':
    case 'isa-debug':
      b.device(path, { driver: 'isa-debugcon', chardev, id: alias, ...isaPlace(serial) });
      break;
    case 'usb-serial':
    case 'pci-serial':
      b.device(path, { driver: model, chardev, ...placement(b, serial, path) });
      break;
    case 'system-serial':
    case 'pl011':
    case '16550a':
      // The UART of the board: the machine makes it itself and takes its back end by order.
      b.word('-serial', `chardev:${chardev}`);
      break;
    default:
      b.problem(`${path}.target`, `'${model}' is not supported on ${b.arch}`);
  }
}

function isaPlace(serial: Serial): { iobase?: number; irq?: number } {
  if (serial.address?.type !== 'isa') return {};
  const { iobase, irq } = serial.address;
  return { ...(iobase !== undefined && { iobase }), ...(irq !== undefined && { irq }) };
}

function buildParallel(b: Build, parallel: Parallel, index: number): void {
  const path = `devices.parallel[${index}]`;
  const alias = aliasOf(parallel, path);
  const chardev = buildChardev(b, {
    alias,
    source: parallel.source,
    log: parallel.log,
    path,
    deviceBackend: 'parallel',
  });
  b.device(path, { driver: 'isa-parallel', chardev, id: alias, index: parallel.target?.port ?? index });
}

/** A console of type serial is another name for the first serial port, and nothing of its own. */
function buildConsole(b: Build, item: Console, index: number): void {
  const path = `devices.console[${index}]`;
  if (isSerialConsole(item)) {
    if (b.definition.devices.serials.length === 0)
      b.problem(path, 'there is no serial port that it could be');
    return;
  }
  if (item.target?.type !== 'virtio') {
    b.problem(`${path}.target.type`, `'${item.target?.type}' is not supported; use serial or virtio`);
    return;
  }
  const alias = aliasOf(item, path);
  const chardev = buildChardev(b, { alias, source: item.source, log: item.log, path });
  b.device(path, { driver: 'virtconsole', chardev, ...placement(b, item, path) });
}

function buildChannel(b: Build, channel: Channel, index: number): void {
  const path = `devices.channel[${index}]`;
  if (channel.target.type !== 'virtio') {
    b.problem(`${path}.target.type`, `'${channel.target.type}' is not supported; use virtio`);
    return;
  }
  const alias = aliasOf(channel, path);
  const chardev = buildChardev(b, { alias, source: channel.source, log: channel.log, path });
  const name = channel.target.name ?? (channel.source.type === 'spicevmc' ? 'com.redhat.spice.0' : undefined);
  b.device(path, { driver: 'virtserialport', chardev, name, ...placement(b, channel, path) });
}
