/** QEMU's own program: raw monitor and agent commands, monitor events (qemu_protocol.x). */
import { int, safeHyper, uint } from '../xdr/xdr.ts';
import { nonnullDomain, nonnullString, optionalDomain, string } from './objects.ts';
import { call, message } from './procedure.ts';

export const qemuProcedures = {
  domainMonitorCommand: call(
    1,
    { dom: nonnullDomain, cmd: nonnullString, flags: uint },
    { result: nonnullString },
    { acl: ['domain:write'] },
  ),
  domainAttach: call(
    2,
    { pidValue: uint, flags: uint },
    { dom: nonnullDomain },
    { acl: ['domain:start', 'domain:write'] },
  ),
  domainAgentCommand: call(
    3,
    { dom: nonnullDomain, cmd: nonnullString, timeout: int, flags: uint },
    { result: string },
    { acl: ['domain:write'] },
  ),
  connectDomainMonitorEventRegister: call(
    4,
    { dom: optionalDomain, event: string, flags: uint },
    { callbackId: int },
    { priority: 'high', acl: ['connect:search_domains', 'connect:write'] },
  ),
  connectDomainMonitorEventDeregister: call(5, { callbackId: int }, null, {
    priority: 'high',
    acl: ['connect:write'],
  }),
  domainMonitorEvent: message(6, {
    callbackId: int,
    dom: nonnullDomain,
    event: nonnullString,
    seconds: safeHyper,
    micros: uint,
    details: string,
  }),
  domainMonitorCommandWithFiles: call(
    7,
    { dom: nonnullDomain, cmd: nonnullString, flags: uint },
    { result: nonnullString },
    { acl: ['domain:write'] },
  ),
} as const;
