/**
 * Shares and limits of a whole guest by control groups: version 2 (Documentation/admin-guide/cgroup-v2.rst), or version 1
 * (.../cgroup-v1/) where that is all there is. Each guest gets a group of its own only when its definition asks for one:
 * inside its scope where systemd has made it one, else below `vireo` at the top.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, reasonOf, VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { type DeviceLimit, deviceLines, deviceNumber } from './device-limits.ts';
import { scopeIn } from './scopes.ts';
import { type Bandwidth, type ThreadGroup, type ThreadLimits, threadGroups } from './thread-groups.ts';
import type { GuestThreads } from './threads.ts';

/** What can be set of a group; a name here is a path of the definition. */
export interface GroupLimits {
  readonly 'cputune.shares'?: number | undefined;
  readonly 'cputune.global_period'?: number | undefined;
  readonly 'cputune.global_quota'?: number | undefined;
  readonly 'memtune.hard_limit'?: number | undefined;
  readonly 'memtune.soft_limit'?: number | undefined;
  readonly 'memtune.swap_hard_limit'?: number | undefined;
  readonly 'blkiotune.weight'?: number | undefined;
}
export type GroupLimit = keyof GroupLimits;

const LEAVE_MS = 1000;
const LOOK_AGAIN_MS = 20;

/** The value of a limit that a guest's group has and is to have no more. */
export const LIFTED = Number.POSITIVE_INFINITY;

/** One file of a group: the controller that has it, and what is written. Of several files the first that is there. */
interface Setting {
  readonly controller: string;
  readonly files: readonly string[];
  readonly value: string;
}

const bytes = (kib: number, unlimited: string) => (kib === LIFTED ? unlimited : String(kib * 1024));
/** The number, or the kernel's default. */
const orDefault = (value: number, ofKernel: number) => String(value === LIFTED ? ofKernel : value);

/** Version 1: a tree for each controller. */
function settingV1(name: GroupLimit, value: number): Setting {
  const [controller, text, ...files] = {
    'cputune.shares': ['cpu', orDefault(value, 1024), 'cpu.shares'],
    'cputune.global_period': ['cpu', orDefault(value, 100_000), 'cpu.cfs_period_us'],
    'cputune.global_quota': ['cpu', orDefault(value, -1), 'cpu.cfs_quota_us'],
    'memtune.hard_limit': ['memory', bytes(value, '-1'), 'memory.limit_in_bytes'],
    'memtune.soft_limit': ['memory', bytes(value, '-1'), 'memory.soft_limit_in_bytes'],
    'memtune.swap_hard_limit': ['memory', bytes(value, '-1'), 'memory.memsw.limit_in_bytes'],
    'blkiotune.weight': ['blkio', orDefault(value, 100), 'blkio.weight', 'blkio.bfq.weight'],
  }[name] as [string, string, ...string[]];
  return { controller, files, value: text };
}

/** Version 2: one tree. A swap limit is of memory and swap in the definition, of swap alone here. */
function settingV2(name: GroupLimit, value: number, all: GroupLimits): Setting {
  const max = cpuMax({
    periodUs: known(all['cputune.global_period']),
    quotaUs: known(all['cputune.global_quota']),
  });
  const hardKiB = all['memtune.hard_limit'] ?? 0;
  const swapKiB = value === LIFTED || hardKiB === LIFTED ? value : Math.max(0, value - hardKiB);
  const [controller, text, ...files] = {
    'cputune.shares': ['cpu', orDefault(value, 100), 'cpu.weight'],
    'cputune.global_period': ['cpu', max, 'cpu.max'],
    'cputune.global_quota': ['cpu', max, 'cpu.max'],
    'memtune.hard_limit': ['memory', bytes(value, 'max'), 'memory.max'],
    'memtune.soft_limit': ['memory', bytes(value, 'max'), 'memory.high'],
    'memtune.swap_hard_limit': ['memory', bytes(swapKiB, 'max'), 'memory.swap.max'],
    'blkiotune.weight': ['io', `default ${orDefault(value, 100)}`, 'io.weight', 'io.bfq.weight'],
  }[name] as [string, string, ...string[]];
  return { controller, files, value: text };
}

