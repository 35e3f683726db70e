/** Snapshots of domains. Arguments and results (remote_protocol.x). */
import { array, int, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullDomain, nonnullDomainSnapshot, nonnullString } from './objects.ts';
import { call } from './procedure.ts';

export const snapshotProcedures = {
  domainSnapshotCreateXml: call(
    185,
    { dom: nonnullDomain, xmlDesc: nonnullString, flags: uint },
    { snap: nonnullDomainSnapshot },
    { acl: ['domain:snapshot', 'domain:fs_freeze:VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE'] },
  ),
  domainSnapshotGetXmlDesc: call(
    186,
    { snap: nonnullDomainSnapshot, flags: uint },
    { xml: nonnullString },
    { priority: 'high', acl: ['domain:read', 'domain:read_secure:VIR_DOMAIN_SNAPSHOT_XML_SECURE'] },
  ),
  domainSnapshotNum: call(
    187,
    { dom: nonnullDomain, flags: uint },
    { num: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainSnapshotListNames: call(
    188,
    { dom: nonnullDomain, maxnames: int, flags: uint },
    { names: array(nonnullString, limits.domainSnapshotList) },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainSnapshotLookupByName: call(
    189,
    { dom: nonnullDomain, name: nonnullString, flags: uint },
    { snap: nonnullDomainSnapshot },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainHasCurrentSnapshot: call(
    190,
    { dom: nonnullDomain, flags: uint },
    { result: int },
    { acl: ['domain:read'] },
  ),
  domainSnapshotCurrent: call(
    191,
    { dom: nonnullDomain, flags: uint },
    { snap: nonnullDomainSnapshot },
    { acl: ['domain:read'] },
  ),
  domainRevertToSnapshot: call(192, { snap: nonnullDomainSnapshot, flags: uint }, null, {
    acl: ['domain:snapshot'],
  }),
  domainSnapshotDelete: call(193, { snap: nonnullDomainSnapshot, flags: uint }, null, {
    acl: ['domain:snapshot'],
  }),
  domainSnapshotGetParent: call(
    244,
    { snap: nonnullDomainSnapshot, flags: uint },
    { snap: nonnullDomainSnapshot },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainSnapshotNumChildren: call(
    246,
    { snap: nonnullDomainSnapshot, flags: uint },
    { num: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainSnapshotListChildrenNames: call(
    247,
    { snap: nonnullDomainSnapshot, maxnames: int, flags: uint },
    { names: array(nonnullString, limits.domainSnapshotList) },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainSnapshotIsCurrent: call(
    271,
    { snap: nonnullDomainSnapshot, flags: uint },
    { current: int },
    { acl: ['domain:read'] },
  ),
  domainSnapshotHasMetadata: call(
    272,
    { snap: nonnullDomainSnapshot, flags: uint },
    { metadata: int },
    { acl: ['domain:read'] },
  ),
  domainListAllSnapshots: call(
    274,
    { dom: nonnullDomain, needResults: int, flags: uint },
    { snapshots: array(nonnullDomainSnapshot, limits.domainSnapshotList), ret: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
  domainSnapshotListAllChildren: call(
    275,
    { snapshot: nonnullDomainSnapshot, needResults: int, flags: uint },
    { snapshots: array(nonnullDomainSnapshot, limits.domainSnapshotList), ret: int },
    { priority: 'high', acl: ['domain:read'] },
  ),
} as const;
