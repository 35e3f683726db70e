/** Disks of domains and their block jobs. Arguments and results (remote_protocol.x). */
import { array, int, opaque, safeHyper, safeUhyper, struct, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullDomain, nonnullString, string, typedParam } from './objects.ts';
import { call } from './procedure.ts';

const domainDiskError = struct({ disk: nonnullString, error: int });

export const domainBlockProcedures = {
  domainBlockStats: call(
    64,
    { dom: nonnullDomain, path: nonnullString },
    { rdReq: safeHyper, rdBytes: safeHyper, wrReq: safeHyper, wrBytes: safeHyper, errs: safeHyper },
    { acl: ['domain:read'] },
  ),
  domainBlockPeek: call(
    103,
    { dom: nonnullDomain, path: nonnullString, offset: safeUhyper, size: uint, flags: uint },
    { buffer: opaque(limits.domainBlockPeekBuffer) },
    { acl: ['domain:block_read'] },
  ),
  domainGetBlockInfo: call(
    194,
    { dom: nonnullDomain, path: nonnullString, flags: uint },
    { allocation: safeUhyper, capacity: safeUhyper, physical: safeUhyper },
    { acl: ['domain:read'] },
  ),
  domainBlockJobAbort: call(237, { dom: nonnullDomain, path: nonnullString, flags: uint }, null, {
    acl: ['domain:write'],
  }),
  domainGetBlockJobInfo: call(
    238,
    { dom: nonnullDomain, path: nonnullString, flags: uint },
    { found: int, type: int, bandwidth: safeUhyper, cur: safeUhyper, end: safeUhyper },
    { acl: ['domain:read'] },
  ),
  domainBlockJobSetSpeed: call(
    239,
    { dom: nonnullDomain, path: nonnullString, bandwidth: safeUhyper, flags: uint },
    null,
    { acl: ['domain:write'] },
  ),
  domainBlockPull: call(
    240,
    { dom: nonnullDomain, path: nonnullString, bandwidth: safeUhyper, flags: uint },
    null,
    { acl: ['domain:block_write'] },
  ),
  domainBlockStatsFlags: call(
    243,
    { dom: nonnullDomain, path: nonnullString, nparams: int, flags: uint },
    { params: array(typedParam, limits.domainBlockStatsParameters), nparams: int },
    { acl: ['domain:read'] },
  ),
  domainBlockResize: call(
    251,
    { dom: nonnullDomain, disk: nonnullString, size: safeUhyper, flags: uint },
    null,
    { acl: ['domain:block_write'] },
  ),
  domainSetBlockIoTune: call(
    252,
    {
      dom: nonnullDomain,
      disk: nonnullString,
      params: array(typedParam, limits.domainBlockIoTuneParameters),
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
  domainGetBlockIoTune: call(
    253,
    { dom: nonnullDomain, disk: string, nparams: int, flags: uint },
    { params: array(typedParam, limits.domainBlockIoTuneParameters), nparams: int },
    { acl: ['domain:read'] },
  ),
  domainGetDiskErrors: call(
    263,
    { dom: nonnullDomain, maxerrors: uint, flags: uint },
    { errors: array(domainDiskError, limits.domainDiskErrors), nerrors: int },
    { acl: ['domain:read'] },
  ),
  domainBlockRebase: call(
    266,
    { dom: nonnullDomain, path: nonnullString, base: string, bandwidth: safeUhyper, flags: uint },
    null,
    { acl: ['domain:block_write'] },
  ),
  domainBlockCommit: call(
    290,
    {
      dom: nonnullDomain,
      disk: nonnullString,
      base: string,
      top: string,
      bandwidth: safeUhyper,
      flags: uint,
    },
    null,
    { acl: ['domain:block_write'] },
  ),
  domainBlockCopy: call(
    345,
    {
      dom: nonnullDomain,
      path: nonnullString,
      destxml: nonnullString,
      params: array(typedParam, limits.domainBlockCopyParameters),
      flags: uint,
    },
    null,
    { acl: ['domain:block_write'] },
  ),
  domainSetBlockThreshold: call(
    386,
    { dom: nonnullDomain, dev: nonnullString, threshold: safeUhyper, flags: uint },
    null,
    { acl: ['domain:write'] },
  ),
  domainFdAssociate: call(443, { dom: nonnullDomain, name: nonnullString, flags: uint }, null, {
    acl: ['domain:write'],
  }),
  domainSetThrottleGroup: call(
    451,
    {
      dom: nonnullDomain,
      group: nonnullString,
      params: array(typedParam, limits.domainBlockIoTuneParameters),
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
  domainDelThrottleGroup: call(452, { dom: nonnullDomain, group: string, flags: uint }, null, {
    acl: [
      'domain:write',
      'domain:save:!VIR_DOMAIN_AFFECT_CONFIG|VIR_DOMAIN_AFFECT_LIVE',
      'domain:save:VIR_DOMAIN_AFFECT_CONFIG',
    ],
  }),
} as const;