const known = (value: number | undefined) => (value === LIFTED ? undefined : value);

/** The text of version 2's cpu.max. */
const cpuMax = ({ periodUs = 100_000, quotaUs = -1 }: Bandwidth) =>
  `${quotaUs < 0 ? 'max' : quotaUs} ${periodUs}`;

/** What a definition asks of a group of its own; empty when it asks for none. */
export function groupLimitsOf({ cputune, memtune, blkiotune }: DomainDef): GroupLimits {
  const all: GroupLimits = {
    'cputune.shares': cputune?.shares,
    'cputune.global_period': cputune?.globalPeriodUs,
    'cputune.global_quota': cputune?.globalQuotaUs,
    'memtune.hard_limit': memtune?.hardLimitKiB,
    'memtune.soft_limit': memtune?.softLimitKiB,
    'memtune.swap_hard_limit': memtune?.swapHardLimitKiB,
    'blkiotune.weight': blkiotune?.weight,
  };
  // libvirt's 0 is what a limit that was never set is shown as.
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined && value !== 0));
}

/** The groups of guests below one mount of the host's control groups. */
export class GuestGroups {
  private readonly root: string;
  private readonly linesOf: typeof ownGroups;

  /** `root` is /sys/fs/cgroup and `linesOf` reads /proc/PID/cgroup, but in tests. */
  constructor(root = '/sys/fs/cgroup', linesOf = ownGroups) {
    this.root = root;
    this.linesOf = linesOf;
  }

  private get isVersion2(): boolean {
    return existsSync(join(this.root, 'cgroup.controllers'));
  }

  /**
   * Puts a process into a group of its own, made where it is missing, and sets these limits.
   * @throws VirtError request.unsupported for one that this host does not offer, system.call
   */
  async limit(pid: number, uuid: string, limits: GroupLimits): Promise<void> {
    const settings = (Object.entries(limits) as [GroupLimit, number][]).map(([name, value]) => ({
      name,
      ...(this.isVersion2 ? settingV2(name, value, limits) : settingV1(name, value)),
    }));
    for (const { name, controller } of settings) await this.require(name, controller);
    for (const { name, controller, files, value } of settings) {
      const group = await this.enter(name, controller, uuid, pid);
      await this.write(name, firstOf(group, files), value);
    }
  }

  /**
   * Limits threads of a guest, each group of them below the guest's own group. With version 2 these are threaded: the
   * memory and the disks stay the whole guest's.
   * @throws VirtError request.unsupported where the host does not offer it, request.invalid, system.call
   */
  async limitThreads(threads: GuestThreads, uuid: string, limits: ThreadLimits): Promise<void> {
    const groups = threadGroups(limits, threads);
    const [first] = groups;
    if (first === undefined) return;
    await this.require(first.path, 'cpu');
    const own = await this.enter(first.path, 'cpu', uuid, threads.pid);
    for (const group of groups) await this.limitThread(own, group);
  }

  private async limitThread(own: string, { name, path, threads, bandwidth }: ThreadGroup): Promise<void> {
    const directory = join(own, name);
    await mkdir(directory, { recursive: true });
    if (this.isVersion2) {
      // In this order: a group with processes in it hands its controllers on to threaded groups only.
      await this.write(path, join(directory, 'cgroup.type'), 'threaded');
      await this.write(path, join(own, 'cgroup.subtree_control'), '+cpu');
    }
    for (const thread of threads)
      await this.write(path, join(directory, this.isVersion2 ? 'cgroup.threads' : 'tasks'), String(thread));
    const { periodUs, quotaUs } = bandwidth;
    if (this.isVersion2) return this.write(path, join(directory, 'cpu.max'), cpuMax(bandwidth));
    if (periodUs !== undefined)
      await this.write(path, join(directory, 'cpu.cfs_period_us'), String(periodUs));
    if (quotaUs !== undefined) await this.write(path, join(directory, 'cpu.cfs_quota_us'), String(quotaUs));
  }

