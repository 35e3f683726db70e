/** Migration of domains. Arguments and results (remote_protocol.x). */
import { array, int, opaque, safeUhyper, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullDomain, nonnullString, string, typedParam } from './objects.ts';
import { call } from './procedure.ts';

export const domainMigrationProcedures = {
  domainMigratePrepare: call(
    61,
    { uriIn: string, flags: safeUhyper, dname: string, resource: safeUhyper },
    { cookie: opaque(limits.migrateCookie), uriOut: string },
    { acl: ['domain:migrate', 'domain:start', 'domain:write'] },
  ),
  domainMigratePerform: call(
    62,
    {
      dom: nonnullDomain,
      cookie: opaque(limits.migrateCookie),
      uri: nonnullString,
      flags: safeUhyper,
      dname: string,
      resource: safeUhyper,
    },
    null,
    { acl: ['domain:migrate'] },
  ),
  domainMigrateFinish: call(
    63,
    { dname: nonnullString, cookie: opaque(limits.migrateCookie), uri: nonnullString, flags: safeUhyper },
    { ddom: nonnullDomain },
    { acl: ['domain:migrate'] },
  ),
  domainMigratePrepare2: call(
    108,
    { uriIn: string, flags: safeUhyper, dname: string, resource: safeUhyper, domXml: nonnullString },
    { cookie: opaque(limits.migrateCookie), uriOut: string },
    { acl: ['domain:migrate', 'domain:start', 'domain:write'] },
  ),
  domainMigrateFinish2: call(
    109,
    {
      dname: nonnullString,
      cookie: opaque(limits.migrateCookie),
      uri: nonnullString,
      flags: safeUhyper,
      retcode: int,
    },
    { ddom: nonnullDomain },
    { acl: ['domain:migrate'] },
  ),
  domainMigratePrepareTunnel: call(
    148,
    { flags: safeUhyper, dname: string, resource: safeUhyper, domXml: nonnullString },
    null,
    { stream: 'write', acl: ['domain:migrate', 'domain:start', 'domain:write'] },
  ),
  domainMigrateSetMaxDowntime: call(166, { dom: nonnullDomain, downtime: safeUhyper, flags: uint }, null, {
    acl: ['domain:migrate'],
  }),
  domainMigrateSetMaxSpeed: call(207, { dom: nonnullDomain, bandwidth: safeUhyper, flags: uint }, null, {
    acl: ['domain:migrate'],
  }),
  domainMigrateBegin3: call(
    213,
    { dom: nonnullDomain, xmlin: string, flags: safeUhyper, dname: string, resource: safeUhyper },
    { cookieOut: opaque(limits.migrateCookie), xml: nonnullString },
    { acl: ['domain:migrate'] },
  ),
  domainMigratePrepare3: call(
    214,
    {
      cookieIn: opaque(limits.migrateCookie),
      uriIn: string,
      flags: safeUhyper,
      dname: string,
      resource: safeUhyper,
      domXml: nonnullString,
    },
    { cookieOut: opaque(limits.migrateCookie), uriOut: string },
    { acl: ['domain:migrate', 'domain:start', 'domain:write'] },
  ),
  domainMigratePrepareTunnel3: call(
    215,
    {
      cookieIn: opaque(limits.migrateCookie),
      flags: safeUhyper,
      dname: string,
      resource: safeUhyper,
      domXml: nonnullString,
    },
    { cookieOut: opaque(limits.migrateCookie) },
    { stream: 'write', acl: ['domain:migrate', 'domain:start', 'domain:write'] },
  ),
  domainMigratePerform3: call(
    216,
    {
      dom: nonnullDomain,
      xmlin: string,
      cookieIn: opaque(limits.migrateCookie),
      dconnuri: string,
      uri: string,
      flags: safeUhyper,
      dname: string,
      resource: safeUhyper,
    },
    { cookieOut: opaque(limits.migrateCookie) },
    { acl: ['domain:migrate'] },
  ),
  domainMigrateFinish3: call(
    217,
    {
      dname: nonnullString,
      cookieIn: opaque(limits.migrateCookie),
      dconnuri: string,
      uri: string,
      flags: safeUhyper,
      cancelled: int,
    },
    { dom: nonnullDomain, cookieOut: opaque(limits.migrateCookie) },
    { acl: ['domain:migrate'] },
  ),
  domainMigrateConfirm3: call(
    218,
    { dom: nonnullDomain, cookieIn: opaque(limits.migrateCookie), flags: safeUhyper, cancelled: int },
    null,
    { acl: ['domain:migrate'] },
  ),
  domainMigrateGetMaxSpeed: call(
    242,
    { dom: nonnullDomain, flags: uint },
    { bandwidth: safeUhyper },
    { acl: ['domain:migrate'] },
  ),
  domainMigrateGetCompressionCache: call(
    299,
    { dom: nonnullDomain, flags: uint },
    { cacheSize: safeUhyper },
    { acl: ['domain:migrate'] },
  ),
  domainMigrateSetCompressionCache: call(
    300,
    { dom: nonnullDomain, cacheSize: safeUhyper, flags: uint },
    null,
    { acl: ['domain:migrate'] },
  ),
  domainMigrateBegin3Params: call(
    302,
    { dom: nonnullDomain, params: array(typedParam, limits.domainMigrateParamList), flags: uint },
    { cookieOut: opaque(limits.migrateCookie), xml: nonnullString },
    { acl: ['domain:migrate'] },
  ),
  domainMigratePrepare3Params: call(
    303,
    {
      params: array(typedParam, limits.domainMigrateParamList),
      cookieIn: opaque(limits.migrateCookie),
      flags: uint,
    },
    { cookieOut: opaque(limits.migrateCookie), uriOut: string },
    { acl: ['domain:migrate', 'domain:start', 'domain:write'] },
  ),
  domainMigratePrepareTunnel3Params: call(
    304,
    {
      params: array(typedParam, limits.domainMigrateParamList),
      cookieIn: opaque(limits.migrateCookie),
      flags: uint,
    },
    { cookieOut: opaque(limits.migrateCookie) },
    { stream: 'write', acl: ['domain:migrate', 'domain:start', 'domain:write'] },
  ),
  domainMigratePerform3Params: call(
    305,
    {
      dom: nonnullDomain,
      dconnuri: string,
      params: array(typedParam, limits.domainMigrateParamList),
      cookieIn: opaque(limits.migrateCookie),
      flags: uint,
    },
    { cookieOut: opaque(limits.migrateCookie) },
    { acl: ['domain:migrate'] },
  ),
  domainMigrateFinish3Params: call(
    306,
    {
      params: array(typedParam, limits.domainMigrateParamList),
      cookieIn: opaque(limits.migrateCookie),
      flags: uint,
      cancelled: int,
    },
    { dom: nonnullDomain, cookieOut: opaque(limits.migrateCookie) },
    { acl: ['domain:migrate'] },
  ),
  domainMigrateConfirm3Params: call(
    307,
    {
      dom: nonnullDomain,
      params: array(typedParam, limits.domainMigrateParamList),
      cookieIn: opaque(limits.migrateCookie),
      flags: uint,
      cancelled: int,
    },
    null,
    { acl: ['domain:migrate'] },
  ),
  domainMigrateStartPostCopy: call(364, { dom: nonnullDomain, flags: uint }, null, {
    acl: ['domain:migrate'],
  }),
  domainMigrateGetMaxDowntime: call(
    387,
    { dom: nonnullDomain, flags: uint },
    { downtime: safeUhyper },
    { acl: ['domain:migrate'] },
  ),
} as const;
