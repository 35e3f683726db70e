/** Devices other than disks and network cards: what may be there once, and references that must lead somewhere. */
import type { Problem } from '../../../base/errors.ts';
import type { Controller } from '../devices/controller.ts';
import type { Devices } from '../devices/devices.ts';
import type { Hostdev } from '../devices/hostdev.ts';
import type { DomainDef } from '../domain.ts';
import { scsiHostPlace } from '../host-scsi.ts';
import { eachDevice } from './each-device.ts';
import { repeated } from './unique.ts';

export function deviceProblems({ devices }: DomainDef): Problem[] {
  return [
    ...onceProblems(devices),
    ...uniqueProblems(devices),
    ...controllerProblems(devices.controllers),
    ...audioProblems(devices),
    ...videoProblems(devices),
    ...hostdevProblems(devices),
    ...teamingProblems(devices),
    ...filesystemProblems(devices),
    ...shmemProblems(devices),
    ...passwordProblems(devices),
  ];
}

/** RFB's VNC authentication uses a DES key (RFC 6143, 7.2.2): what is longer would be cut without a word. */
const MAX_VNC_PASSWORD_BYTES = 8;

/** Passwords that a display would not take whole. */
export function passwordProblems({ graphics }: Pick<Devices, 'graphics'>): Problem[] {
  return graphics.flatMap((one, i) =>
    one.type === 'vnc' && Buffer.byteLength(one.passwd ?? '') > MAX_VNC_PASSWORD_BYTES
      ? [
          {
            path: `devices.graphics[${i}].passwd`,
            message: `a VNC password has at most ${MAX_VNC_PASSWORD_BYTES} bytes`,
          },
        ]
      : [],
  );
}

function onceProblems(devices: Devices): Problem[] {
  const problems: Problem[] = [];
  if (devices.watchdogs.length > 1)
    problems.push({ path: 'devices.watchdog[1]', message: 'a domain has one watchdog at most' });
  const tpms = devices.tpms.filter((tpm) => tpm.model !== 'spapr-tpm-proxy');
  if (tpms.length > 1) problems.push({ path: 'devices.tpm[1]', message: 'a domain has one TPM at most' });
  if (devices.leases !== undefined)
    problems.push({
      path: 'devices.lease',
      message: 'leases need a lock manager, which this daemon does not have',
    });
  return problems;
}

function uniqueProblems(devices: Devices): Problem[] {
  const all = eachDevice(devices);
  const companions = companionPaths(devices.controllers);
  return [
    ...repeated(
      all
        .filter(({ path }) => !companions.has(path))
        .map((device) => ({ path: `${device.path}.alias`, key: device.alias })),
      (alias, first) => `'${alias}' is taken by ${first}`,
    ),
    ...repeated(
      devices.serials.map((one, i) => ({
        path: `devices.serial[${i}].target.port`,
        key: one.target?.port?.toString(),
      })),
      (port) => `serial port ${port} is given twice`,
    ),
    ...repeated(
      devices.channels.map((one, i) => ({
        path: `devices.channel[${i}].target.name`,
        key: one.target.type === 'virtio' ? one.target.name : undefined,
      })),
      (name, first) => `'${name}' is taken by ${first}`,
    ),
    ...repeated(
      devices.graphics.map((one, i) => ({ path: `devices.graphics[${i}].type`, key: one.type })),
      (type) => `a domain has one display of type ${type} at most`,
    ),
    ...repeated(
      devices.memories.map((one, i) => ({ path: `devices.memory[${i}].uuid`, key: one.uuid })),
      (uuid, first) => `${uuid} is taken by ${first}`,
    ),
  ];
}

/** USB companions are one bus with their master, of one index and, while the guest runs, of one alias. */
function companionPaths(controllers: readonly Controller[]): Set<string> {
  const paths = controllers.flatMap((one, i) => {
    const isFirst = controllers.findIndex(({ type, index }) => type === 'usb' && index === one.index) === i;
    return one.type === 'usb' && !isFirst ? [`devices.controller[${i}]`] : [];
  });
  return new Set(paths);
}

/** USB companions share the index of their master (uhci with ehci). */
function controllerProblems(controllers: readonly Controller[]): Problem[] {
  const claims = controllers.map((one, i) => ({
    path: `devices.controller[${i}].index`,
    key: one.index === undefined || isCompanion(one) ? undefined : `${one.type} ${one.index}`,
  }));
  return repeated(claims, (key, first) => `controller ${key} is ${first} already`);
}

const isCompanion = (controller: Controller): boolean =>
  controller.masterStartPort !== undefined || controller.model?.startsWith('ich9-uhci') === true;

function audioProblems(devices: Devices): Problem[] {
  const ids = new Set(devices.audios.map((audio) => audio.id));
  const problems = repeated(
    devices.audios.map((audio, i) => ({ path: `devices.audio[${i}].id`, key: String(audio.id) })),
    (id, first) => `audio ${id} is ${first} already`,
  );
  const check = (path: string, id: number | undefined): void => {
    if (id !== undefined && !ids.has(id)) problems.push({ path, message: `there is no <audio id='${id}'>` });
  };
  for (const [i, sound] of devices.sounds.entries()) check(`devices.sound[${i}].audio.id`, sound.audioId);
  for (const [i, one] of devices.graphics.entries())
    if ('audioId' in one) check(`devices.graphics[${i}].audio.id`, one.audioId);
  const hasSpice = devices.graphics.some(({ type }) => type === 'spice');
  for (const [i, { type }] of devices.audios.entries())
    if (type === 'spice' && !hasSpice)
      problems.push({ path: `devices.audio[${i}].type`, message: "needs <graphics type='spice'>" });
  return problems;
}

