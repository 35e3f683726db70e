/** What the guest agent does for clients of libvirt's protocol, and sleeping and waking. */

import type { AgentDiskAddress, AgentFileSystem } from '../../../../drivers/guest-agent.ts';
import { errorNumber, LibvirtError } from '../../../../libvirt/errors.ts';
import type { TypedParam } from '../../../../libvirt/protocol/objects.ts';
import { formatCpuset } from '../../../../model/domain/cpuset.ts';
import type { DomainDef } from '../../../../model/domain/domain.ts';
import type { Domain } from '../../../services/domain.ts';
import type { GuestInfo, GuestInfoKind } from '../../../services/domain-agent.ts';
import { targetAt } from '../../../services/guest-disks.ts';
import type { Engine, RemoteHandlers } from '../context.ts';
import { big, bool, int, text, toNumber, uint } from './params.ts';
import { checkFlags, cpusIn, domainOf, invalid } from './support.ts';

/** virNodeSuspendTarget. */
const suspendTargets = ['ram', 'disk', 'hybrid'] as const;
const SYNC_TIME = 1;
const ENCRYPTED = 1;
const sshFlag = { append: 1, remove: 2 } as const;
/** virDomainGetHostnameFlags. */
const nameFlag = { lease: 1, agent: 2 } as const;
/** virDomainGuestInfoTypes. */
const infoTypes = {
  users: 1,
  os: 2,
  timezone: 4,
  hostname: 8,
  filesystems: 16,
  disks: 32,
  interfaces: 64,
} as const satisfies Record<GuestInfoKind, number>;
/** "For ever" as we take it: nobody's guest agent needs longer, and nothing here waits without end. */
const LONG_SECONDS = 600;

/** virDomainAgentResponseTimeoutValues: -2 as long as it takes, -1 the usual time, 0 as good as not. */
export function agentSeconds(timeout: number): number | undefined {
  if (timeout < -2) throw invalid(`guest agent timeout '${timeout}' is less than the minimum '-2'`);
  if (timeout === -1) return undefined;
  return timeout === -2 ? LONG_SECONDS : Math.min(timeout, LONG_SECONDS);
}

export function domainGuestHandlers(engine: Engine) {
  return {
    ...power(engine),
    ...fileSystems(engine),
    ...users(engine),
    ...guestCpus(engine),
    ...guestFacts(engine),
  } satisfies RemoteHandlers;
}

/** A domain whose guest can be asked. @throws LibvirtError, VirtError domain.inactive */
function runningOf(engine: Engine, dom: Parameters<typeof domainOf>[1]): Domain {
  const domain = domainOf(engine, dom);
  domain.requireLive('ask the guest agent of');
  return domain;
}

/** Sleep and waking up, and the clock. */
function power(engine: Engine) {
  const { agent } = engine.domains;
  return {
    domainPmSuspendForDuration: async ({ dom, target, duration, flags }, call) => {
      checkFlags(flags, 0, call);
      if (duration !== 0)
        throw new LibvirtError(errorNumber.argumentUnsupported, 'Duration not supported. Use 0 for now');
      const mode = suspendTargets[target];
      if (mode === undefined)
        throw new LibvirtError(errorNumber.argumentUnsupported, `Unknown suspend target: ${target}`);
      await agent.suspend(runningOf(engine, dom), mode);
    },
    domainPmWakeup: async ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      await agent.wakeUp(runningOf(engine, dom));
    },
    domainGetTime: async ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      const ns = await agent.timeNs(runningOf(engine, dom));
      return { seconds: Number(ns / 1_000_000_000n), nseconds: Number(ns % 1_000_000_000n) };
    },
    domainSetTime: async ({ dom, seconds, nseconds, flags }, call) => {
      checkFlags(flags, SYNC_TIME, call);
      if (nseconds > 999_999_999) throw invalid('nseconds must be less than 1000000000');
      const ns = BigInt(seconds) * 1_000_000_000n + BigInt(nseconds);
      await agent.setTime(runningOf(engine, dom), (flags & SYNC_TIME) === 0 ? ns : undefined);
    },
  } satisfies RemoteHandlers;
}

function fileSystems(engine: Engine) {
  const { agent } = engine.domains;
  return {
    domainFstrim: async ({ dom, mountPoint, minimum, flags }, call) => {
      checkFlags(flags, 0, call);
      if (mountPoint !== null)
        throw new LibvirtError(
          errorNumber.argumentUnsupported,
          'Specifying mount point is not supported for now',
        );
      await agent.trim(runningOf(engine, dom), toNumber('minimum', minimum));
    },
    domainFsfreeze: async ({ dom, mountpoints, flags }, call) => {
      checkFlags(flags, 0, call);
      const chosen = mountpoints.length === 0 ? undefined : mountpoints;
      return { filesystems: await agent.freeze(runningOf(engine, dom), chosen) };
    },
    domainFsthaw: async ({ dom, mountpoints, flags }, call) => {
      checkFlags(flags, 0, call);
      if (mountpoints.length > 0)
        throw new LibvirtError(errorNumber.argumentUnsupported, 'specifying mountpoints is not supported');
      return { filesystems: await agent.thaw(runningOf(engine, dom)) };
    },
    domainGetFsinfo: async ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = runningOf(engine, dom);
      const { definition } = domain.requireLive('ask the guest agent of').guest;
      const info = (await agent.fileSystems(domain)).map((one) => ({
        mountpoint: one.mountpoint,
        name: one.name,
        fstype: one.type,
        devAliases: one.disk.flatMap((address) => targetAt(definition, address) ?? []),
      }));
      return { info, ret: info.length };
    },
  } satisfies RemoteHandlers;
}

