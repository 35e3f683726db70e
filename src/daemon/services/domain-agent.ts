/**
 * What the guest agent does for us. Nothing here takes the domain's job: a guest may take its time, or lie, and holds up
 * nobody but whoever asked. What it tells is data of a stranger.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isVirtError, VirtError } from '../../base/errors.ts';
import type { AgentInterface } from '../../drivers/driver.ts';
import type {
  AgentAskOptions,
  AgentCpu,
  AgentDisk,
  AgentFileSystem,
  AgentOs,
  AgentProgram,
  AgentTimezone,
  AgentUser,
  GuestAgent,
} from '../../drivers/guest-agent.ts';
import type { Domain } from './domain.ts';
import type { DomainWorld } from './world.ts';

/** The first look at a program in the guest, and the longest pause between two. */
const FIRST_LOOK_MS = 20;
const LOOK_AGAIN_MS = 500;

export const guestInfoKinds = [
  'os',
  'users',
  'timezone',
  'hostname',
  'filesystems',
  'disks',
  'interfaces',
] as const;
export type GuestInfoKind = (typeof guestInfoKinds)[number];

/** What the guest tells of itself; a part is missing where it was not asked for, or the agent does not know it. */
export interface GuestInfo {
  readonly os?: AgentOs;
  readonly users?: readonly AgentUser[];
  readonly timezone?: AgentTimezone;
  readonly hostname?: string;
  readonly filesystems?: readonly AgentFileSystem[];
  readonly disks?: readonly AgentDisk[];
  readonly interfaces?: readonly AgentInterface[];
  /** Parts that the agent could not tell, and why. */
  readonly missing: readonly { readonly what: GuestInfoKind; readonly reason: string }[];
}

/** A program to be run in the guest, without a shell. */
export interface GuestProgram {
  readonly path: string;
  readonly args: readonly string[];
  readonly environment?: readonly string[] | undefined;
  readonly input?: Buffer | undefined;
  readonly timeoutMs: number;
}

export class DomainAgent {
  private readonly world: DomainWorld;
  /** How long answers may take, by domain, where a client has said so. */
  private readonly timeouts = new WeakMap<Domain, number>();

  constructor(world: DomainWorld) {
    this.world = world;
  }

  private of(domain: Domain): GuestAgent {
    return domain.requireLive('ask the guest agent of').guest.agent;
  }

  /** Seconds that a raw command waits for its answer; undefined: 5. Kept while the domain is known. */
  setResponseTimeout(domain: Domain, seconds: number | undefined): void {
    if (seconds === undefined) this.timeouts.delete(domain);
    else this.timeouts.set(domain, seconds * 1000);
  }

  /** @throws VirtError agent.missing, agent.unresponsive */
  async ping(domain: Domain): Promise<void> {
    await domain.requireLive('ask the guest agent of').guest.agentPing();
  }

