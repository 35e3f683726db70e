/** Devices of the host in the guest (PCI, USB, mediated; SCSI in host-scsi.ts), and USB devices redirected from a client. */

import { formatPci } from '../../../model/domain/addresses/pci-map.ts';
import type { Redirdev } from '../../../model/domain/devices/chardev.ts';
import type { Hostdev, RedirFilter } from '../../../model/domain/devices/hostdev.ts';
import { aliasOf, placement } from './address.ts';
import { buildChardev } from './chardev.ts';
import type { Build } from './context.ts';
import { buildScsiHostdev, buildVhostScsi } from './host-scsi.ts';
import { romOptions } from './rom.ts';
import type { JsonObject } from './types.ts';

/** All of <hostdev>. */
export function buildHostdevs(b: Build): void {
  for (const [index, hostdev] of b.definition.devices.hostdevs.entries())
    buildHostdev(b, hostdev, `devices.hostdev[${index}]`);
}

function buildHostdev(b: Build, hostdev: Hostdev, path: string): void {
  const { source, shareable, readonly } = hostdev;
  if (source.type !== 'scsi') b.refuse(path, { shareable, readonly }, 'is for scsi devices');
  const driver = hostdev.driver?.name;
  if (driver !== undefined && driver !== 'vfio')
    b.problem(`${path}.driver`, `'${driver}' is not supported; use vfio`);
  switch (source.type) {
    case 'pci':
      return buildPci(b, hostdev, path);
    case 'usb':
      return buildUsb(b, hostdev, path);
    case 'mdev':
      return buildMdev(b, hostdev, path);
    case 'scsi':
      return buildScsiHostdev(b, hostdev, path);
    case 'scsi_host':
      return buildVhostScsi(b, hostdev, path);
  }
}

function buildPci(b: Build, hostdev: Hostdev, path: string): void {
  if (hostdev.source.type !== 'pci') return;
  const { source, display, ramfb } = hostdev;
  b.refuse(path, { display, ramfb, model: hostdev.model }, 'is for mediated devices');
  b.refuse(`${path}.source`, { writeFiltering: source.writeFiltering }, 'is of another hypervisor');
  if (hostdev.teaming?.type === 'persistent')
    b.problem(`${path}.teaming`, `'persistent' needs a virtio interface`);
  b.device(path, {
    driver: 'vfio-pci',
    host: formatPci(source.address),
    failover_pair_id: hostdev.teaming?.type === 'transient' ? hostdev.teaming.persistent : undefined,
    ...placement(b, hostdev, path),
    ...romOptions(b, hostdev, path),
    bootindex: hostdev.boot?.order,
  });
}

/** By its place on the host's bus as a descriptor; by vendor and product QEMU itself must look for it. */
function buildUsb(b: Build, hostdev: Hostdev, path: string): void {
  if (hostdev.source.type !== 'usb') return;
  const { source, display, ramfb, model, rom, teaming } = hostdev;
  b.refuse(path, { display, ramfb, model, rom, teaming }, 'is not known for usb devices');
  b.device(path, {
    driver: 'usb-host',
    ...usbIdentity(b, source, path),
    'guest-reset': source.guestReset === undefined ? undefined : source.guestReset !== 'off',
    'guest-resets-all': source.guestReset === undefined ? undefined : source.guestReset === 'on',
    ...placement(b, hostdev, path),
    bootindex: hostdev.boot?.order,
  });
}

type UsbSource = Extract<Hostdev['source'], { type: 'usb' }>;

function usbIdentity(b: Build, source: UsbSource, path: string): JsonObject {
  const { address, vendorId, productId } = source;
  if (address === undefined) return { vendorid: vendorId, productid: productId };
  const digits = (value: number) => String(value).padStart(3, '0');
  const node = `/dev/bus/usb/${digits(address.bus)}/${digits(address.device)}`;
  const optional = source.startupPolicy === 'optional';
  return {
    hostdevice: b.file(node, 'rw', `${path}.source`, { device: true, ...(optional && { optional }) }),
  };
}

function buildMdev(b: Build, hostdev: Hostdev, path: string): void {
  if (hostdev.source.type !== 'mdev') return;
  if (hostdev.model !== undefined && hostdev.model !== 'vfio-pci')
    b.problem(`${path}.model`, `'${hostdev.model}' is only there on s390x`);
  b.refuse(path, { teaming: hostdev.teaming }, 'is for network functions');
  // A boot framebuffer is another device (docs: vfio-pci-nohotplug has the property ramfb).
  b.device(path, {
    driver: hostdev.ramfb ? 'vfio-pci-nohotplug' : 'vfio-pci',
    sysfsdev: `/sys/bus/mdev/devices/${hostdev.source.uuid}`,
    display: hostdev.display === undefined ? undefined : hostdev.display ? 'on' : 'off',
    ramfb: hostdev.ramfb,
    ...placement(b, hostdev, path),
    ...romOptions(b, hostdev, path),
    bootindex: hostdev.boot?.order,
  });
}

/** All of <redirdev>, with the filter for all of them. */
export function buildRedirdevs(b: Build): void {
  const { redirdevs, redirfilter } = b.definition.devices;
  for (const [index, redirdev] of redirdevs.entries())
    buildRedirdev(b, redirdev, redirfilter, `devices.redirdev[${index}]`);
}

function buildRedirdev(b: Build, redirdev: Redirdev, filter: RedirFilter | undefined, path: string): void {
  const chardev = buildChardev(b, {
    alias: aliasOf(redirdev, path),
    source: redirdev.source,
    log: redirdev.log,
    path,
    spiceName: 'usbredir',
  });
  b.device(path, {
    driver: 'usb-redir',
    chardev,
    filter: filter === undefined ? undefined : filterText(filter),
    ...placement(b, redirdev, path),
    bootindex: redirdev.boot?.order,
  });
}

/** usbredir's filter: `class:vendor:product:version:allow|...`, -1 for any (usbredirfilter.h). */
function filterText(filter: RedirFilter): string {
  const number = (value: number | undefined, digits: number) =>
    value === undefined ? '-1' : `0x${value.toString(16).toUpperCase().padStart(digits, '0')}`;
  return filter.usbdevs
    .map((device) =>
      [
        number(device.class, 2),
        number(device.vendor, 4),
        number(device.product, 4),
        versionText(device.version),
        device.allow ? '1' : '0',
      ].join(':'),
    )
    .join('|');
}

/** `1.10` in binary coded decimal, as USB descriptors have it: 0x0110. */
function versionText(version: string | undefined): string {
  if (version === undefined) return '-1';
  const [major = '0', minor = '0'] = version.split('.');
  return `0x${major.padStart(2, '0')}${minor.padEnd(2, '0')}`;
}
