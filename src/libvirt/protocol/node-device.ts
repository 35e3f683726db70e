/** Devices of the host. Arguments and results (remote_protocol.x). */
import { array, int, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullNodeDevice, nonnullString, string } from './objects.ts';
import { call } from './procedure.ts';

export const nodeDeviceProcedures = {
  nodeNumOfDevices: call(
    111,
    { cap: string, flags: uint },
    { num: int },
    { priority: 'high', acl: ['connect:search_node_devices'] },
  ),
  nodeListDevices: call(
    112,
    { cap: string, maxnames: int, flags: uint },
    { names: array(nonnullString, limits.nodeDeviceList) },
    { priority: 'high', acl: ['connect:search_node_devices'] },
  ),
  nodeDeviceLookupByName: call(
    113,
    { name: nonnullString },
    { dev: nonnullNodeDevice },
    { priority: 'high', acl: ['node_device:getattr'] },
  ),
  nodeDeviceGetXmlDesc: call(
    114,
    { name: nonnullString, flags: uint },
    { xml: nonnullString },
    { acl: ['node_device:read'] },
  ),
  nodeDeviceGetParent: call(
    115,
    { name: nonnullString },
    { parentName: string },
    { priority: 'high', acl: ['node_device:read'] },
  ),
  nodeDeviceNumOfCaps: call(
    116,
    { name: nonnullString },
    { num: int },
    { priority: 'high', acl: ['node_device:read'] },
  ),
  nodeDeviceListCaps: call(
    117,
    { name: nonnullString, maxnames: int },
    { names: array(nonnullString, limits.nodeDeviceCapsList) },
    { priority: 'high', acl: ['node_device:read'] },
  ),
  nodeDeviceDettach: call(118, { name: nonnullString }, null, { acl: ['node_device:detach'] }),
  nodeDeviceReAttach: call(119, { name: nonnullString }, null, { acl: ['node_device:detach'] }),
  nodeDeviceReset: call(120, { name: nonnullString }, null, { acl: ['node_device:detach'] }),
  nodeDeviceCreateXml: call(
    123,
    { xmlDesc: nonnullString, flags: uint },
    { dev: nonnullNodeDevice },
    { acl: ['node_device:write', 'node_device:start'] },
  ),
  nodeDeviceDestroy: call(124, { name: nonnullString }, null, {
    priority: 'high',
    acl: ['node_device:stop'],
  }),
  connectListAllNodeDevices: call(
    285,
    { needResults: int, flags: uint },
    { devices: array(nonnullNodeDevice, limits.nodeDeviceList), ret: uint },
    { priority: 'high', acl: ['connect:search_node_devices'] },
  ),
  nodeDeviceLookupScsiHostByWwn: call(
    297,
    { wwnn: nonnullString, wwpn: nonnullString, flags: uint },
    { dev: nonnullNodeDevice },
    { priority: 'high', acl: ['node_device:getattr'] },
  ),
  nodeDeviceDetachFlags: call(301, { name: nonnullString, driverName: string, flags: uint }, null, {
    acl: ['node_device:detach'],
  }),
  nodeDeviceDefineXml: call(
    428,
    { xmlDesc: nonnullString, flags: uint },
    { dev: nonnullNodeDevice },
    { acl: ['node_device:write', 'node_device:save'] },
  ),
  nodeDeviceUndefine: call(429, { name: nonnullString, flags: uint }, null, {
    priority: 'high',
    acl: ['node_device:delete'],
  }),
  nodeDeviceCreate: call(430, { name: nonnullString, flags: uint }, null, {
    priority: 'high',
    acl: ['node_device:start'],
  }),
  nodeDeviceGetAutostart: call(
    433,
    { name: nonnullString },
    { autostart: int },
    { priority: 'high', acl: ['node_device:read'] },
  ),
  nodeDeviceSetAutostart: call(434, { name: nonnullString, autostart: int }, null, {
    priority: 'high',
    acl: ['node_device:write'],
  }),
  nodeDeviceIsPersistent: call(
    435,
    { name: nonnullString },
    { persistent: int },
    { priority: 'high', acl: ['node_device:read'] },
  ),
  nodeDeviceIsActive: call(
    436,
    { name: nonnullString },
    { active: int },
    { priority: 'high', acl: ['node_device:read'] },
  ),
  nodeDeviceUpdate: call(447, { name: nonnullString, xmlDesc: nonnullString, flags: uint }, null, {
    priority: 'high',
    acl: [
      'node_device:write',
      'node_device:save:!VIR_NODE_DEVICE_UPDATE_AFFECT_CONFIG|VIR_NODE_DEVICE_UPDATE_AFFECT_LIVE',
      'node_device:save:VIR_NODE_DEVICE_UPDATE_AFFECT_CONFIG',
    ],
  }),
} as const;
