/** Processors, memory, tuning and statistics of domains. Arguments and results (remote_protocol.x). */
import { array, int, opaque, safeHyper, safeUhyper, struct, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullDomain, nonnullString, typedParam } from './objects.ts';
import { call } from './procedure.ts';

const vcpuInfo = struct({ number: uint, state: int, cpuTime: safeUhyper, cpu: int });

const domainMemoryStat = struct({ tag: int, val: safeUhyper });

const domainIothreadInfo = struct({ iothreadId: uint, cpumap: opaque(limits.cpumap) });

export const domainTuningProcedures = {
  domainGetMaxMemory: call(
    17,
    { dom: nonnullDomain },
    { memory: safeUhyper },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainGetMaxVcpus: call(
    18,
    { dom: nonnullDomain },
    { num: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainGetVcpus: call(
    20,
    { dom: nonnullDomain, maxinfo: int, maplen: int },
    { info: array(vcpuInfo, limits.vcpuinfo), cpumaps: opaque(limits.cpumaps) },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainPinVcpu: call(26, { dom: nonnullDomain, vcpu: uint, cpumap: opaque(limits.cpumap) }, null, {
    acl: ['domain:write'],
  }),
  domainSetMaxMemory: call(30, { dom: nonnullDomain, memory: safeUhyper }, null, {
    priority: 'high',
    acl: ['domain:write'],
  }),
  domainSetMemory: call(31, { dom: nonnullDomain, memory: safeUhyper }, null, { acl: ['domain:write'] }),
  domainSetVcpus: call(32, { dom: nonnullDomain, nvcpus: uint }, null, { acl: ['domain:write'] }),
  domainGetSchedulerType: call(
    56,
    { dom: nonnullDomain },
    { type: nonnullString, nparams: int },
    { acl: ['domain:read'] },
  ),
  domainGetSchedulerParameters: call(
    57,
    { dom: nonnullDomain, nparams: int },
    { params: array(typedParam, limits.domainSchedulerParameters) },
    { acl: ['domain:read'] },
  ),
  domainSetSchedulerParameters: call(
    58,
    { dom: nonnullDomain, params: array(typedParam, limits.domainSchedulerParameters) },
    null,
    { acl: ['domain:read'] },
  ),
  domainInterfaceStats: call(
    65,
    { dom: nonnullDomain, device: nonnullString },
    {
      rxBytes: safeHyper,
      rxPackets: safeHyper,
      rxErrs: safeHyper,
      rxDrop: safeHyper,
      txBytes: safeHyper,
      txPackets: safeHyper,
      txErrs: safeHyper,
      txDrop: safeHyper,
    },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainMemoryPeek: call(
    104,
    { dom: nonnullDomain, offset: safeUhyper, size: uint, flags: uint },
    { buffer: opaque(limits.domainMemoryPeekBuffer) },
    { acl: ['domain:mem_read'] },
  ),
  domainMemoryStats: call(
    159,
    { dom: nonnullDomain, maxStats: uint, flags: uint },
    { stats: array(domainMemoryStat, limits.domainMemoryStats) },
    { acl: ['domain:read'] },
  ),
  domainSetMemoryParameters: call(
    197,
    { dom: nonnullDomain, params: array(typedParam, limits.domainMemoryParameters), flags: uint },
    null,
    {
      acl: [
        'domain:write',
        'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
        'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
      ],
    },
  ),
  domainGetMemoryParameters: call(
    198,
    { dom: nonnullDomain, nparams: int, flags: uint },
    { params: array(typedParam, limits.domainMemoryParameters), nparams: int },
    { acl: ['domain:read'] },
  ),
  domainSetVcpusFlags: call(199, { dom: nonnullDomain, nvcpus: uint, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
      'domain:write:VIR_DOMAIN_VCPU_GUEST',
    ],
  }),
  domainGetVcpusFlags: call(
    200,
    { dom: nonnullDomain, flags: uint },
    { num: int },
    { acl: ['domain:read', 'domain:write:VIR_DOMAIN_VCPU_GUEST'] },
  ),
  domainSetMemoryFlags: call(204, { dom: nonnullDomain, memory: safeUhyper, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
  domainSetBlkioParameters: call(
    205,
    { dom: nonnullDomain, params: array(typedParam, limits.domainBlkioParameters), flags: uint },
    null,
    {
      acl: [
        'domain:write',
        'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
        'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
      ],
    },
  ),
  domainGetBlkioParameters: call(
    206,
    { dom: nonnullDomain, nparams: int, flags: uint },
    { params: array(typedParam, limits.domainBlkioParameters), nparams: int },
    { acl: ['domain:read'] },
  ),
  domainSetSchedulerParametersFlags: call(
    219,
    { dom: nonnullDomain, params: array(typedParam, limits.domainSchedulerParameters), flags: uint },
    null,
    {
      acl: [
        'domain:write',
        'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
        'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
      ],
    },
  ),
  domainGetSchedulerParametersFlags: call(
    223,
    { dom: nonnullDomain, nparams: int, flags: uint },
    { params: array(typedParam, limits.domainSchedulerParameters) },
    { acl: ['domain:read'] },
  ),
  domainPinVcpuFlags: call(
    225,
    { dom: nonnullDomain, vcpu: uint, cpumap: opaque(limits.cpumap), flags: uint },
    null,
    {
      acl: [
        'domain:write',
        'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
        'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
      ],
    },
  ),
  domainGetVcpuPinInfo: call(
    230,
    { dom: nonnullDomain, ncpumaps: int, maplen: int, flags: uint },
    { cpumaps: opaque(limits.cpumaps), num: int },
    { acl: ['domain:read'] },
  ),
  domainSetNumaParameters: call(
    254,
    { dom: nonnullDomain, params: array(typedParam, limits.domainNumaParameters), flags: uint },
    null,
    {
      acl: [
        'domain:write',
        'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
        'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
      ],
    },
  ),
  domainGetNumaParameters: call(
    255,
    { dom: nonnullDomain, nparams: int, flags: uint },
    { params: array(typedParam, limits.domainNumaParameters), nparams: int },
    { acl: ['domain:read'] },
  ),
  domainSetInterfaceParameters: call(
    256,
    {
      dom: nonnullDomain,
      device: nonnullString,
      params: array(typedParam, limits.domainInterfaceParameters),
      flags: uint,
    },
    null,
    {
      acl: [
        'domain:write',
        'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
        'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
      ],
    },
  ),
  domainGetInterfaceParameters: call(
    257,
    { dom: nonnullDomain, device: nonnullString, nparams: int, flags: uint },
    { params: array(typedParam, limits.domainInterfaceParameters), nparams: int },
    { acl: ['domain:read'] },
  ),
  domainGetCpuStats: call(
    262,
    { dom: nonnullDomain, nparams: uint, startCpu: int, ncpus: uint, flags: uint },
    { params: array(typedParam, limits.domainGetCpuStats), nparams: int },
    { acl: ['domain:read'] },
  ),
  domainPinEmulator: call(279, { dom: nonnullDomain, cpumap: opaque(limits.cpumap), flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
  domainGetEmulatorPinInfo: call(
    280,
    { dom: nonnullDomain, maplen: int, flags: uint },
    { cpumaps: opaque(limits.cpumaps), ret: int },
    { acl: ['domain:read'] },
  ),
  domainSetMemoryStatsPeriod: call(308, { dom: nonnullDomain, period: int, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
  domainGetIothreadInfo: call(
    351,
    { dom: nonnullDomain, flags: uint },
    { info: array(domainIothreadInfo, limits.iothreadInfo), ret: uint },
    { acl: ['domain:read'] },
  ),
  domainPinIothread: call(
    352,
    { dom: nonnullDomain, iothreadsId: uint, cpumap: opaque(limits.cpumap), flags: uint },
    null,
    {
      acl: [
        'domain:write',
        'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
        'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
      ],
    },
  ),
  domainAddIothread: call(355, { dom: nonnullDomain, iothreadId: uint, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
  domainDelIothread: call(356, { dom: nonnullDomain, iothreadId: uint, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
  domainGetPerfEvents: call(
    365,
    { dom: nonnullDomain, flags: uint },
    { params: array(typedParam, limits.domainPerfEvents) },
    { acl: ['domain:read'] },
  ),
  domainSetPerfEvents: call(
    366,
    { dom: nonnullDomain, params: array(typedParam, limits.domainPerfEvents), flags: uint },
    null,
    { acl: ['domain:write'] },
  ),
  domainSetVcpu: call(384, { dom: nonnullDomain, cpumap: nonnullString, state: int, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
  domainSetIothreadParams: call(
    402,
    {
      dom: nonnullDomain,
      iothreadId: uint,
      params: array(typedParam, limits.domainIothreadParams),
      flags: uint,
    },
    null,
    {
      acl: [
        'domain:write',
        'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
        'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
      ],
    },
  ),
  domainStartDirtyRateCalc: call(427, { dom: nonnullDomain, seconds: int, flags: uint }, null, {
    acl: ['domain:write'],
  }),
} as const;
