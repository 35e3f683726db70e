/** Domains: finding, defining, starting, stopping. Arguments and results (remote_protocol.x). */
import { array, int, safeUhyper, struct, uint, uuid } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { charBytes, nonnullDomain, nonnullString, string, typedParam } from './objects.ts';
import { call } from './procedure.ts';

const domainGetSecurityLabelRet = struct({ label: charBytes(limits.securityLabel), enforcing: int });

export const domainProcedures = {
  domainCreate: call(9, { dom: nonnullDomain }, null, { acl: ['domain:start'] }),
  domainCreateXml: call(
    10,
    { xmlDesc: nonnullString, flags: uint },
    { dom: nonnullDomain },
    { acl: ['domain:write', 'domain:start'] },
  ),
  domainDefineXml: call(
    11,
    { xml: nonnullString },
    { dom: nonnullDomain },
    { priority: 'high', acl: ['domain:write', 'domain:save'] },
  ),
  domainDestroy: call(12, { dom: nonnullDomain }, null, { priority: 'high', acl: ['domain:stop'] }),
  domainGetXmlDesc: call(
    14,
    { dom: nonnullDomain, flags: uint },
    { xml: nonnullString },
    {
      acl: [
        'domain:read',
        'domain:read_secure:VIR_DOMAIN_XML_SECURE',
        'domain:read_secure:VIR_DOMAIN_XML_MIGRATABLE',
      ],
    },
  ),
  domainGetAutostart: call(
    15,
    { dom: nonnullDomain },
    { autostart: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainGetInfo: call(
    16,
    { dom: nonnullDomain },
    { state: uint, maxMem: safeUhyper, memory: safeUhyper, nrVirtCpu: uint, cpuTime: safeUhyper },
    { acl: ['domain:read'] },
  ),
  domainGetOsType: call(
    19,
    { dom: nonnullDomain },
    { type: nonnullString },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainLookupById: call(
    22,
    { id: int },
    { dom: nonnullDomain },
    { priority: 'high', acl: ['domain:getattr'] },
  ),
  domainLookupByName: call(
    23,
    { name: nonnullString },
    { dom: nonnullDomain },
    { priority: 'high', acl: ['domain:getattr'] },
  ),
  domainLookupByUuid: call(
    24,
    { uuid },
    { dom: nonnullDomain },
    { priority: 'high', acl: ['domain:getattr'] },
  ),
  domainReboot: call(27, { dom: nonnullDomain, flags: uint }, null, {
    acl: ['domain:init_control', 'domain:write:VIR_DOMAIN_REBOOT_GUEST_AGENT'],
  }),
  domainResume: call(28, { dom: nonnullDomain }, null, { acl: ['domain:suspend'] }),
  domainSetAutostart: call(29, { dom: nonnullDomain, autostart: int }, null, {
    priority: 'high',
    acl: ['domain:write'],
  }),
  domainShutdown: call(33, { dom: nonnullDomain }, null, { acl: ['domain:init_control'] }),
  domainSuspend: call(34, { dom: nonnullDomain }, null, { acl: ['domain:suspend'] }),
  domainUndefine: call(35, { dom: nonnullDomain }, null, { priority: 'high', acl: ['domain:delete'] }),
  domainGetSecurityLabel: call(
    121,
    { dom: nonnullDomain },
    { label: charBytes(limits.securityLabel), enforcing: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainIsActive: call(
    150,
    { dom: nonnullDomain },
    { active: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainIsPersistent: call(
    151,
    { dom: nonnullDomain },
    { persistent: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainCreateWithFlags: call(
    196,
    { dom: nonnullDomain, flags: uint },
    { dom: nonnullDomain },
    { acl: ['domain:start'] },
  ),
  domainIsUpdated: call(
    202,
    { dom: nonnullDomain },
    { updated: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainGetState: call(
    212,
    { dom: nonnullDomain, flags: uint },
    { state: int, reason: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainGetControlInfo: call(
    229,
    { dom: nonnullDomain, flags: uint },
    { state: uint, details: uint, stateTime: safeUhyper },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainUndefineFlags: call(231, { dom: nonnullDomain, flags: uint }, null, {
    priority: 'high',
    acl: ['domain:delete'],
  }),
  domainDestroyFlags: call(234, { dom: nonnullDomain, flags: uint }, null, {
    priority: 'high',
    acl: ['domain:stop'],
  }),
  domainReset: call(245, { dom: nonnullDomain, flags: uint }, null, { acl: ['domain:reset'] }),
  domainShutdownFlags: call(258, { dom: nonnullDomain, flags: uint }, null, {
    acl: ['domain:init_control', 'domain:write:VIR_DOMAIN_SHUTDOWN_GUEST_AGENT'],
  }),
  domainSetMetadata: call(
    264,
    { dom: nonnullDomain, type: int, metadata: string, key: string, uri: string, flags: uint },
    null,
    {
      acl: [
        'domain:write',
        'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
        'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
      ],
    },
  ),
  domainGetMetadata: call(
    265,
    { dom: nonnullDomain, type: int, uri: string, flags: uint },
    { metadata: nonnullString },
    { acl: ['domain:read'] },
  ),
  domainGetSecurityLabelList: call(
    278,
    { dom: nonnullDomain },
    { labels: array(domainGetSecurityLabelRet, limits.securityLabelList), ret: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainCreateXmlWithFiles: call(
    309,
    { xmlDesc: nonnullString, flags: uint },
    { dom: nonnullDomain },
    { acl: ['domain:write', 'domain:start'] },
  ),
  domainCreateWithFiles: call(
    310,
    { dom: nonnullDomain, flags: uint },
    { dom: nonnullDomain },
    { acl: ['domain:start'] },
  ),
  domainDefineXmlFlags: call(
    350,
    { xml: nonnullString, flags: uint },
    { dom: nonnullDomain },
    { priority: 'high', acl: ['domain:write', 'domain:save'] },
  ),
  domainRename: call(
    358,
    { dom: nonnullDomain, newName: string, flags: uint },
    { retcode: int },
    { acl: ['domain:write', 'domain:save'] },
  ),
  domainSetLifecycleAction: call(390, { dom: nonnullDomain, type: uint, action: uint, flags: uint }, null, {
    acl: ['domain:write'],
  }),
  domainGetLaunchSecurityInfo: call(
    396,
    { dom: nonnullDomain, flags: uint },
    { params: array(typedParam, limits.domainLaunchSecurityInfoParams) },
    { acl: ['domain:read'] },
  ),
  domainGetMessages: call(
    426,
    { dom: nonnullDomain, flags: uint },
    { msgs: array(nonnullString, limits.domainMessages) },
    { acl: ['domain:read'] },
  ),
  domainSetLaunchSecurityState: call(
    439,
    { dom: nonnullDomain, params: array(typedParam, limits.domainLaunchSecurityStateParams), flags: uint },
    null,
    { acl: ['domain:write'] },
  ),
  domainGetAutostartOnce: call(
    449,
    { dom: nonnullDomain },
    { autostart: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainSetAutostartOnce: call(450, { dom: nonnullDomain, autostart: int }, null, {
    priority: 'high',
    acl: ['domain:write'],
  }),
} as const;
