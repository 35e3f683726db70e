/** Checkpoints of domains. Arguments and results (remote_protocol.x). */
import { array, int, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullDomain, nonnullDomainCheckpoint, nonnullString } from './objects.ts';
import { call } from './procedure.ts';

export const checkpointProcedures = {
  domainCheckpointCreateXml: call(
    411,
    { dom: nonnullDomain, xmlDesc: nonnullString, flags: uint },
    { checkpoint: nonnullDomainCheckpoint },
    { acl: ['domain:checkpoint', 'domain:fs_freeze:VIR_DOMAIN_CHECKPOINT_CREATE_QUIESCE'] },
  ),
  domainCheckpointGetXmlDesc: call(
    412,
    { checkpoint: nonnullDomainCheckpoint, flags: uint },
    { xml: nonnullString },
    { acl: ['domain:read', 'domain:read_secure:VIR_DOMAIN_CHECKPOINT_XML_SECURE'] },
  ),
  domainListAllCheckpoints: call(
    413,
    { dom: nonnullDomain, needResults: int, flags: uint },
    { checkpoints: array(nonnullDomainCheckpoint, limits.domainCheckpointList), ret: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainCheckpointListAllChildren: call(
    414,
    { checkpoint: nonnullDomainCheckpoint, needResults: int, flags: uint },
    { checkpoints: array(nonnullDomainCheckpoint, limits.domainCheckpointList), ret: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainCheckpointLookupByName: call(
    415,
    { dom: nonnullDomain, name: nonnullString, flags: uint },
    { checkpoint: nonnullDomainCheckpoint },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainCheckpointGetParent: call(
    416,
    { checkpoint: nonnullDomainCheckpoint, flags: uint },
    { parent: nonnullDomainCheckpoint },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainCheckpointDelete: call(417, { checkpoint: nonnullDomainCheckpoint, flags: uint }, null, {
    acl: ['domain:checkpoint'],
  }),
} as const;
