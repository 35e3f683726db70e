/** Devices of the host: lists, lookups and facts, and taking PCI devices from their drivers for guests. */
import { isVirtError } from '../../../../base/errors.ts';
import { isVfioDriver } from '../../../../drivers/host-devices/pci.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import {
  capabilityTypesOf,
  type NodeCapabilityType,
  type NodeDevice,
} from '../../../../model/node-device/node-device.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { atMost, checkFlags } from './support.ts';

/** virConnectListAllNodeDeviceFlags, kinds of devices: any of those that are asked for. */
const capabilityBits: readonly (readonly [number, NodeCapabilityType])[] = [
  [1 << 0, 'system'],
  [1 << 1, 'pci'],
  [1 << 2, 'usb_device'],
  [1 << 3, 'usb'],
  [1 << 4, 'net'],
  [1 << 5, 'scsi_host'],
  [1 << 6, 'scsi_target'],
  [1 << 7, 'scsi'],
  [1 << 8, 'storage'],
  [1 << 9, 'fc_host'],
  [1 << 10, 'vports'],
  [1 << 11, 'scsi_generic'],
  [1 << 12, 'drm'],
  [1 << 13, 'mdev_types'],
  [1 << 14, 'mdev'],
  [1 << 17, 'vdpa'],
];
/** With kinds that no host of ours has: those of s390 (15, 16, 18 to 20), and PCI's vital product data (21). */
const capabilityMask = 0x3f_ffff;

/** The same, in pairs: persistent and transient, active and inactive. */
const statePairs: readonly (readonly [number, number, (device: NodeDevice, engine: Engine) => boolean])[] = [
  [1 << 28, 1 << 29, isPersistent],
  [1 << 31, 1 << 30, ({ isInactive }) => isInactive !== true],
];
const filterMask = 0xf03f_ffff;

const XML_INACTIVE = 1; // virNodeDeviceXMLFlags

/** What the host has by itself is there after its next start, too; a mediated device only when it is stored. */
function isPersistent(device: NodeDevice, { nodeDevices }: Engine): boolean {
  return device.capability.type !== 'mdev' || nodeDevices.mediated.storedOf(device) !== undefined;
}

function startsByItself(device: NodeDevice, { nodeDevices }: Engine): boolean {
  return device.capability.type !== 'mdev' || nodeDevices.mediated.storedOf(device)?.autostart === true;
}

function fitsFilter(engine: Engine, device: NodeDevice, flags: number): boolean {
  const fitsPairs = statePairs.every(([yes, no, holds]) => {
    const asksYes = (flags & yes) !== 0;
    const asksNo = (flags & no) !== 0;
    return asksYes === asksNo || holds(device, engine) === asksYes;
  });
  if (!fitsPairs || (flags & capabilityMask) === 0) return fitsPairs;
  const types = capabilityTypesOf(device);
  return capabilityBits.some(([bit, type]) => (flags & bit) !== 0 && types.includes(type));
}

const wireDeviceOf = ({ name }: NodeDevice) => ({ name });

function noDevice(reason: string): LibvirtError {
  return new LibvirtError(errorNumber.noNodeDevice, reason, errorDomain.nodeDevice);
}

/** @throws LibvirtError no node device */
export function deviceOf(engine: Engine, name: string): NodeDevice {
  try {
    return engine.nodeDevices.find(name);
  } catch (error) {
    throw isVirtError(error, 'node-device.not-found')
      ? noDevice(`no node device with matching name '${name}'`)
      : error;
  }
}

export function nodeDeviceHandlers(engine: Engine) {
  return {
    ...lists(engine),
    ...lookups(engine),
    ...facts(engine),
    ...changes(engine),
  } satisfies RemoteHandlers;
}

