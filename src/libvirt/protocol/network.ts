/** Virtual networks and their ports. Arguments and results (remote_protocol.x). */
import { array, int, safeHyper, struct, uint, uuid } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullNetwork, nonnullNetworkPort, nonnullString, string, typedParam } from './objects.ts';
import { call } from './procedure.ts';

const networkDhcpLease = struct({
  iface: nonnullString,
  expirytime: safeHyper,
  type: int,
  mac: string,
  iaid: string,
  ipaddr: nonnullString,
  prefix: uint,
  hostname: string,
  clientid: string,
});

export const networkProcedures = {
  connectListDefinedNetworks: call(
    36,
    { maxnames: int },
    { names: array(nonnullString, limits.networkList) },
    { priority: 'high', acl: ['connect:search_networks'] },
  ),
  connectListNetworks: call(
    38,
    { maxnames: int },
    { names: array(nonnullString, limits.networkList) },
    { priority: 'high', acl: ['connect:search_networks'] },
  ),
  networkCreate: call(39, { net: nonnullNetwork }, null, { acl: ['network:start'] }),
  networkCreateXml: call(
    40,
    { xml: nonnullString },
    { net: nonnullNetwork },
    { acl: ['network:write', 'network:start'] },
  ),
  networkDefineXml: call(
    41,
    { xml: nonnullString },
    { net: nonnullNetwork },
    { priority: 'high', acl: ['network:write', 'network:save'] },
  ),
  networkDestroy: call(42, { net: nonnullNetwork }, null, { priority: 'high', acl: ['network:stop'] }),
  networkGetXmlDesc: call(
    43,
    { net: nonnullNetwork, flags: uint },
    { xml: nonnullString },
    { priority: 'high', acl: ['network:read'] },
  ),
  networkGetAutostart: call(
    44,
    { net: nonnullNetwork },
    { autostart: int },
    { priority: 'high', acl: ['network:read'] },
  ),
  networkGetBridgeName: call(
    45,
    { net: nonnullNetwork },
    { name: nonnullString },
    { priority: 'high', acl: ['network:read'] },
  ),
  networkLookupByName: call(
    46,
    { name: nonnullString },
    { net: nonnullNetwork },
    { priority: 'high', acl: ['network:getattr'] },
  ),
  networkLookupByUuid: call(
    47,
    { uuid },
    { net: nonnullNetwork },
    { priority: 'high', acl: ['network:getattr'] },
  ),
  networkSetAutostart: call(48, { net: nonnullNetwork, autostart: int }, null, {
    priority: 'high',
    acl: ['network:write'],
  }),
  networkUndefine: call(49, { net: nonnullNetwork }, null, { priority: 'high', acl: ['network:delete'] }),
  connectNumOfDefinedNetworks: call(
    50,
    null,
    { num: int },
    { priority: 'high', acl: ['connect:search_networks'] },
  ),
  connectNumOfNetworks: call(52, null, { num: int }, { priority: 'high', acl: ['connect:search_networks'] }),
  networkIsActive: call(
    152,
    { net: nonnullNetwork },
    { active: int },
    { priority: 'high', acl: ['network:read'] },
  ),
  networkIsPersistent: call(
    153,
    { net: nonnullNetwork },
    { persistent: int },
    { priority: 'high', acl: ['network:read'] },
  ),
  connectListAllNetworks: call(
    283,
    { needResults: int, flags: uint },
    { nets: array(nonnullNetwork, limits.networkList), ret: uint },
    { priority: 'high', acl: ['connect:search_networks'] },
  ),
  networkUpdate: call(
    291,
    { net: nonnullNetwork, command: uint, section: uint, parentIndex: int, xml: nonnullString, flags: uint },
    null,
    {
      priority: 'high',
      acl: [
        'network:write',
        'network:save:!VIR_NETWORK_UPDATE_AFFECT_CONFIG|VIR_NETWORK_UPDATE_AFFECT_LIVE',
        'network:save:VIR_NETWORK_UPDATE_AFFECT_CONFIG',
      ],
    },
  ),
  networkGetDhcpLeases: call(
    341,
    { net: nonnullNetwork, mac: string, needResults: int, flags: uint },
    { leases: array(networkDhcpLease, limits.networkDhcpLeases), ret: uint },
    { acl: ['network:read'] },
  ),
  networkListAllPorts: call(
    404,
    { network: nonnullNetwork, needResults: int, flags: uint },
    { ports: array(nonnullNetworkPort, limits.networkPortList), ret: uint },
    { priority: 'high', acl: ['network:search_ports'] },
  ),
  networkPortLookupByUuid: call(
    405,
    { network: nonnullNetwork, uuid },
    { port: nonnullNetworkPort },
    { priority: 'high', acl: ['network_port:getattr'] },
  ),
  networkPortCreateXml: call(
    406,
    { network: nonnullNetwork, xml: nonnullString, flags: uint },
    { port: nonnullNetworkPort },
    { acl: ['network_port:create'] },
  ),
  networkPortGetParameters: call(
    407,
    { port: nonnullNetworkPort, nparams: int, flags: uint },
    { params: array(typedParam, limits.networkPortParameters), nparams: int },
    { acl: ['network_port:read'] },
  ),
  networkPortSetParameters: call(
    408,
    { port: nonnullNetworkPort, params: array(typedParam, limits.networkPortParameters), flags: uint },
    null,
    { acl: ['network_port:write'] },
  ),
  networkPortGetXmlDesc: call(
    409,
    { port: nonnullNetworkPort, flags: uint },
    { xml: nonnullString },
    { acl: ['network_port:read'] },
  ),
  networkPortDelete: call(410, { port: nonnullNetworkPort, flags: uint }, null, {
    acl: ['network_port:delete'],
  }),
  networkDefineXmlFlags: call(
    432,
    { xml: nonnullString, flags: uint },
    { net: nonnullNetwork },
    { priority: 'high', acl: ['network:write', 'network:save'] },
  ),
  networkCreateXmlFlags: call(
    437,
    { xml: nonnullString, flags: uint },
    { net: nonnullNetwork },
    { priority: 'high', acl: ['network:write', 'network:start'] },
  ),
  networkSetMetadata: call(
    444,
    { network: nonnullNetwork, type: int, metadata: string, key: string, uri: string, flags: uint },
    null,
    {
      acl: [
        'network:write',
        'network:save:!VIR_NETWORK_UPDATE_AFFECT_CONFIG|VIR_NETWORK_UPDATE_AFFECT_LIVE',
        'network:save:VIR_NETWORK_UPDATE_AFFECT_CONFIG',
      ],
    },
  ),
  networkGetMetadata: call(
    445,
    { network: nonnullNetwork, type: int, uri: string, flags: uint },
    { metadata: nonnullString },
    { acl: ['network:read'] },
  ),
} as const;
