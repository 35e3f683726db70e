/** What a domain's guest agent and its power management do. Arguments and results (remote_protocol.x). */
import { array, int, safeHyper, safeUhyper, struct, uint } from '../xdr/xdr.ts';
import { limits } from './limits.ts';
import { nonnullDomain, nonnullString, string, typedParam } from './objects.ts';
import { call } from './procedure.ts';

const domainFsinfo = struct({
  mountpoint: nonnullString,
  name: nonnullString,
  fstype: nonnullString,
  devAliases: array(nonnullString, limits.domainFsinfoDisks),
});

const domainIpAddr = struct({ type: int, addr: nonnullString, prefix: uint });

const domainInterface = struct({
  name: nonnullString,
  hwaddr: string,
  addrs: array(domainIpAddr, limits.domainIpAddr),
});

export const domainGuestProcedures = {
  domainPmSuspendForDuration: call(
    261,
    { dom: nonnullDomain, target: uint, duration: safeUhyper, flags: uint },
    null,
    { acl: ['domain:pm_control'] },
  ),
  domainPmWakeup: call(267, { dom: nonnullDomain, flags: uint }, null, { acl: ['domain:pm_control'] }),
  domainGetHostname: call(
    277,
    { dom: nonnullDomain, flags: uint },
    { hostname: nonnullString },
    { acl: ['domain:write'] },
  ),
  domainFstrim: call(
    294,
    { dom: nonnullDomain, mountPoint: string, minimum: safeUhyper, flags: uint },
    null,
    { acl: ['domain:fs_trim'] },
  ),
  domainSendProcessSignal: call(
    295,
    { dom: nonnullDomain, pidValue: safeHyper, signum: uint, flags: uint },
    null,
    { acl: ['domain:send_signal'] },
  ),
  domainFsfreeze: call(
    335,
    { dom: nonnullDomain, mountpoints: array(nonnullString, limits.domainFsfreezeMountpoints), flags: uint },
    { filesystems: int },
    { acl: ['domain:fs_freeze'] },
  ),
  domainFsthaw: call(
    336,
    { dom: nonnullDomain, mountpoints: array(nonnullString, limits.domainFsfreezeMountpoints), flags: uint },
    { filesystems: int },
    { acl: ['domain:fs_freeze'] },
  ),
  domainGetTime: call(
    337,
    { dom: nonnullDomain, flags: uint },
    { seconds: safeHyper, nseconds: uint },
    { acl: ['domain:write'] },
  ),
  domainSetTime: call(338, { dom: nonnullDomain, seconds: safeHyper, nseconds: uint, flags: uint }, null, {
    acl: ['domain:set_time'],
  }),
  domainGetFsinfo: call(
    349,
    { dom: nonnullDomain, flags: uint },
    { info: array(domainFsinfo, limits.domainFsinfo), ret: uint },
    { acl: ['domain:fs_freeze'] },
  ),
  domainInterfaceAddresses: call(
    353,
    { dom: nonnullDomain, source: uint, flags: uint },
    { ifaces: array(domainInterface, limits.domainInterface) },
    { acl: ['domain:read', 'domain:write::source:VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT'] },
  ),
  domainSetUserPassword: call(
    357,
    { dom: nonnullDomain, user: string, password: string, flags: uint },
    null,
    { acl: ['domain:set_password'] },
  ),
  domainGetGuestVcpus: call(
    371,
    { dom: nonnullDomain, flags: uint },
    { params: array(typedParam, limits.domainGuestVcpuParams) },
    { acl: ['domain:write'] },
  ),
  domainSetGuestVcpus: call(
    372,
    { dom: nonnullDomain, cpumap: nonnullString, state: int, flags: uint },
    null,
    { acl: ['domain:write'] },
  ),
  domainGetGuestInfo: call(
    418,
    { dom: nonnullDomain, types: uint, flags: uint },
    { params: array(typedParam, limits.domainGuestInfoParams) },
    { acl: ['domain:write'] },
  ),
  domainAgentSetResponseTimeout: call(
    420,
    { dom: nonnullDomain, timeout: int, flags: uint },
    { result: int },
    { acl: ['domain:write'] },
  ),
  domainAuthorizedSshKeysGet: call(
    424,
    { dom: nonnullDomain, user: nonnullString, flags: uint },
    { keys: array(nonnullString, limits.domainAuthorizedSshKeys) },
    { acl: ['domain:write'] },
  ),
  domainAuthorizedSshKeysSet: call(
    425,
    {
      dom: nonnullDomain,
      user: nonnullString,
      keys: array(nonnullString, limits.domainAuthorizedSshKeys),
      flags: uint,
    },
    null,
    { acl: ['domain:write'] },
  ),
} as const;
