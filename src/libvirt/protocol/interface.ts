/** Interfaces of the host. Arguments and results (remote_protocol.x). */
import { array, int, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullInterface, nonnullString } from './objects.ts';
import { call } from './procedure.ts';

export const interfaceProcedures = {
  connectNumOfInterfaces: call(
    126,
    null,
    { num: int },
    { priority: 'high', acl: ['connect:search_interfaces'] },
  ),
  connectListInterfaces: call(
    127,
    { maxnames: int },
    { names: array(nonnullString, limits.interfaceList) },
    { priority: 'high', acl: ['connect:search_interfaces'] },
  ),
  interfaceLookupByName: call(
    128,
    { name: nonnullString },
    { iface: nonnullInterface },
    { priority: 'high', acl: ['interface:getattr'] },
  ),
  interfaceLookupByMacString: call(
    129,
    { mac: nonnullString },
    { iface: nonnullInterface },
    { priority: 'high', acl: ['interface:getattr'] },
  ),
  interfaceGetXmlDesc: call(
    130,
    { iface: nonnullInterface, flags: uint },
    { xml: nonnullString },
    { acl: ['interface:read'] },
  ),
  interfaceDefineXml: call(
    131,
    { xml: nonnullString, flags: uint },
    { iface: nonnullInterface },
    { priority: 'high', acl: ['interface:write', 'interface:save'] },
  ),
  interfaceUndefine: call(132, { iface: nonnullInterface }, null, {
    priority: 'high',
    acl: ['interface:delete'],
  }),
  interfaceCreate: call(133, { iface: nonnullInterface, flags: uint }, null, { acl: ['interface:start'] }),
  interfaceDestroy: call(134, { iface: nonnullInterface, flags: uint }, null, {
    priority: 'high',
    acl: ['interface:stop'],
  }),
  connectNumOfDefinedInterfaces: call(
    137,
    null,
    { num: int },
    { priority: 'high', acl: ['connect:search_interfaces'] },
  ),
  connectListDefinedInterfaces: call(
    138,
    { maxnames: int },
    { names: array(nonnullString, limits.interfaceList) },
    { priority: 'high', acl: ['connect:search_interfaces'] },
  ),
  interfaceIsActive: call(
    156,
    { iface: nonnullInterface },
    { active: int },
    { priority: 'high', acl: ['interface:read'] },
  ),
  interfaceChangeBegin: call(220, { flags: uint }, null, { acl: ['connect:interface_transaction'] }),
  interfaceChangeCommit: call(221, { flags: uint }, null, { acl: ['connect:interface_transaction'] }),
  interfaceChangeRollback: call(222, { flags: uint }, null, { acl: ['connect:interface_transaction'] }),
  connectListAllInterfaces: call(
    284,
    { needResults: int, flags: uint },
    { ifaces: array(nonnullInterface, limits.interfaceList), ret: uint },
    { priority: 'high', acl: ['connect:search_interfaces'] },
  ),
} as const;