  /**
   * Limits what a guest may read from and write to block devices of the host.
   * @throws VirtError file.*, request.invalid, request.unsupported, system.call
   */
  async limitDevices(pid: number, uuid: string, devices: readonly DeviceLimit[]): Promise<void> {
    if (devices.length === 0) return;
    const controller = this.isVersion2 ? 'io' : 'blkio';
    await this.require('blkiotune.device', controller);
    const group = await this.enter('blkiotune.device', controller, uuid, pid);
    for (const device of devices)
      for (const { files, line } of deviceLines(device, await deviceNumber(device.path), this.isVersion2))
        await this.write('blkiotune.device', firstOf(group, files), line);
  }

  /**
   * Has a guest's processor time counted by processor from now on; false where nothing counts: only version 1 does
   * (Documentation/admin-guide/cgroup-v1/cpuacct.rst). @throws VirtError system.call
   */
  async account(pid: number, uuid: string): Promise<boolean> {
    if (this.isVersion2 || !existsSync(join(this.root, 'cpuacct', 'cgroup.procs'))) return false;
    await this.enter('cpuacct', 'cpuacct', uuid, pid);
    return true;
  }

  /** Nanoseconds on each processor that can be there, by its number; undefined for a guest that is not counted. */
  async processorTimes(pid: number, uuid: string): Promise<number[] | undefined> {
    if (this.isVersion2 || !isInGroup(await this.linesOf(pid), 'cpuacct', join('/vireo', uuid)))
      return undefined;
    const file = join(this.root, 'cpuacct/vireo', uuid, 'cpuacct.usage_percpu');
    const text = await readFile(file, 'latin1').catch(() => undefined);
    return text?.trim().split(/\s+/).map(Number);
  }

  /**
   * Keeps all memory of a guest, what it has and what it will have, on these nodes of the host. With version 1 its threads
   * lose their pins by that: the kernel gives them all processors of the group.
   * @throws VirtError request.unsupported where the host does not offer it, request.invalid, system.call
   */
  async confineMemory(pid: number, uuid: string, nodes: string): Promise<void> {
    const name = 'numatune.memory.nodeset';
    await this.require(name, 'cpuset');
    if (!this.isVersion2) await this.prepareSet(name, join(this.root, 'cpuset/vireo', uuid));
    const group = await this.enter(name, 'cpuset', uuid, pid);
    await this.write(name, join(group, 'cpuset.mems'), nodes);
  }

  /** A new group of version 1 has no processors and no memory, and takes nobody in until it has some of its parent's. */
  private async prepareSet(name: string, group: string): Promise<void> {
    await mkdir(group, { recursive: true });
    for (const directory of [dirname(group), group])
      for (const file of ['cpuset.cpus', 'cpuset.mems']) {
        const isEmpty = (await readFile(join(directory, file), 'latin1').catch(() => '')).trim() === '';
        if (!isEmpty) continue;
        const around = await readFile(join(dirname(directory), file), 'latin1').catch(() => '');
        await this.write(name, join(directory, file), around.trim());
      }
    // Pages that are elsewhere already follow.
    await this.write(name, join(group, 'cpuset.memory_migrate'), '1');
  }

  /** Takes the groups of a guest away after its end; idempotent. A scope goes by itself, with all in it. */
  async remove(uuid: string): Promise<void> {
    const controllers = this.isVersion2 ? ['cpu'] : ['cpu', 'memory', 'blkio', 'cpuacct', 'cpuset'];
    for (const controller of controllers) {
      const group = join(this.top(controller), 'vireo', uuid);
      for (const inner of await directoriesIn(group)) await removeSoon(join(group, inner));
      await removeSoon(group);
      // The one around it goes with the last guest.
      await removeIfEmpty(dirname(group));
    }
  }

  /** Where the groups of a controller are mounted. */
  private top(controller: string): string {
    return this.isVersion2 ? this.root : join(this.root, controller);
  }

  /** @throws VirtError request.unsupported where the host has no such controller */
  private async require(name: string, controller: string): Promise<void> {
    const isThere = this.isVersion2
      ? (await readFile(join(this.root, 'cgroup.controllers'), 'latin1')).split(/\s+/).includes(controller)
      : existsSync(join(this.root, controller, 'cgroup.procs'));
    if (!isThere) throw notHere(name, controller);
  }

