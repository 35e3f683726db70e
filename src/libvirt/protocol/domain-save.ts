/** Saved state, dumps, jobs and backups of domains. Arguments and results (remote_protocol.x). */
import { array, int, safeUhyper, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullDomain, nonnullString, string, typedParam } from './objects.ts';
import { call } from './procedure.ts';

export const domainSaveProcedures = {
  domainCoreDump: call(53, { dom: nonnullDomain, to: nonnullString, flags: uint }, null, {
    acl: ['domain:core_dump'],
  }),
  domainRestore: call(54, { from: nonnullString }, null, { acl: ['domain:start', 'domain:write'] }),
  domainSave: call(55, { dom: nonnullDomain, to: nonnullString }, null, { acl: ['domain:hibernate'] }),
  domainGetJobInfo: call(
    163,
    { dom: nonnullDomain },
    {
      type: int,
      timeElapsed: safeUhyper,
      timeRemaining: safeUhyper,
      dataTotal: safeUhyper,
      dataProcessed: safeUhyper,
      dataRemaining: safeUhyper,
      memTotal: safeUhyper,
      memProcessed: safeUhyper,
      memRemaining: safeUhyper,
      fileTotal: safeUhyper,
      fileProcessed: safeUhyper,
      fileRemaining: safeUhyper,
    },
    { acl: ['domain:read'] },
  ),
  domainAbortJob: call(164, { dom: nonnullDomain }, null, { acl: ['domain:write'] }),
  domainManagedSave: call(182, { dom: nonnullDomain, flags: uint }, null, { acl: ['domain:hibernate'] }),
  domainHasManagedSaveImage: call(
    183,
    { dom: nonnullDomain, flags: uint },
    { result: int },
    { acl: ['domain:read'] },
  ),
  domainManagedSaveRemove: call(184, { dom: nonnullDomain, flags: uint }, null, {
    acl: ['domain:hibernate'],
  }),
  domainSaveFlags: call(232, { dom: nonnullDomain, to: nonnullString, dxml: string, flags: uint }, null, {
    acl: ['domain:hibernate'],
  }),
  domainRestoreFlags: call(233, { from: nonnullString, dxml: string, flags: uint }, null, {
    acl: ['domain:start', 'domain:write'],
  }),
  domainSaveImageGetXmlDesc: call(
    235,
    { file: nonnullString, flags: uint },
    { xml: nonnullString },
    { priority: 'high', acl: ['domain:write'] },
  ),
  domainSaveImageDefineXml: call(236, { file: nonnullString, dxml: nonnullString, flags: uint }, null, {
    priority: 'high',
    acl: ['domain:write', 'domain:hibernate'],
  }),
  domainGetJobStats: call(
    298,
    { dom: nonnullDomain, flags: uint },
    { type: int, params: array(typedParam, limits.domainJobStats) },
    { acl: ['domain:read'] },
  ),
  domainCoreDumpWithFormat: call(
    334,
    { dom: nonnullDomain, to: nonnullString, dumpformat: uint, flags: uint },
    null,
    { acl: ['domain:core_dump'] },
  ),
  domainManagedSaveGetXmlDesc: call(
    388,
    { dom: nonnullDomain, flags: uint },
    { xml: nonnullString },
    { acl: ['domain:read', 'domain:read_secure:VIR_DOMAIN_SAVE_IMAGE_XML_SECURE'] },
  ),
  domainManagedSaveDefineXml: call(389, { dom: nonnullDomain, dxml: string, flags: uint }, null, {
    acl: ['domain:write', 'domain:hibernate'],
  }),
  domainBackupBegin: call(
    421,
    { dom: nonnullDomain, backupXml: nonnullString, checkpointXml: string, flags: uint },
    null,
    { acl: ['domain:checkpoint', 'domain:block_write'] },
  ),
  domainBackupGetXmlDesc: call(
    422,
    { dom: nonnullDomain, flags: uint },
    { xml: nonnullString },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainSaveParams: call(
    440,
    { dom: nonnullDomain, params: array(typedParam, limits.domainSaveParams), flags: uint },
    null,
    { acl: ['domain:hibernate'] },
  ),
  domainRestoreParams: call(441, { params: array(typedParam, limits.domainSaveParams), flags: uint }, null, {
    acl: ['domain:start', 'domain:write'],
  }),
  domainAbortJobFlags: call(442, { dom: nonnullDomain, flags: uint }, null, { acl: ['domain:write'] }),
} as const;
