/** Secrets. Arguments and results (remote_protocol.x). */
import { array, int, opaque, uint, uuid } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullSecret, nonnullString } from './objects.ts';
import { call } from './procedure.ts';

export const secretProcedures = {
  connectNumOfSecrets: call(139, null, { num: int }, { priority: 'high', acl: ['connect:search_secrets'] }),
  connectListSecrets: call(
    140,
    { maxuuids: int },
    { uuids: array(nonnullString, limits.secretList) },
    { priority: 'high', acl: ['connect:search_secrets'] },
  ),
  secretLookupByUuid: call(
    141,
    { uuid },
    { secret: nonnullSecret },
    { priority: 'high', acl: ['secret:getattr'] },
  ),
  secretDefineXml: call(
    142,
    { xml: nonnullString, flags: uint },
    { secret: nonnullSecret },
    { priority: 'high', acl: ['secret:write', 'secret:save'] },
  ),
  secretGetXmlDesc: call(
    143,
    { secret: nonnullSecret, flags: uint },
    { xml: nonnullString },
    { priority: 'high', acl: ['secret:read'] },
  ),
  secretSetValue: call(144, { secret: nonnullSecret, value: opaque(limits.secretValue), flags: uint }, null, {
    priority: 'high',
    acl: ['secret:write'],
  }),
  secretGetValue: call(
    145,
    { secret: nonnullSecret, flags: uint },
    { value: opaque(limits.secretValue) },
    { priority: 'high', acl: ['secret:read_secure'] },
  ),
  secretUndefine: call(146, { secret: nonnullSecret }, null, { priority: 'high', acl: ['secret:delete'] }),
  secretLookupByUsage: call(
    147,
    { usageType: int, usageId: nonnullString },
    { secret: nonnullSecret },
    { priority: 'high', acl: ['secret:getattr'] },
  ),
  connectListAllSecrets: call(
    287,
    { needResults: int, flags: uint },
    { secrets: array(nonnullSecret, limits.secretList), ret: uint },
    { priority: 'high', acl: ['connect:search_secrets'] },
  ),
} as const;