function videoProblems({ videos }: Devices): Problem[] {
  const problems = repeated(
    videos.map((video, i) => ({
      path: `devices.video[${i}].model.primary`,
      key: video.model?.primary === true ? 'primary' : undefined,
    })),
    (_key, first) => `${first} is the primary one already`,
  );
  const none = videos.findIndex((video) => video.model?.type === 'none');
  if (none !== -1 && videos.length > 1)
    problems.push({
      path: `devices.video[${none}].model.type`,
      message: "'none' cannot stand beside other video devices",
    });
  return problems;
}

/** One device of the host, one guest device. */
function hostdevProblems({ hostdevs, interfaces }: Devices): Problem[] {
  const claims = [
    ...interfaces.map((one, i) => ({ path: `devices.interface[${i}].source`, key: functionKey(one) })),
    ...hostdevs.map((one, i) => ({ path: `devices.hostdev[${i}].source`, key: hostKey(one) })),
  ];
  return repeated(claims, (key, first) => `${key} is given to ${first} already`);
}

function functionKey({ source }: Devices['interfaces'][number]): string | undefined {
  return source.type === 'hostdev' && source.address.type === 'pci' ? pciKey(source.address) : undefined;
}

type PciPlace = Extract<Hostdev['source'], { type: 'pci' }>['address'];

const pciKey = ({ domain, bus, slot, function: fn }: PciPlace): string =>
  `PCI device ${hex(domain, 4)}:${hex(bus, 2)}:${hex(slot, 2)}.${fn}`;

function hostKey({ source }: Hostdev): string | undefined {
  switch (source.type) {
    case 'pci':
      return pciKey(source.address);
    case 'usb':
      return source.address && `USB device ${source.address.bus}.${source.address.device}`;
    case 'mdev':
      return `mediated device ${source.uuid}`;
    case 'scsi': {
      const place = scsiHostPlace(source);
      return place && `SCSI device ${place}`;
    }
    case 'scsi_host':
      return `vhost-scsi target ${source.wwpn}`;
  }
}

const hex = (number: number, digits: number): string => number.toString(16).padStart(digits, '0');

function teamingProblems(devices: Devices): Problem[] {
  const persistent = new Set(
    devices.interfaces.filter((nic) => nic.teaming?.type === 'persistent').map((nic) => nic.alias),
  );
  const check = (path: string, alias: string | undefined): Problem[] =>
    alias === undefined || persistent.has(alias)
      ? []
      : [{ path, message: `no interface with teaming type persistent has the alias '${alias}'` }];
  return [
    ...devices.interfaces.flatMap((nic, i) =>
      check(`devices.interface[${i}].teaming.persistent`, nic.teaming?.persistent),
    ),
    ...devices.hostdevs.flatMap((one, i) =>
      check(`devices.hostdev[${i}].teaming.persistent`, one.teaming?.persistent),
    ),
  ];
}

/** virtio specification 5.11.4: a virtiofs tag has 36 bytes; QEMU hw/9pfs: a mount tag of 9p has 32. */
function filesystemProblems({ filesystems }: Devices): Problem[] {
  return filesystems.flatMap((one, i) => {
    const path = `devices.filesystem[${i}]`;
    const problems: Problem[] = [];
    const limit = one.driver?.type === 'virtiofs' ? 36 : 32;
    if (Buffer.byteLength(one.target) > limit)
      problems.push({ path: `${path}.target.dir`, message: `is longer than ${limit} bytes` });
    if (one.source.type === 'mount' && (one.source.dir === undefined) === (one.source.socket === undefined))
      problems.push({ path: `${path}.source`, message: 'needs either dir or socket' });
    if (one.source.type === 'mount' && one.source.socket !== undefined && one.driver?.type !== 'virtiofs')
      problems.push({ path: `${path}.source.socket`, message: 'needs the virtiofs driver' });
    return problems;
  });
}

function shmemProblems({ shmems }: Devices): Problem[] {
  return shmems.flatMap((one, i) => {
    const path = `devices.shmem[${i}]`;
    const problems: Problem[] = [];
    if (one.sizeBytes !== undefined && !isPowerOfTwo(one.sizeBytes / 2 ** 20))
      problems.push({ path: `${path}.size`, message: 'is not a power of two of at least 1 MiB' });
    if (one.model === 'ivshmem-doorbell' && one.server === undefined)
      problems.push({ path: `${path}.server`, message: 'is missing for ivshmem-doorbell' });
    if (one.model === 'ivshmem-plain' && (one.server ?? one.msi) !== undefined)
      problems.push({ path: `${path}.model`, message: 'ivshmem-plain has neither server nor msi' });
    return problems;
  });
}

const isPowerOfTwo = (value: number): boolean => value >= 1 && Number.isInteger(Math.log2(value));
