/** Controllers: the buses that other devices sit on. */

import { pciNumbersOf } from '../../../model/domain/devices/address.ts';
import type { Controller } from '../../../model/domain/devices/controller.ts';
import { aliasOf, place, placement } from './address.ts';
import type { Build } from './context.ts';
import { iothreadName } from './disk.ts';
import type { JsonObject } from './types.ts';
import { refuseVirtioOptions, virtioDevice, virtioOptions } from './virtio.ts';

/** Buses first: a controller comes after the PCI bus and the USB master it sits on. */
const rank: Readonly<Record<Controller['type'], number>> = {
  pci: 0,
  usb: 1,
  ide: 2,
  sata: 2,
  scsi: 2,
  'virtio-serial': 2,
  fdc: 2,
  isa: 2,
  xenbus: 2,
  ccid: 3,
};

/** All of <controller>. */
export function buildControllers(b: Build): void {
  const { controllers } = b.definition.devices;
  const entries = [...controllers.entries()].sort(order);
  for (const [index, controller] of busesFirst(entries))
    buildController(b, controller, `devices.controller[${index}]`);
}

type Entry = readonly [number, Controller];

function order([, one]: Entry, [, other]: Entry): number {
  if (one.type !== other.type) return rank[one.type] - rank[other.type];
  if (one.type === 'pci') return (one.index ?? 0) - (other.index ?? 0);
  return Number(one.masterStartPort !== undefined) - Number(other.masterStartPort !== undefined);
}

/** The same order, but each PCI controller after the one that gives the bus it sits on, whatever their indexes. */
function busesFirst(entries: readonly Entry[]): Set<Entry> {
  const buses = new Map<number, Entry>();
  for (const entry of entries) if (entry[1].type === 'pci') buses.set(entry[1].index ?? 0, entry);
  const done = new Set<Entry>();
  const visit = (entry: Entry, passed: readonly Entry[]): void => {
    if (done.has(entry) || passed.includes(entry)) return;
    const bus = pciNumbersOf(entry[1].address)?.bus;
    const below = bus === undefined ? undefined : buses.get(bus);
    if (below !== undefined) visit(below, [...passed, entry]);
    done.add(entry);
  };
  for (const entry of entries) visit(entry, []);
  return done;
}

/** One <controller>; what it sits on must be in the definition. */
export function buildController(b: Build, controller: Controller, path: string): void {
  if (controller.type !== 'scsi' && controller.type !== 'virtio-serial') {
    const { queues, cmdPerLun, maxSectors, ioeventfd, iothread } = controller.driver ?? {};
    b.refuse(
      `${path}.driver`,
      { queues, cmd_per_lun: cmdPerLun, max_sectors: maxSectors, ioeventfd, iothread },
      'needs a virtio controller',
    );
    refuseVirtioOptions(b, path, controller.driver);
  }
  switch (controller.type) {
    case 'pci':
      return buildPci(b, controller, path);
    case 'usb':
      return buildUsb(b, controller, path);
    case 'scsi':
      return buildScsi(b, controller, path);
    case 'virtio-serial':
      return buildVirtioSerial(b, controller, path);
    case 'sata':
      if (!(b.isQ35 && (controller.index ?? 0) === 0))
        b.device(path, { driver: 'ich9-ahci', ...placement(b, controller, path) });
      return;
    case 'ide':
      if (!(b.isI440fx && (controller.index ?? 0) === 0))
        b.problem(path, `there is no further ide controller on machine type '${b.machine}'; use sata`);
      return;
    case 'fdc':
      // i440FX machines bring one along; q35 does not (QEMU hw/i386/pc_q35.c: no_floppy).
      if (!b.isI440fx) b.device(path, { driver: 'isa-fdc', id: aliasOf(controller, path) });
      return;
    case 'ccid':
      b.device(path, { driver: 'usb-ccid', ...placement(b, controller, path) });
      return;
    case 'isa':
    case 'xenbus':
      b.problem(path, `controllers of type '${controller.type}' are not supported`);
  }
}

/** QEMU's device for a PCI controller model; `name` is the only one that model name may say. */
const pciDevices: Readonly<Record<string, readonly string[]>> = {
  'pcie-root-port': ['pcie-root-port', 'ioh3420'],
  'pci-bridge': ['pci-bridge'],
  'dmi-to-pci-bridge': ['i82801b11-bridge'],
  'pcie-to-pci-bridge': ['pcie-pci-bridge'],
  'pcie-switch-upstream-port': ['x3130-upstream'],
  'pcie-switch-downstream-port': ['xio3130-downstream'],
  'pci-expander-bus': ['pxb'],
  'pcie-expander-bus': ['pxb-pcie'],
};

function buildPci(b: Build, controller: Controller, path: string): void {
  const { model } = controller;
  if (model === 'pci-root' || model === 'pcie-root') {
    if ((controller.index ?? 0) !== 0) b.problem(`${path}.index`, `${b.machine} has only one PCI root`);
    if (controller.pciHole64KiB !== undefined) buildHole(b, controller.pciHole64KiB, path);
    return;
  }
  const known = model === undefined ? undefined : pciDevices[model];
  const driver = controller.modelName ?? known?.[0];
  if (driver === undefined || !known?.includes(driver)) {
    b.problem(`${path}.model`, `'${controller.modelName ?? model ?? ''}' is not supported`);
    return;
  }
  b.device(path, { driver, ...pciTarget(controller, driver), ...placement(b, controller, path) });
}

