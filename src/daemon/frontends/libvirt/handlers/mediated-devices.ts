/** Mediated devices made, ended and stored by clients; no other kind of node device can be. */
import { isVirtError } from '../../../../base/errors.ts';
import { errorDomain, errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import { type MdevDefinition, parseMdev } from '../../../../model/node-device/mdev-definition.ts';
import type { NodeDevice } from '../../../../model/node-device/node-device.ts';
import type { StoredMdev } from '../../../state/mdev-definitions.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { deviceOf } from './node-devices.ts';
import { validate } from './schema.ts';
import { affect, checkFlags } from './support.ts';

/** virNodeDeviceCreateXMLFlags, virNodeDeviceDefineXMLFlags. */
const VALIDATE = 1;

const refused = (number: LibvirtError['number'], detail: string): LibvirtError =>
  new LibvirtError(number, detail, errorDomain.nodeDevice);

/** @throws LibvirtError for a device of another kind */
function mediatedOf(
  engine: Engine,
  name: string,
  number: LibvirtError['number'] = errorNumber.configUnsupported,
): NodeDevice {
  const device = deviceOf(engine, name);
  if (device.capability.type === 'mdev') return device;
  throw refused(number, 'Unsupported device type');
}

/** @throws LibvirtError for one that is not stored, in the words of the call */
function storedOf(engine: Engine, device: NodeDevice, told: string): StoredMdev {
  const stored = engine.nodeDevices.mediated.storedOf(device);
  if (stored === undefined) throw refused(errorNumber.operationInvalid, told);
  return stored;
}

async function read(xml: string, flags: number): Promise<MdevDefinition> {
  if ((flags & VALIDATE) !== 0) await validate('nodedev', xml);
  return parseMdev(xml, { mode: 'lenient' });
}

/** The device of that uuid, as it is now. */
function named(engine: Engine, uuid: string): { dev: { name: string } } {
  const found = engine.nodeDevices
    .list(['mdev'])
    .find(({ capability }) => capability.type === 'mdev' && capability.uuid === uuid);
  if (found !== undefined) return { dev: { name: found.name } };
  throw refused(errorNumber.noNodeDevice, `the mediated device ${uuid} did not come`);
}

export function mediatedDeviceHandlers(engine: Engine) {
  const { mediated } = engine.nodeDevices;
  return {
    nodeDeviceCreateXml: async ({ xmlDesc, flags }, call) => {
      checkFlags(flags, VALIDATE, call);
      return named(engine, mediated.create(await read(xmlDesc, flags)));
    },
    nodeDeviceDestroy: ({ name }) => {
      const device = mediatedOf(engine, name);
      if (device.isInactive) throw refused(errorNumber.operationInvalid, `Device '${name}' is not active`);
      mediated.end(device);
    },
    nodeDeviceDefineXml: async ({ xmlDesc, flags }, call) => {
      checkFlags(flags, VALIDATE, call);
      return named(engine, await mediated.define(await read(xmlDesc, flags)));
    },
    nodeDeviceUndefine: async ({ name, flags }, call) => {
      checkFlags(flags, 0, call);
      const device = mediatedOf(engine, name);
      await mediated.undefine(storedOf(engine, device, `Node device '${name}' is not defined`));
    },
    nodeDeviceCreate: ({ name, flags }, call) => {
      checkFlags(flags, 0, call);
      const device = deviceOf(engine, name);
      if (!device.isInactive) throw refused(errorNumber.operationInvalid, 'Device is already active');
      mediated.start(storedOf(engine, device, `Node device '${name}' is not defined`));
    },
    nodeDeviceSetAutostart: async ({ name, autostart }) => {
      const device = mediatedOf(engine, name, errorNumber.operationUnsupported);
      const stored = storedOf(engine, device, 'cannot set autostart for transient device');
      await mediated.setAutostart(stored, autostart !== 0);
    },
    nodeDeviceUpdate: ({ name, xmlDesc, flags }, call) => {
      checkFlags(flags, affect.live | affect.config, call);
      return update(engine, name, xmlDesc, flags);
    },
  } satisfies RemoteHandlers;
}

/** Changes what is stored of one. What runs cannot be changed: the kernel has no way for it that all cards share. */
async function update(engine: Engine, name: string, xml: string, flags: number): Promise<void> {
  const device = mediatedOf(engine, name);
  const isLive = (flags & affect.live) !== 0 || (flags === 0 && !device.isInactive);
  if (isLive)
    throw refused(errorNumber.configUnsupported, 'a mediated device cannot be changed while it is there');
  const stored = storedOf(engine, device, `node device '${name}' is not persistent`);
  await validate('nodedev', xml);
  const wanted = parseMdev(xml, { mode: 'lenient' });
  if (wanted.uuid !== stored.uuid)
    throw refused(
      errorNumber.configUnsupported,
      `Cannot update device '${name}, uuid mismatch (current uuid '${stored.uuid}')`,
    );
  try {
    await engine.nodeDevices.mediated.define(wanted);
  } catch (error) {
    if (!isVirtError(error, 'host-device.unusable')) throw error;
    throw refused(
      errorNumber.configUnsupported,
      `Cannot update device '${name}', parent address mismatch (current parent address '${stored.parentAddress}')`,
    );
  }
}
