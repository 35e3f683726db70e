/** The connection: opening it, what it can do, lists and statistics of domains. Arguments and results (remote_protocol.x). */
import { array, int, safeUhyper, struct, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullDomain, nonnullString, string, typedParam } from './objects.ts';
import { call } from './procedure.ts';

const domainStatsRecord = struct({
  dom: nonnullDomain,
  params: array(typedParam, limits.connectGetAllDomainStats),
});

export const connectProcedures = {
  connectOpen: call(1, { name: string, flags: uint }, null, { priority: 'high', acl: ['connect:getattr'] }),
  connectClose: call(2, null, null, { priority: 'high', acl: [] }),
  connectGetType: call(3, null, { type: nonnullString }, { priority: 'high', acl: ['connect:getattr'] }),
  connectGetVersion: call(4, null, { hvVer: safeUhyper }, { priority: 'high', acl: ['connect:getattr'] }),
  connectGetMaxVcpus: call(
    5,
    { type: string },
    { maxVcpus: int },
    { priority: 'high', acl: ['connect:read'] },
  ),
  connectGetCapabilities: call(7, null, { capabilities: nonnullString }, { acl: ['connect:read'] }),
  connectListDefinedDomains: call(
    21,
    { maxnames: int },
    { names: array(nonnullString, limits.domainList) },
    { priority: 'high', acl: ['connect:search_domains'] },
  ),
  connectNumOfDefinedDomains: call(
    25,
    null,
    { num: int },
    { priority: 'high', acl: ['connect:search_domains'] },
  ),
  connectListDomains: call(
    37,
    { maxids: int },
    { ids: array(int, limits.domainList) },
    { priority: 'high', acl: ['connect:search_domains'] },
  ),
  connectNumOfDomains: call(51, null, { num: int }, { priority: 'high', acl: ['connect:search_domains'] }),
  connectGetHostname: call(
    59,
    null,
    { hostname: nonnullString },
    { priority: 'high', acl: ['connect:getattr'] },
  ),
  connectSupportsFeature: call(
    60,
    { feature: int },
    { supported: int },
    { priority: 'high', acl: ['connect:getattr'] },
  ),
  connectGetUri: call(110, null, { uri: nonnullString }, { priority: 'high', acl: ['connect:getattr'] }),
  connectDomainXmlFromNative: call(
    135,
    { nativeFormat: nonnullString, nativeConfig: nonnullString, flags: uint },
    { domainXml: nonnullString },
    { acl: ['connect:write'] },
  ),
  connectDomainXmlToNative: call(
    136,
    { nativeFormat: nonnullString, domainXml: nonnullString, flags: uint },
    { nativeConfig: nonnullString },
    { acl: ['connect:write'] },
  ),
  connectIsSecure: call(149, null, { secure: int }, { priority: 'high', acl: [] }),
  connectGetLibVersion: call(
    157,
    null,
    { libVer: safeUhyper },
    { priority: 'high', acl: ['connect:getattr'] },
  ),
  connectCompareCpu: call(
    158,
    { xml: nonnullString, flags: uint },
    { result: int },
    { priority: 'high', acl: ['connect:read'] },
  ),
  connectBaselineCpu: call(
    162,
    { xmlCPUs: array(nonnullString, limits.cpuBaseline), flags: uint },
    { cpu: nonnullString },
    { acl: ['connect:read'] },
  ),
  connectGetSysinfo: call(
    203,
    { flags: uint },
    { sysinfo: nonnullString },
    { priority: 'high', acl: ['connect:read'] },
  ),
  connectListAllDomains: call(
    273,
    { needResults: int, flags: uint },
    { domains: array(nonnullDomain, limits.domainList), ret: uint },
    { priority: 'high', acl: ['connect:search_domains'] },
  ),
  connectGetCpuModelNames: call(
    312,
    { arch: nonnullString, needResults: int, flags: uint },
    { models: array(nonnullString, limits.connectCpuModels), ret: int },
    { acl: ['connect:read'] },
  ),
  connectGetDomainCapabilities: call(
    342,
    { emulatorbin: string, arch: string, machine: string, virttype: string, flags: uint },
    { capabilities: nonnullString },
    { acl: ['connect:write'] },
  ),
  connectGetAllDomainStats: call(
    344,
    { doms: array(nonnullDomain, limits.domainList), stats: uint, flags: uint },
    { retStats: array(domainStatsRecord, limits.domainList) },
    { acl: ['connect:search_domains'] },
  ),
  connectRegisterCloseCallback: call(360, null, null, { priority: 'high', acl: ['connect:getattr'] }),
  connectUnregisterCloseCallback: call(361, null, null, { priority: 'high', acl: ['connect:getattr'] }),
  connectCompareHypervisorCpu: call(
    393,
    { emulator: string, arch: string, machine: string, virttype: string, xmlCPU: nonnullString, flags: uint },
    { result: int },
    { acl: ['connect:write'] },
  ),
  connectBaselineHypervisorCpu: call(
    394,
    {
      emulator: string,
      arch: string,
      machine: string,
      virttype: string,
      xmlCPUs: array(nonnullString, limits.cpuBaseline),
      flags: uint,
    },
    { cpu: nonnullString },
    { acl: ['connect:write'] },
  ),
  connectSetIdentity: call(
    419,
    { params: array(typedParam, limits.connectIdentityParams), flags: uint },
    null,
    { acl: ['connect:write'] },
  ),
} as const;