  /** Any command, as it is. @throws VirtError agent.*, operation.failed when the agent refuses */
  command(
    domain: Domain,
    command: string,
    args: Readonly<Record<string, unknown>> | undefined,
    options: AgentAskOptions = {},
  ): Promise<unknown> {
    this.world.log.warn({ domain: domain.name, command }, 'a client sent a raw command to the guest agent');
    const timeoutMs = options.timeoutMs ?? this.timeouts.get(domain);
    return this.of(domain).command(command, args, {
      ...options,
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
  }

  /**
   * What the guest tells of itself. Parts that its agent does not know are named, unless all were asked for by name.
   * @throws VirtError agent.missing, agent.unresponsive; operation.failed when a part that was asked for cannot be had
   */
  async info(domain: Domain, kinds: readonly GuestInfoKind[] | undefined): Promise<GuestInfo> {
    const found: Partial<Record<GuestInfoKind, unknown>> = {};
    const missing: { what: GuestInfoKind; reason: string }[] = [];
    for (const what of kinds ?? guestInfoKinds) {
      try {
        found[what] = await this.part(domain, what);
      } catch (error) {
        if (kinds !== undefined || !isVirtError(error, 'operation.failed')) throw error;
        missing.push({ what, reason: error.reason });
      }
    }
    return { ...found, missing } as GuestInfo;
  }

  private part(domain: Domain, what: GuestInfoKind): Promise<unknown> {
    const agent = this.of(domain);
    switch (what) {
      case 'os':
        return agent.osInfo();
      case 'users':
        return agent.users();
      case 'timezone':
        return agent.timezone();
      case 'hostname':
        return agent.hostName();
      case 'filesystems':
        return agent.fileSystems();
      case 'disks':
        return agent.disks();
      case 'interfaces':
        return domain.requireLive('ask the guest agent of').guest.agentInterfaces();
    }
  }

  hostName(domain: Domain): Promise<string> {
    return this.of(domain).hostName();
  }

  fileSystems(domain: Domain): Promise<AgentFileSystem[]> {
    return this.of(domain).fileSystems();
  }

  /** How many file systems stand still. Until `thaw`: whoever freezes sees to that. */
  freeze(domain: Domain, mountpoints: readonly string[] | undefined): Promise<number> {
    return this.of(domain).freeze(mountpoints);
  }

  thaw(domain: Domain): Promise<number> {
    return this.of(domain).thaw();
  }

  async trim(domain: Domain, minimum: number): Promise<void> {
    await this.of(domain).trim(minimum);
  }

  timeNs(domain: Domain): Promise<bigint> {
    return this.of(domain).timeNs();
  }

  /** Sets the guest's clock; without a time, from its hardware clock. */
  async setTime(domain: Domain, ns: bigint | undefined): Promise<void> {
    await this.of(domain).setTime(ns);
  }

  async setPassword(domain: Domain, user: string, password: string, isCrypted: boolean): Promise<void> {
    await this.of(domain).setPassword(user, password, isCrypted);
  }

  sshKeys(domain: Domain, user: string): Promise<string[]> {
    return this.of(domain).sshKeys(user);
  }

  async changeSshKeys(
    domain: Domain,
    user: string,
    keys: readonly string[],
    how: 'set' | 'append' | 'remove',
  ): Promise<void> {
    const agent = this.of(domain);
    if (how === 'remove') await agent.removeSshKeys(user, keys);
    else await agent.addSshKeys(user, keys, how === 'set');
  }

  cpus(domain: Domain): Promise<AgentCpu[]> {
    return this.of(domain).cpus();
  }

  /** Has the guest use exactly these CPUs, or not. @throws VirtError request.invalid, operation.failed */
  async setCpus(domain: Domain, ids: readonly number[], online: boolean): Promise<void> {
    const known = await this.cpus(domain);
    const wanted = `switch CPUs inside domain '${domain.name}'`;
    for (const id of ids) {
      const cpu = known.find((one) => one['logical-id'] === id);
      if (cpu === undefined)
        throw new VirtError('request.invalid', { wanted, reason: `guest vCPU '${id}' is not present` });
      if (!online && !cpu['can-offline'])
        throw new VirtError('request.invalid', {
          wanted,
          reason: `guest vCPU '${id}' cannot be taken offline`,
        });
    }
    const done = await this.of(domain).setCpus(ids.map((id) => ({ id, online })));
    if (done !== ids.length)
      throw new VirtError('operation.failed', { wanted, reason: `the guest did ${done} of ${ids.length}` });
  }

  /** As many CPUs online inside as wanted: the last ones go first, the first ones come first. */
  async setCpuCount(domain: Domain, count: number): Promise<void> {
    const known = (await this.cpus(domain)).toSorted((a, b) => a['logical-id'] - b['logical-id']);
    const wanted = `use ${count} CPUs inside domain '${domain.name}'`;
    if (count < 1 || count > known.length)
      throw new VirtError('request.invalid', {
        wanted,
        reason: `requested vcpus is greater than max allowable vcpus for the domain: ${count} > ${known.length}`,
      });
    const online = known.filter((cpu) => cpu.online).length;
    const more = known.filter((cpu) => !cpu.online).slice(0, Math.max(0, count - online));
    const fewer = known
      .filter((cpu) => cpu.online && cpu['can-offline'])
      .toReversed()
      .slice(0, Math.max(0, online - count));
    const changes = [
      ...more.map((cpu) => ({ id: cpu['logical-id'], online: true })),
      ...fewer.map((cpu) => ({ id: cpu['logical-id'], online: false })),
    ];
    if (more.length - fewer.length !== count - online)
      throw new VirtError('operation.failed', { wanted, reason: 'the guest cannot take so many offline' });
    if (changes.length > 0) await this.of(domain).setCpus(changes);
  }

  /** Has the guest go to sleep; returns when its agent has taken the request. */
  async suspend(domain: Domain, mode: 'ram' | 'disk' | 'hybrid'): Promise<void> {
    await this.of(domain).suspend(mode);
  }

  /** Wakes a guest that sleeps. @throws VirtError domain.state */
  async wakeUp(domain: Domain): Promise<void> {
    const { guest } = domain.requireLive('wake up');
    if (domain.state.state !== 'pmsuspended')
      throw new VirtError('domain.state', {
        wanted: `wake up domain '${domain.name}'`,
        reason: 'it does not sleep',
      });
    await guest.tuning.wakeUp();
  }

  /**
   * Runs a program in the guest and waits for its end. When `signal` is aborted, or the time is up, we stop waiting; the
   * program goes on, as the agent cannot end one.
   * @throws VirtError operation.timeout (details.pid), operation.aborted, operation.failed when it cannot be started
   */
  async exec(
    domain: Domain,
    program: GuestProgram,
    signal: AbortSignal,
  ): Promise<AgentProgram & { readonly pid: number }> {
    const agent = this.of(domain);
    const { path, args, environment, input, timeoutMs } = program;
    const deadline = performance.now() + timeoutMs;
    const pid = await agent.exec({
      path,
      args,
      capture: true,
      ...(environment && { environment }),
      ...(input && { input }),
    });
    for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(LOOK_AGAIN_MS, pauseMs * 2)) {
      const state = await agent.execStatus(pid).catch((error: unknown) => {
        // It runs all the same: a busy guest may answer the next time.
        if (!isVirtError(error, 'agent.unresponsive') || performance.now() > deadline) throw error;
        return undefined;
      });
      if (state?.hasExited) return { ...state, pid };
      const wanted = `run ${path} in domain '${domain.name}'`;
      if (performance.now() > deadline)
        throw new VirtError('operation.timeout', {
          wanted,
          reason: `it did not end within ${timeoutMs} ms and goes on as process ${pid} of the guest`,
          details: { pid },
        });
      await sleep(pauseMs, undefined, { signal }).catch(() => {
        throw new VirtError('operation.aborted', {
          wanted,
          reason: `nobody waits for process ${pid} any more`,
        });
      });
    }
  }

  readFile(domain: Domain, path: string, maxBytes: number): Promise<Buffer> {
    return this.of(domain).readFile(path, maxBytes);
  }

  async writeFile(domain: Domain, path: string, bytes: Buffer, append: boolean): Promise<void> {
    await this.of(domain).writeFile(path, bytes, append);
  }
}