  /**
   * The group of a guest with its process in it, and with that controller. Moved once only: a process takes all its
   * threads along, out of the groups that they have of their own.
   */
  private async enter(name: string, controller: string, uuid: string, pid: number): Promise<string> {
    const lines = await this.linesOf(pid);
    const scope = this.isVersion2 ? scopeIn(lines) : undefined;
    const path = scope === undefined ? join('/vireo', uuid) : join(scope, 'vireo');
    const directory = join(this.top(controller), path);
    if (!isInGroup(lines, this.isVersion2 ? '' : controller, path)) {
      const around = scope === undefined ? undefined : join(this.root, scope);
      await this.move(around === undefined ? [pid] : await processesIn(around), directory);
    }
    if (this.isVersion2)
      for (const outer of scope === undefined ? [this.root, dirname(directory)] : [dirname(directory)])
        await this.write(name, join(outer, 'cgroup.subtree_control'), `+${controller}`);
    return directory;
  }

  private async move(pids: readonly number[], directory: string): Promise<void> {
    try {
      await mkdir(directory, { recursive: true });
      for (const pid of pids) await writeFile(join(directory, 'cgroup.procs'), String(pid));
    } catch (error) {
      if (errnoOf(error) === 'ESRCH') return; // it has ended
      throw new VirtError('system.call', {
        wanted: 'put a guest into a control group',
        reason: `${directory}: ${reasonOf(error)}`,
        cause: error,
      });
    }
  }

  private async write(name: string, path: string, value: string): Promise<void> {
    try {
      await writeFile(path, value, { flag: 'r+' });
    } catch (error) {
      if (errnoOf(error) === 'ESRCH') return; // the thread has ended
      if (absentErrnos.has(errnoOf(error) ?? '')) throw notHere(name, path);
      throw new VirtError(invalidErrnos.has(errnoOf(error) ?? '') ? 'request.invalid' : 'system.call', {
        wanted: `set ${name}`,
        reason: `${path} does not take '${value}': ${reasonOf(error)}`,
        cause: error,
      });
    }
  }
}

/** No such file, or one that does nothing: weights need a scheduler of the disk that knows them (bfq). */
const absentErrnos = new Set(['ENOENT', 'ENOTSUP', 'EOPNOTSUPP']);

/** What the kernel says to a number, or a device, that it does not take. */
const invalidErrnos = new Set(['EINVAL', 'ERANGE', 'ENODEV']);

/** /proc/PID/cgroup: a line for each tree, `NUMBER:CONTROLLERS:PATH`, version 2's without controllers; '' without it. */
async function ownGroups(pid: number): Promise<string> {
  return readFile(`/proc/${pid}/cgroup`, 'latin1').catch(() => '');
}

/** True when these lines put a process into that group, or below it. */
export function isInGroup(lines: string, controller: string, group: string): boolean {
  return lines.split('\n').some((line) => {
    const [, controllers = '', ...path] = line.split(':');
    return controllers.split(',').includes(controller) && `${path.join(':')}/`.includes(`${group}/`);
  });
}

/** Those that are in a group itself, not below it: a group hands controllers on only when there are none. */
async function processesIn(directory: string): Promise<number[]> {
  const text = await readFile(join(directory, 'cgroup.procs'), 'latin1');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

/** The first of these files that a group has; when it has none, the first, whose absence will be told. */
function firstOf(group: string, files: readonly string[]): string {
  const found = files.find((file) => existsSync(join(group, file))) ?? files[0];
  return join(group, found ?? '');
}

async function directoriesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return [];
    throw error;
  });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

function notHere(name: string, what: string): VirtError {
  return new VirtError('request.unsupported', {
    wanted: `set ${name}`,
    reason: `it is not supported here: the control groups of this host have no working ${what}`,
  });
}

/** A guest's last threads may take a moment to leave, when it was not this daemon that started it. */
async function removeSoon(directory: string): Promise<void> {
  const deadline = performance.now() + LEAVE_MS;
  while (!(await removeIfEmpty(directory)) && performance.now() < deadline) await sleep(LOOK_AGAIN_MS);
}

/**
 * False when a process or group is in it still, which costs nothing if it stays; true when it is gone, or never was
 * there.
 */
async function removeIfEmpty(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    if (['EBUSY', 'ENOTEMPTY'].includes(errnoOf(error) ?? '')) return false;
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return true;
    throw error;
  }
}
