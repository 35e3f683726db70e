/** The host itself: memory, processors, suspend. Arguments and results (remote_protocol.x). */
import { array, int, opaque, safeUhyper, struct, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { charBytes, charText, nonnullString, typedParam } from './objects.ts';
import { call } from './procedure.ts';

const nodeGetCpuStatsItem = struct({ field: nonnullString, value: safeUhyper });

const nodeGetMemoryStatsItem = struct({ field: nonnullString, value: safeUhyper });

export const nodeProcedures = {
  nodeGetInfo: call(
    6,
    null,
    {
      model: charText(32),
      memory: safeUhyper,
      cpus: int,
      mhz: int,
      nodes: int,
      sockets: int,
      cores: int,
      threads: int,
    },
    { priority: 'high', acl: ['connect:read'] },
  ),
  nodeGetCellsFreeMemory: call(
    101,
    { startCell: int, maxcells: int },
    { cells: array(safeUhyper, limits.nodeCells) },
    { priority: 'high', acl: ['connect:read'] },
  ),
  nodeGetFreeMemory: call(102, null, { freeMem: safeUhyper }, { priority: 'high', acl: ['connect:read'] }),
  nodeGetSecurityModel: call(
    122,
    null,
    { model: charBytes(limits.securityModel), doi: charBytes(limits.securityDoi) },
    { priority: 'high', acl: ['connect:read'] },
  ),
  nodeGetCpuStats: call(
    227,
    { cpuNum: int, nparams: int, flags: uint },
    { params: array(nodeGetCpuStatsItem, limits.nodeCpuStats), nparams: int },
    { priority: 'high', acl: ['connect:read'] },
  ),
  nodeGetMemoryStats: call(
    228,
    { nparams: int, cellNum: int, flags: uint },
    { params: array(nodeGetMemoryStatsItem, limits.nodeMemoryStats), nparams: int },
    { priority: 'high', acl: ['connect:read'] },
  ),
  nodeSuspendForDuration: call(250, { target: uint, duration: safeUhyper, flags: uint }, null, {
    acl: ['connect:pm_control'],
  }),
  nodeSetMemoryParameters: call(
    288,
    { params: array(typedParam, limits.nodeMemoryParameters), flags: uint },
    null,
    { acl: ['connect:write'] },
  ),
  nodeGetMemoryParameters: call(
    289,
    { nparams: int, flags: uint },
    { params: array(typedParam, limits.nodeMemoryParameters), nparams: int },
    { acl: ['connect:read'] },
  ),
  nodeGetCpuMap: call(
    293,
    { needMap: int, needOnline: int, flags: uint },
    { cpumap: opaque(limits.cpumap), online: uint, ret: int },
    { acl: ['connect:read'] },
  ),
  nodeGetFreePages: call(
    340,
    { pages: array(uint, limits.nodeCells), startCell: int, cellCount: uint, flags: uint },
    { counts: array(safeUhyper, limits.nodeCells) },
    { priority: 'high', acl: ['connect:read'] },
  ),
  nodeAllocPages: call(
    347,
    {
      pageSizes: array(uint, limits.nodeCells),
      pageCounts: array(safeUhyper, limits.nodeCells),
      startCell: int,
      cellCount: uint,
      flags: uint,
    },
    { ret: int },
    { acl: ['connect:write'] },
  ),
  nodeGetSevInfo: call(
    395,
    { nparams: int, flags: uint },
    { params: array(typedParam, limits.nodeSevInfo), nparams: int },
    { acl: ['connect:read'] },
  ),
} as const;