function users(engine: Engine) {
  const { agent } = engine.domains;
  return {
    domainSetUserPassword: async ({ dom, user, password, flags }, call) => {
      checkFlags(flags, ENCRYPTED, call);
      if (user === null || password === null) throw invalid('user and password must not be NULL');
      await agent.setPassword(runningOf(engine, dom), user, password, (flags & ENCRYPTED) !== 0);
    },
    domainAuthorizedSshKeysGet: async ({ dom, user, flags }, call) => {
      checkFlags(flags, 0, call);
      return { keys: await agent.sshKeys(runningOf(engine, dom), user) };
    },
    domainAuthorizedSshKeysSet: async ({ dom, user, keys, flags }, call) => {
      checkFlags(flags, sshFlag.append | sshFlag.remove, call);
      if (flags === (sshFlag.append | sshFlag.remove)) throw invalid('append and remove exclude each other');
      const how =
        (flags & sshFlag.append) !== 0 ? 'append' : (flags & sshFlag.remove) !== 0 ? 'remove' : 'set';
      await agent.changeSshKeys(runningOf(engine, dom), user, keys, how);
    },
  } satisfies RemoteHandlers;
}

function guestCpus(engine: Engine) {
  const { agent } = engine.domains;
  return {
    domainGetGuestVcpus: async ({ dom, flags }, call) => {
      checkFlags(flags, 0, call);
      const cpus = await agent.cpus(runningOf(engine, dom));
      const ids = (keep: (cpu: (typeof cpus)[number]) => boolean) =>
        formatCpuset(cpus.filter(keep).map((cpu) => cpu['logical-id']));
      return {
        params: [
          text(
            'vcpus',
            ids(() => true),
          ),
          text(
            'online',
            ids((cpu) => cpu.online),
          ),
          text(
            'offlinable',
            ids((cpu) => cpu['can-offline']),
          ),
        ],
      };
    },
    domainSetGuestVcpus: async ({ dom, cpumap, state, flags }, call) => {
      checkFlags(flags, 0, call);
      if (state !== 0 && state !== 1) throw invalid('unsupported state value');
      await agent.setCpus(runningOf(engine, dom), cpusIn(cpumap), state === 1);
    },
  } satisfies RemoteHandlers;
}

/** What the agent knows, and how long it is waited for. */
function guestFacts(engine: Engine) {
  const { agent } = engine.domains;
  return {
    domainGetHostname: async ({ dom, flags }, call) => {
      checkFlags(flags, nameFlag.lease | nameFlag.agent, call);
      const domain = runningOf(engine, dom);
      if ((flags & nameFlag.lease) !== 0) return { hostname: await leasedName(engine, domain) };
      return { hostname: await agent.hostName(domain) };
    },
    domainGetGuestInfo: async ({ dom, types, flags }, call) => {
      checkFlags(flags, 0, call);
      const domain = runningOf(engine, dom);
      const known = Object.values(infoTypes).reduce((all, bit) => all | bit, 0);
      if ((types & ~known) !== 0 && (types & known) === 0)
        throw new LibvirtError(
          errorNumber.operationUnsupported,
          `unsupported guest information types '0x${types.toString(16)}'`,
        );
      const kinds = (Object.keys(infoTypes) as GuestInfoKind[]).filter(
        (kind) => (types & infoTypes[kind]) !== 0,
      );
      const info = await agent.info(domain, types === 0 ? undefined : kinds);
      return { params: infoParams(info, domain.requireLive('ask the guest agent of').guest.definition) };
    },
    domainAgentSetResponseTimeout: ({ dom, timeout, flags }, call) => {
      checkFlags(flags, 0, call);
      agent.setResponseTimeout(domainOf(engine, dom), agentSeconds(timeout));
      return { result: 0 };
    },
  } satisfies RemoteHandlers;
}

/** The name that the guest gave to DHCP. */
async function leasedName(engine: Engine, domain: Domain): Promise<string> {
  const { interfaces } = await engine.domains.addresses.find(domain, ['lease']);
  const name = interfaces
    .flatMap(({ addresses }) => addresses)
    .find((one) => one.hostName !== undefined)?.hostName;
  if (name === undefined)
    throw new LibvirtError(errorNumber.noHostname, `no hostname found for domain ${domain.name}`);
  return name;
}