function pciTarget(controller: Controller, driver: string): JsonObject {
  const { target } = controller;
  switch (driver) {
    case 'pcie-root-port':
    case 'ioh3420':
    case 'xio3130-downstream':
      return { port: target?.port, chassis: target?.chassis, hotplug: target?.hotplug };
    case 'pci-bridge':
      return { chassis_nr: target?.chassisNr };
    case 'pxb':
    case 'pxb-pcie':
      return { bus_nr: target?.busNr, numa_node: target?.node };
    default:
      return {};
  }
}

function buildHole(b: Build, sizeKiB: number, path: string): void {
  const bridge = b.isQ35 ? 'q35-pcihost' : b.isI440fx ? 'i440FX-pcihost' : undefined;
  if (bridge === undefined) b.problem(`${path}.pcihole64`, `is not known on machine type '${b.machine}'`);
  else b.pairs('-global', [['', `${bridge}.pci-hole64-size=${sizeKiB}K`]]);
}

const usbDevices: Readonly<Record<string, string>> = {
  'piix3-uhci': 'piix3-usb-uhci',
  'piix4-uhci': 'piix4-usb-uhci',
  ehci: 'usb-ehci',
  'ich9-ehci1': 'ich9-usb-ehci1',
  'ich9-uhci1': 'ich9-usb-uhci1',
  'ich9-uhci2': 'ich9-usb-uhci2',
  'ich9-uhci3': 'ich9-usb-uhci3',
  'vt82c686b-uhci': 'vt82c686b-usb-uhci',
  'pci-ohci': 'pci-ohci',
  'nec-xhci': 'nec-usb-xhci',
  'qemu-xhci': 'qemu-xhci',
};

function buildUsb(b: Build, controller: Controller, path: string): void {
  const { model, ports } = controller;
  if (model === 'none') return;
  const driver = model === undefined ? undefined : usbDevices[model];
  if (driver === undefined) {
    b.problem(`${path}.model`, `'${model ?? ''}' is not supported`);
    return;
  }
  const isXhci = driver.endsWith('xhci');
  if (ports !== undefined && !isXhci) b.problem(`${path}.ports`, `is not known for model '${model}'`);
  const portCounts = isXhci ? { p2: ports, p3: ports } : {};
  b.device(path, { driver, ...portCounts, ...usbIdentity(b, controller, path) });
}

/** A companion shares the bus of its master, which has the id. */
function usbIdentity(b: Build, controller: Controller, path: string): JsonObject {
  if (controller.masterStartPort === undefined) return placement(b, controller, path);
  const master = b.definition.devices.controllers.find(
    (candidate) =>
      candidate.type === 'usb' &&
      candidate.index === controller.index &&
      candidate.masterStartPort === undefined,
  );
  if (master === undefined)
    b.problem(`${path}.master`, `there is no usb controller ${controller.index ?? 0} it belongs to`);
  const masterbus = master === undefined ? undefined : `${aliasOf(master, path)}.0`;
  return { masterbus, firstport: controller.masterStartPort, ...place(b, controller, path) };
}

const scsiDevices: Readonly<Record<string, string>> = {
  'virtio-scsi': 'virtio-scsi-pci',
  'virtio-transitional': 'virtio-scsi-pci',
  'virtio-non-transitional': 'virtio-scsi-pci',
  lsilogic: 'lsi53c895a',
  lsisas1068: 'mptsas1068',
  lsisas1078: 'megasas',
  vmpvscsi: 'pvscsi',
  dc390: 'dc390',
  am53c974: 'am53c974',
};

function buildScsi(b: Build, controller: Controller, path: string): void {
  const { model, driver: options } = controller;
  const base = model === undefined ? undefined : scsiDevices[model];
  if (base === undefined) {
    b.problem(`${path}.model`, `'${model ?? ''}' is not supported`);
    return;
  }
  const isVirtio = base === 'virtio-scsi-pci';
  const virtio = {
    ioeventfd: options?.ioeventfd,
    num_queues: options?.queues,
    cmd_per_lun: options?.cmdPerLun,
    max_sectors: options?.maxSectors,
    iothread: iothreadName(b, options?.iothread, `${path}.driver.iothread`),
    ...virtioOptions(options),
  };
  if (!isVirtio) b.refuse(`${path}.driver`, virtio, 'needs model virtio-scsi');
  b.device(path, {
    driver: isVirtio ? virtioDevice(base, model) : base,
    ...(isVirtio ? virtio : {}),
    ...placement(b, controller, path),
  });
}

function buildVirtioSerial(b: Build, controller: Controller, path: string): void {
  const { queues, cmdPerLun, maxSectors, iothread } = controller.driver ?? {};
  b.refuse(
    `${path}.driver`,
    { queues, cmd_per_lun: cmdPerLun, max_sectors: maxSectors, iothread },
    'needs a scsi controller',
  );
  b.device(path, {
    driver: virtioDevice('virtio-serial-pci', controller.model),
    max_ports: controller.ports,
    vectors: controller.vectors,
    ioeventfd: controller.driver?.ioeventfd,
    ...virtioOptions(controller.driver),
    ...placement(b, controller, path),
  });
}

/** -object iothread for each thread of <iothreads> and <iothreadids>. */
export function buildIothreads(b: Build): void {
  const { iothreads, iothreadids, defaultiothread } = b.definition;
  b.refuse('', { defaultiothread });
  const given = new Map(iothreadids.map((thread) => [thread.id, thread]));
  for (let id = 1; given.size < (iothreads ?? 0); id++) if (!given.has(id)) given.set(id, { id });
  for (const thread of given.values())
    b.object('iothreadids', {
      'qom-type': 'iothread',
      id: `iothread${thread.id}`,
      'thread-pool-min': thread.threadPoolMin,
      'thread-pool-max': thread.threadPoolMax,
    });
}
