/** Authentication. Arguments and results (remote_protocol.x). */
import { array, int } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { authType, charBytes, nonnullString } from './objects.ts';
import { call } from './procedure.ts';

export const authProcedures = {
  authList: call(66, null, { types: array(authType, limits.authTypeList) }, { priority: 'high', acl: [] }),
  authSaslInit: call(67, null, { mechlist: nonnullString }, { priority: 'high', acl: [] }),
  authSaslStart: call(
    68,
    { mech: nonnullString, nil: int, data: charBytes(limits.authSaslData) },
    { complete: int, nil: int, data: charBytes(limits.authSaslData) },
    { priority: 'high', acl: [] },
  ),
  authSaslStep: call(
    69,
    { nil: int, data: charBytes(limits.authSaslData) },
    { complete: int, nil: int, data: charBytes(limits.authSaslData) },
    { priority: 'high', acl: [] },
  ),
  authPolkit: call(70, null, { complete: int }, { priority: 'high', acl: [] }),
} as const;
