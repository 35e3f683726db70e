/** Methods of the guest agent onto the domain service. */
import type { Result } from '../../../api/index.ts';
import type { AgentDiskAddress } from '../../../drivers/guest-agent.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { GuestInfo } from '../../services/domain-agent.ts';
import type { DomainService } from '../../services/domain-service.ts';
import { targetAt } from '../../services/guest-disks.ts';
import { domainFinder, type FindDomain } from './find-domain.ts';
import type { Handlers } from './handlers.ts';

type AgentHandlers = Pick<Handlers, Extract<keyof Handlers, `domain.guest.${string}` | 'domain.wake-up'>>;

export function bindAgent(domains: DomainService): AgentHandlers {
  const find = domainFinder(domains);
  return { ...bindTalk(domains, find), ...bindFiles(domains, find), ...bindSystem(domains, find) };
}

/** What the agent says, and what it is told to run. */
function bindTalk(domains: DomainService, find: FindDomain) {
  return {
    'domain.guest.info': async ({ domain, kinds }) => {
      const found = find(domain);
      const info = await domains.agent.info(found, kinds);
      return infoOf(info, found.requireLive('ask the guest agent of').guest.definition);
    },
    'domain.guest.ping': async ({ domain }) => {
      const startMs = performance.now();
      await domains.agent.ping(find(domain));
      return { roundTripMs: performance.now() - startMs };
    },
    'domain.guest.command': async ({ domain, command, arguments: args, timeoutMs }) => ({
      return: await domains.agent.command(find(domain), command, args, { timeoutMs }),
    }),
    'domain.guest.exec': async ({ domain, inputBase64, ...program }, { signal }) => {
      const input = inputBase64 === undefined ? undefined : Buffer.from(inputBase64, 'base64');
      const done = await domains.agent.exec(find(domain), { ...program, input }, signal);
      return {
        pid: done.pid,
        exitCode: done.exitCode ?? null,
        signal: done.signal ?? null,
        stdoutBase64: done.stdout.toString('base64'),
        stderrBase64: done.stderr.toString('base64'),
        truncated: done.isTruncated,
      };
    },
  } satisfies Partial<AgentHandlers>;
}

/** Files of the guest and its file systems. */
function bindFiles(domains: DomainService, find: FindDomain) {
  return {
    'domain.guest.read-file': async ({ domain, path, maxBytes }) => ({
      base64: (await domains.agent.readFile(find(domain), path, maxBytes)).toString('base64'),
    }),
    'domain.guest.write-file': async ({ domain, path, base64, append }) => {
      const bytes = Buffer.from(base64, 'base64');
      await domains.agent.writeFile(find(domain), path, bytes, append);
      return { bytes: bytes.length };
    },
    'domain.guest.freeze': async ({ domain, mountpoints }) => ({
      filesystems: await domains.agent.freeze(find(domain), mountpoints),
    }),
    'domain.guest.thaw': async ({ domain }) => ({ filesystems: await domains.agent.thaw(find(domain)) }),
    'domain.guest.trim': async ({ domain, minimumBytes }) => {
      await domains.agent.trim(find(domain), minimumBytes);
      return {};
    },
  } satisfies Partial<AgentHandlers>;
}

/** The guest's clock, its users, its sleep. */
function bindSystem(domains: DomainService, find: FindDomain) {
  return {
    'domain.guest.get-time': async ({ domain }) => ({
      time: new Date(Number((await domains.agent.timeNs(find(domain))) / 1_000_000n)).toISOString(),
    }),
    'domain.guest.set-time': async ({ domain, time }) => {
      const ns = time === undefined ? undefined : BigInt(Date.parse(time)) * 1_000_000n;
      await domains.agent.setTime(find(domain), ns);
      return {};
    },
    'domain.guest.set-password': async ({ domain, user, password, crypted }) => {
      await domains.agent.setPassword(find(domain), user, password, crypted);
      return {};
    },
    'domain.guest.ssh-keys': async ({ domain, user }) => ({
      keys: await domains.agent.sshKeys(find(domain), user),
    }),
    'domain.guest.set-ssh-keys': async ({ domain, user, keys, how }) => {
      await domains.agent.changeSshKeys(find(domain), user, keys, how);
      return {};
    },
    'domain.guest.suspend': async ({ domain, mode }) => {
      await domains.agent.suspend(find(domain), mode);
      return {};
    },
    'domain.wake-up': async ({ domain }) => {
      await domains.agent.wakeUp(find(domain));
      return {};
    },
  } satisfies Partial<AgentHandlers>;
}

type Info = Result<'domain.guest.info'>;

function infoOf(info: GuestInfo, definition: DomainDef): Info {
  const place = (address: AgentDiskAddress) => ({
    bus: address['bus-type'],
    serial: address.serial ?? null,
    device: address.dev ?? null,
    target: targetAt(definition, address) ?? null,
  });
  return {
    os: osOf(info.os),
    users:
      info.users?.map((user) => ({
        name: user.user,
        domain: user.domain ?? null,
        loginSeconds: user['login-time'],
      })) ?? null,
    timezone:
      info.timezone === undefined
        ? null
        : { name: info.timezone.zone ?? null, offsetSeconds: info.timezone.offset },
    hostname: info.hostname ?? null,
    filesystems:
      info.filesystems?.map((one) => ({
        name: one.name,
        mountpoint: one.mountpoint,
        type: one.type,
        usedBytes: one['used-bytes'] ?? null,
        totalBytes: one['total-bytes'] ?? null,
        disks: one.disk.map(place),
      })) ?? null,
    disks:
      info.disks?.map(({ name, partition, address }) => ({
        name,
        partition,
        place: address === undefined ? null : place(address),
      })) ?? null,
    interfaces:
      info.interfaces?.map(({ name, mac, addresses }) => ({
        name,
        mac: mac ?? null,
        addresses: addresses.map(({ address, prefix }) => ({ address, prefix })),
      })) ?? null,
    missing: [...info.missing],
  };
}

function osOf(os: GuestInfo['os']): Info['os'] {
  if (os === undefined) return null;
  return {
    id: os.id ?? null,
    name: os.name ?? null,
    prettyName: os['pretty-name'] ?? null,
    version: os.version ?? null,
    versionId: os['version-id'] ?? null,
    machine: os.machine ?? null,
    variant: os.variant ?? null,
    kernelRelease: os['kernel-release'] ?? null,
    kernelVersion: os['kernel-version'] ?? null,
  };
}
