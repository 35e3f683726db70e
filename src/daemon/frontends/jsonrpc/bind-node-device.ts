/** Node device methods onto their service. */
import type { Result } from '../../../api/index.ts';
import { capabilityTypesOf, type NodeDevice } from '../../../model/node-device/node-device.ts';
import type { NodeDeviceService } from '../../services/node-device-service.ts';
import type { Handlers } from './handlers.ts';

type NodeDeviceHandlers = Pick<Handlers, Extract<keyof Handlers, `node-device.${string}`>>;

export function bindNodeDevices(service: NodeDeviceService): NodeDeviceHandlers {
  return {
    'node-device.list': async ({ capabilities }) => ({ devices: service.list(capabilities).map(shapeOf) }),
    'node-device.xml': async ({ device }) => ({ xml: service.xml(service.find(device)) }),
    'node-device.detach': async ({ device, driver }) => {
      await service.detach(device, driver);
      return {};
    },
    'node-device.reattach': async ({ device }) => {
      await service.reattach(device);
      return {};
    },
    'node-device.reset': async ({ device }) => {
      await service.reset(device);
      return {};
    },
  };
}

function shapeOf(device: NodeDevice): Result<'node-device.list'>['devices'][number] {
  return {
    name: device.name,
    parent: device.parent ?? null,
    path: device.path ?? null,
    devnode: device.devnode ?? null,
    driver: device.driver ?? null,
    capabilities: capabilityTypesOf(device),
  };
}