function infoParams(info: GuestInfo, definition: DomainDef): TypedParam[] {
  return [
    ...userParams(info.users),
    ...osParams(info.os),
    ...(info.timezone === undefined
      ? []
      : [
          ...(info.timezone.zone === undefined ? [] : [text('timezone.name', info.timezone.zone)]),
          int('timezone.offset', info.timezone.offset),
        ]),
    ...(info.hostname === undefined ? [] : [text('hostname', info.hostname)]),
    ...fileSystemParams(info.filesystems, definition),
    ...diskParams(info.disks, definition),
    ...interfaceParams(info.interfaces),
  ];
}

function userParams(users: GuestInfo['users']): TypedParam[] {
  if (users === undefined) return [];
  return [
    uint('user.count', users.length),
    ...users.flatMap((user, index) => [
      text(`user.${index}.name`, user.user),
      ...(user.domain === undefined ? [] : [text(`user.${index}.domain`, user.domain)]),
      big(`user.${index}.login-time`, Math.max(0, Math.floor(user['login-time'] * 1000))),
    ]),
  ];
}

const osNames = [
  'id',
  'name',
  'pretty-name',
  'version',
  'version-id',
  'machine',
  'variant',
  'variant-id',
  'kernel-release',
  'kernel-version',
] as const;

function osParams(os: GuestInfo['os']): TypedParam[] {
  return osNames.flatMap((name) => {
    const value = os?.[name];
    return value === undefined ? [] : [text(`os.${name}`, value)];
  });
}

function fileSystemParams(all: readonly AgentFileSystem[] | undefined, definition: DomainDef): TypedParam[] {
  if (all === undefined) return [];
  return [
    uint('fs.count', all.length),
    ...all.flatMap((one, index) => {
      const total = one['total-bytes'];
      const used = one['used-bytes'];
      return [
        text(`fs.${index}.name`, one.name),
        text(`fs.${index}.mountpoint`, one.mountpoint),
        text(`fs.${index}.fstype`, one.type),
        ...(total === undefined ? [] : [big(`fs.${index}.total-bytes`, total)]),
        ...(used === undefined ? [] : [big(`fs.${index}.used-bytes`, used)]),
        uint(`fs.${index}.disk.count`, one.disk.length),
        ...one.disk.flatMap((disk, number) => placeParams(`fs.${index}.disk.${number}`, disk, definition)),
      ];
    }),
  ];
}

function placeParams(prefix: string, place: AgentDiskAddress, definition: DomainDef): TypedParam[] {
  const alias = targetAt(definition, place);
  return [
    ...(alias === undefined ? [] : [text(`${prefix}.alias`, alias)]),
    ...(place.serial === undefined ? [] : [text(`${prefix}.serial`, place.serial)]),
    ...(place.dev === undefined ? [] : [text(`${prefix}.device`, place.dev)]),
  ];
}

function diskParams(disks: GuestInfo['disks'], definition: DomainDef): TypedParam[] {
  if (disks === undefined) return [];
  return [
    uint('disk.count', disks.length),
    ...disks.flatMap((disk, index) => {
      const prefix = `disk.${index}`;
      const { dependencies = [], address } = disk;
      const alias = address && targetAt(definition, address);
      return [
        text(`${prefix}.name`, disk.name),
        bool(`${prefix}.partition`, disk.partition),
        ...(dependencies.length === 0 ? [] : [uint(`${prefix}.dependency.count`, dependencies.length)]),
        ...dependencies.map((name, number) => text(`${prefix}.dependency.${number}.name`, name)),
        ...(address?.serial === undefined ? [] : [text(`${prefix}.serial`, address.serial)]),
        ...(alias === undefined ? [] : [text(`${prefix}.alias`, alias)]),
        ...(disk.alias === undefined ? [] : [text(`${prefix}.guest_alias`, disk.alias)]),
        ...(address === undefined ? [] : [text(`${prefix}.guest_bus`, address['bus-type'])]),
      ];
    }),
  ];
}

function interfaceParams(all: GuestInfo['interfaces']): TypedParam[] {
  if (all === undefined) return [];
  return [
    uint('if.count', all.length),
    ...all.flatMap((one, index) => {
      const prefix = `if.${index}`;
      return [
        text(`${prefix}.name`, one.name),
        ...(one.mac === undefined ? [] : [text(`${prefix}.hwaddr`, one.mac)]),
        ...(one.addresses.length === 0 ? [] : [uint(`${prefix}.addr.count`, one.addresses.length)]),
        ...one.addresses.flatMap(({ family, address, prefix: length }, number) => [
          text(`${prefix}.addr.${number}.type`, `ipv${family}`),
          text(`${prefix}.addr.${number}.addr`, address),
          uint(`${prefix}.addr.${number}.prefix`, length),
        ]),
      ];
    }),
  ];
}
