/** The program for Linux containers, which this daemon does not serve (lxc_protocol.x). */
import { uint } from '../xdr/xdr.ts';
import { nonnullDomain } from './objects.ts';
import { call } from './procedure.ts';

export const lxcProcedures = {
  domainOpenNamespace: call(1, { dom: nonnullDomain, flags: uint }, null, { acl: ['domain:open_namespace'] }),
} as const;
