/** Network filters and their bindings. Arguments and results (remote_protocol.x). */
import { array, int, uint, uuid } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullNwfilter, nonnullNwfilterBinding, nonnullString } from './objects.ts';
import { call } from './procedure.ts';

export const nwfilterProcedures = {
  nwfilterLookupByName: call(
    175,
    { name: nonnullString },
    { nwfilter: nonnullNwfilter },
    { priority: 'high', acl: ['nwfilter:getattr'] },
  ),
  nwfilterLookupByUuid: call(
    176,
    { uuid },
    { nwfilter: nonnullNwfilter },
    { priority: 'high', acl: ['nwfilter:getattr'] },
  ),
  nwfilterGetXmlDesc: call(
    177,
    { nwfilter: nonnullNwfilter, flags: uint },
    { xml: nonnullString },
    { priority: 'high', acl: ['nwfilter:read'] },
  ),
  connectNumOfNwfilters: call(
    178,
    null,
    { num: int },
    { priority: 'high', acl: ['connect:search_nwfilters'] },
  ),
  connectListNwfilters: call(
    179,
    { maxnames: int },
    { names: array(nonnullString, limits.nwfilterList) },
    { priority: 'high', acl: ['connect:search_nwfilters'] },
  ),
  nwfilterDefineXml: call(
    180,
    { xml: nonnullString },
    { nwfilter: nonnullNwfilter },
    { priority: 'high', acl: ['nwfilter:write', 'nwfilter:save'] },
  ),
  nwfilterUndefine: call(181, { nwfilter: nonnullNwfilter }, null, {
    priority: 'high',
    acl: ['nwfilter:delete'],
  }),
  connectListAllNwfilters: call(
    286,
    { needResults: int, flags: uint },
    { filters: array(nonnullNwfilter, limits.nwfilterList), ret: uint },
    { priority: 'high', acl: ['connect:search_nwfilters'] },
  ),
  nwfilterBindingLookupByPortDev: call(
    397,
    { name: nonnullString },
    { nwfilter: nonnullNwfilterBinding },
    { priority: 'high', acl: ['nwfilter_binding:getattr'] },
  ),
  nwfilterBindingGetXmlDesc: call(
    398,
    { nwfilter: nonnullNwfilterBinding, flags: uint },
    { xml: nonnullString },
    { priority: 'high', acl: ['nwfilter_binding:read'] },
  ),
  nwfilterBindingCreateXml: call(
    399,
    { xml: nonnullString, flags: uint },
    { nwfilter: nonnullNwfilterBinding },
    { priority: 'high', acl: ['nwfilter_binding:create'] },
  ),
  nwfilterBindingDelete: call(400, { nwfilter: nonnullNwfilterBinding }, null, {
    priority: 'high',
    acl: ['nwfilter_binding:delete'],
  }),
  connectListAllNwfilterBindings: call(
    401,
    { needResults: int, flags: uint },
    { bindings: array(nonnullNwfilterBinding, limits.nwfilterBindingList), ret: uint },
    { priority: 'high', acl: ['connect:search_nwfilter_bindings'] },
  ),
  nwfilterDefineXmlFlags: call(
    431,
    { xml: nonnullString, flags: uint },
    { nwfilter: nonnullNwfilter },
    { priority: 'high', acl: ['nwfilter:write', 'nwfilter:save'] },
  ),
} as const;
