/** Storage pools and volumes. Arguments and results (remote_protocol.x). */
import { array, int, safeUhyper, uint, uuid } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullStoragePool, nonnullStorageVol, nonnullString, string } from './objects.ts';
import { call } from './procedure.ts';

export const storageProcedures = {
  connectNumOfStoragePools: call(
    71,
    null,
    { num: int },
    { priority: 'high', acl: ['connect:search_storage_pools'] },
  ),
  connectListStoragePools: call(
    72,
    { maxnames: int },
    { names: array(nonnullString, limits.storagePoolList) },
    { priority: 'high', acl: ['connect:search_storage_pools'] },
  ),
  connectNumOfDefinedStoragePools: call(
    73,
    null,
    { num: int },
    { priority: 'high', acl: ['connect:search_storage_pools'] },
  ),
  connectListDefinedStoragePools: call(
    74,
    { maxnames: int },
    { names: array(nonnullString, limits.storagePoolList) },
    { priority: 'high', acl: ['connect:search_storage_pools'] },
  ),
  connectFindStoragePoolSources: call(
    75,
    { type: nonnullString, srcSpec: string, flags: uint },
    { xml: nonnullString },
    { acl: ['connect:detect_storage_pools'] },
  ),
  storagePoolCreateXml: call(
    76,
    { xml: nonnullString, flags: uint },
    { pool: nonnullStoragePool },
    { acl: ['storage_pool:start', 'storage_pool:write'] },
  ),
  storagePoolDefineXml: call(
    77,
    { xml: nonnullString, flags: uint },
    { pool: nonnullStoragePool },
    { priority: 'high', acl: ['storage_pool:write', 'storage_pool:save'] },
  ),
  storagePoolCreate: call(78, { pool: nonnullStoragePool, flags: uint }, null, {
    acl: ['storage_pool:start'],
  }),
  storagePoolBuild: call(79, { pool: nonnullStoragePool, flags: uint }, null, {
    acl: ['storage_pool:format'],
  }),
  storagePoolDestroy: call(80, { pool: nonnullStoragePool }, null, {
    priority: 'high',
    acl: ['storage_pool:stop'],
  }),
  storagePoolDelete: call(81, { pool: nonnullStoragePool, flags: uint }, null, {
    acl: ['storage_pool:format'],
  }),
  storagePoolUndefine: call(82, { pool: nonnullStoragePool }, null, {
    priority: 'high',
    acl: ['storage_pool:delete'],
  }),
  storagePoolRefresh: call(83, { pool: nonnullStoragePool, flags: uint }, null, {
    acl: ['storage_pool:refresh'],
  }),
  storagePoolLookupByName: call(
    84,
    { name: nonnullString },
    { pool: nonnullStoragePool },
    { priority: 'high', acl: ['storage_pool:getattr'] },
  ),
  storagePoolLookupByUuid: call(
    85,
    { uuid },
    { pool: nonnullStoragePool },
    { priority: 'high', acl: ['storage_pool:getattr'] },
  ),
  storagePoolLookupByVolume: call(
    86,
    { vol: nonnullStorageVol },
    { pool: nonnullStoragePool },
    { priority: 'high', acl: ['storage_pool:getattr'] },
  ),
  storagePoolGetInfo: call(
    87,
    { pool: nonnullStoragePool },
    { state: uint, capacity: safeUhyper, allocation: safeUhyper, available: safeUhyper },
    { priority: 'high', acl: ['storage_pool:read'] },
  ),
  storagePoolGetXmlDesc: call(
    88,
    { pool: nonnullStoragePool, flags: uint },
    { xml: nonnullString },
    { priority: 'high', acl: ['storage_pool:read'] },
  ),
  storagePoolGetAutostart: call(
    89,
    { pool: nonnullStoragePool },
    { autostart: int },
    { priority: 'high', acl: ['storage_pool:read'] },
  ),
  storagePoolSetAutostart: call(90, { pool: nonnullStoragePool, autostart: int }, null, {
    priority: 'high',
    acl: ['storage_pool:write'],
  }),
  storagePoolNumOfVolumes: call(
    91,
    { pool: nonnullStoragePool },
    { num: int },
    { priority: 'high', acl: ['storage_pool:search_storage_vols'] },
  ),
  storagePoolListVolumes: call(
    92,
    { pool: nonnullStoragePool, maxnames: int },
    { names: array(nonnullString, limits.storageVolList) },
    { priority: 'high', acl: ['storage_pool:search_storage_vols'] },
  ),
  storageVolCreateXml: call(
    93,
    { pool: nonnullStoragePool, xml: nonnullString, flags: uint },
    { vol: nonnullStorageVol },
    { acl: ['storage_vol:create'] },
  ),
  storageVolDelete: call(94, { vol: nonnullStorageVol, flags: uint }, null, { acl: ['storage_vol:delete'] }),
  storageVolLookupByName: call(
    95,
    { pool: nonnullStoragePool, name: nonnullString },
    { vol: nonnullStorageVol },
    { priority: 'high', acl: ['storage_vol:getattr'] },
  ),
  storageVolLookupByKey: call(
    96,
    { key: nonnullString },
    { vol: nonnullStorageVol },
    { priority: 'high', acl: ['storage_vol:getattr'] },
  ),
  storageVolLookupByPath: call(
    97,
    { path: nonnullString },
    { vol: nonnullStorageVol },
    { priority: 'high', acl: ['storage_vol:getattr'] },
  ),
  storageVolGetInfo: call(
    98,
    { vol: nonnullStorageVol },
    { type: int, capacity: safeUhyper, allocation: safeUhyper },
    { priority: 'high', acl: ['storage_vol:read'] },
  ),
  storageVolGetXmlDesc: call(
    99,
    { vol: nonnullStorageVol, flags: uint },
    { xml: nonnullString },
    { priority: 'high', acl: ['storage_vol:read'] },
  ),
  storageVolGetPath: call(
    100,
    { vol: nonnullStorageVol },
    { name: nonnullString },
    { priority: 'high', acl: ['storage_vol:read'] },
  ),
  storageVolCreateXmlFrom: call(
    125,
    { pool: nonnullStoragePool, xml: nonnullString, clonevol: nonnullStorageVol, flags: uint },
    { vol: nonnullStorageVol },
    { acl: ['storage_vol:create'] },
  ),
  storagePoolIsActive: call(
    154,
    { pool: nonnullStoragePool },
    { active: int },
    { priority: 'high', acl: ['storage_pool:read'] },
  ),
  storagePoolIsPersistent: call(
    155,
    { pool: nonnullStoragePool },
    { persistent: int },
    { priority: 'high', acl: ['storage_pool:read'] },
  ),
  storageVolWipe: call(165, { vol: nonnullStorageVol, flags: uint }, null, { acl: ['storage_vol:format'] }),
  storageVolUpload: call(
    208,
    { vol: nonnullStorageVol, offset: safeUhyper, length: safeUhyper, flags: uint },
    null,
    { stream: 'write', acl: ['storage_vol:data_write'] },
  ),
  storageVolDownload: call(
    209,
    { vol: nonnullStorageVol, offset: safeUhyper, length: safeUhyper, flags: uint },
    null,
    { stream: 'read', acl: ['storage_vol:data_read'] },
  ),
  storageVolWipePattern: call(259, { vol: nonnullStorageVol, algorithm: uint, flags: uint }, null, {
    acl: ['storage_vol:format'],
  }),
  storageVolResize: call(260, { vol: nonnullStorageVol, capacity: safeUhyper, flags: uint }, null, {
    acl: ['storage_vol:resize'],
  }),
  connectListAllStoragePools: call(
    281,
    { needResults: int, flags: uint },
    { pools: array(nonnullStoragePool, limits.storagePoolList), ret: uint },
    { priority: 'high', acl: ['connect:search_storage_pools'] },
  ),
  storagePoolListAllVolumes: call(
    282,
    { pool: nonnullStoragePool, needResults: int, flags: uint },
    { vols: array(nonnullStorageVol, limits.storageVolList), ret: uint },
    { priority: 'high', acl: ['storage_pool:search_storage_vols'] },
  ),
  storageVolGetInfoFlags: call(
    378,
    { vol: nonnullStorageVol, flags: uint },
    { type: int, capacity: safeUhyper, allocation: safeUhyper },
    { priority: 'high', acl: ['storage_vol:read'] },
  ),
  storagePoolLookupByTargetPath: call(
    391,
    { path: nonnullString },
    { pool: nonnullStoragePool },
    { priority: 'high', acl: ['storage_pool:getattr'] },
  ),
  connectGetStoragePoolCapabilities: call(
    403,
    { flags: uint },
    { capabilities: nonnullString },
    { acl: ['connect:read'] },
  ),
} as const;