function lists(engine: Engine) {
  /** A word that is no capability is had by no device. */
  const having = (cap: string | null) => {
    const all = engine.nodeDevices.list().filter(({ isInactive }) => isInactive !== true);
    return cap === null
      ? all
      : all.filter((device) => capabilityTypesOf(device).some((type) => type === cap));
  };
  return {
    nodeNumOfDevices: ({ cap, flags }, call) => {
      checkFlags(flags, 0, call);
      return { num: having(cap).length };
    },
    nodeListDevices: ({ cap, maxnames, flags }, call) => {
      checkFlags(flags, 0, call);
      const names = having(cap).map(({ name }) => name);
      return { names: atMost(names, maxnames) };
    },
    connectListAllNodeDevices: ({ needResults, flags }, call) => {
      checkFlags(flags, filterMask, call);
      const found = engine.nodeDevices.list().filter((device) => fitsFilter(engine, device, flags));
      return { devices: needResults === 0 ? [] : found.map(wireDeviceOf), ret: found.length };
    },
  } satisfies RemoteHandlers;
}

function lookups(engine: Engine) {
  return {
    nodeDeviceLookupByName: ({ name }) => ({ dev: wireDeviceOf(deviceOf(engine, name)) }),
    nodeDeviceLookupScsiHostByWwn: ({ wwnn, wwpn, flags }, call) => {
      checkFlags(flags, 0, call);
      const found = engine.nodeDevices.list(['fc_host']).find(({ capability }) => {
        const port = capability.type === 'scsi_host' ? capability.fibreChannel : undefined;
        return port?.wwnn === wwnn.toLowerCase() && port.wwpn === wwpn.toLowerCase();
      });
      if (found === undefined) throw noDevice(`no SCSI host with matching wwnn '${wwnn}' and wwpn '${wwpn}'`);
      return { dev: wireDeviceOf(found) };
    },
  } satisfies RemoteHandlers;
}

function facts(engine: Engine) {
  return {
    nodeDeviceGetXmlDesc: ({ name, flags }, call) => {
      checkFlags(flags, XML_INACTIVE, call);
      const device = deviceOf(engine, name);
      if ((flags & XML_INACTIVE) !== 0 && !isPersistent(device, engine))
        throw new LibvirtError(
          errorNumber.operationInvalid,
          `node device '${name}' is not persistent`,
          errorDomain.nodeDevice,
        );
      return { xml: engine.nodeDevices.xml(device) };
    },
    nodeDeviceGetParent: ({ name }) => ({ parentName: deviceOf(engine, name).parent ?? null }),
    nodeDeviceNumOfCaps: ({ name }) => ({ num: capabilityTypesOf(deviceOf(engine, name)).length }),
    nodeDeviceListCaps: ({ name, maxnames }) => ({
      names: atMost(capabilityTypesOf(deviceOf(engine, name)), maxnames),
    }),
    nodeDeviceIsActive: ({ name }) => ({ active: deviceOf(engine, name).isInactive ? 0 : 1 }),
    nodeDeviceIsPersistent: ({ name }) => ({
      persistent: isPersistent(deviceOf(engine, name), engine) ? 1 : 0,
    }),
    nodeDeviceGetAutostart: ({ name }) => ({
      autostart: startsByItself(deviceOf(engine, name), engine) ? 1 : 0,
    }),
  } satisfies RemoteHandlers;
}

function changes(engine: Engine) {
  const { nodeDevices } = engine;
  return {
    nodeDeviceDettach: ({ name }) => nodeDevices.detach(deviceOf(engine, name).name),
    nodeDeviceDetachFlags: async ({ name, driverName, flags }, call) => {
      checkFlags(flags, 0, call);
      const driver = driverName === 'vfio' ? 'vfio-pci' : (driverName ?? undefined);
      if (driver !== undefined && !isVfioDriver(driver))
        throw new LibvirtError(
          errorNumber.invalidArg,
          `unknown driver name '${driverName}'; 'vfio' or a variant of it, like mlx5_vfio_pci`,
          errorDomain.nodeDevice,
        );
      await nodeDevices.detach(deviceOf(engine, name).name, driverName === 'vfio' ? undefined : driver);
    },
    nodeDeviceReAttach: ({ name }) => nodeDevices.reattach(deviceOf(engine, name).name),
    nodeDeviceReset: ({ name }) => nodeDevices.reset(deviceOf(engine, name).name),
  } satisfies RemoteHandlers;
}
