/**
 * Shares and limits of a whole guest by control groups: version 2 (Documentation/admin-guide/cgroup-v2.rst), or version 1
 * (.../cgroup-v1/) where that is all there is. Each guest gets a group of its own only when its definition asks for one.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, reasonOf, VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

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

/** One file of a group: the controller that has it, and what is written. */
interface Setting {
  readonly controller: string;
  readonly file: string;
  readonly value: string;
}

const bytes = (kib: number) => String(kib * 1024);

/** Version 1: a tree for each controller. */
function settingV1(name: GroupLimit, value: number): Setting {
  const [controller, file, text] = {
    'cputune.shares': ['cpu', 'cpu.shares', String(value)],
    'cputune.global_period': ['cpu', 'cpu.cfs_period_us', String(value)],
    'cputune.global_quota': ['cpu', 'cpu.cfs_quota_us', String(value)],
    'memtune.hard_limit': ['memory', 'memory.limit_in_bytes', bytes(value)],
    'memtune.soft_limit': ['memory', 'memory.soft_limit_in_bytes', bytes(value)],
    'memtune.swap_hard_limit': ['memory', 'memory.memsw.limit_in_bytes', bytes(value)],
    'blkiotune.weight': ['blkio', 'blkio.weight', String(value)],
  }[name] as [string, string, string];
  return { controller, file, value: text };
}

/** Version 2: one tree. A swap limit is of memory and swap in the definition, of swap alone here. */
function settingV2(name: GroupLimit, value: number, all: GroupLimits): Setting {
  const period = all['cputune.global_period'] ?? 100_000;
  const quota = all['cputune.global_quota'] ?? -1;
  const cpuMax = `${quota < 0 ? 'max' : quota} ${period}`;
  const [controller, file, text] = {
    'cputune.shares': ['cpu', 'cpu.weight', String(value)],
    'cputune.global_period': ['cpu', 'cpu.max', cpuMax],
    'cputune.global_quota': ['cpu', 'cpu.max', cpuMax],
    'memtune.hard_limit': ['memory', 'memory.max', bytes(value)],
    'memtune.soft_limit': ['memory', 'memory.high', bytes(value)],
    'memtune.swap_hard_limit': [
      'memory',
      'memory.swap.max',
      bytes(Math.max(0, value - (all['memtune.hard_limit'] ?? 0))),
    ],
    'blkiotune.weight': ['io', 'io.weight', `default ${value}`],
  }[name] as [string, string, string];
  return { controller, file, value: text };
}

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
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

/** The groups of guests below one mount of the host's control groups. */
export class GuestGroups {
  private readonly root: string;

  /** `root` is /sys/fs/cgroup but in tests. */
  constructor(root = '/sys/fs/cgroup') {
    this.root = root;
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
    for (const { name, controller } of settings) await this.enable(name, controller);
    for (const directory of new Set(settings.map(({ controller }) => this.group(controller, uuid))))
      await this.enter(directory, pid);
    for (const { name, controller, file, value } of settings)
      await this.write(name, join(this.group(controller, uuid), file), value);
  }

  /** Takes the groups of a guest away after its end; idempotent. */
  async remove(uuid: string): Promise<void> {
    const controllers = this.isVersion2 ? ['cpu'] : ['cpu', 'memory', 'blkio'];
    for (const controller of controllers) {
      const group = this.group(controller, uuid);
      // The one around it goes with the last guest.
      for (const directory of [group, dirname(group)]) await removeIfEmpty(directory);
    }
  }

  private group(controller: string, uuid: string): string {
    return this.isVersion2 ? join(this.root, 'vireo', uuid) : join(this.root, controller, 'vireo', uuid);
  }

  private async enable(name: GroupLimit, controller: string): Promise<void> {
    if (!this.isVersion2) {
      if (!existsSync(join(this.root, controller, 'cgroup.procs'))) throw notHere(name, controller);
      return;
    }
    const offered = await readFile(join(this.root, 'cgroup.controllers'), 'latin1');
    if (!offered.split(/\s+/).includes(controller)) throw notHere(name, controller);
    await mkdir(join(this.root, 'vireo'), { recursive: true });
    for (const directory of [this.root, join(this.root, 'vireo')])
      await this.write(name, join(directory, 'cgroup.subtree_control'), `+${controller}`);
  }

  private async enter(directory: string, pid: number): Promise<void> {
    try {
      await mkdir(directory, { recursive: true });
      await writeFile(join(directory, 'cgroup.procs'), String(pid));
    } catch (error) {
      throw new VirtError('system.call', {
        wanted: 'put a guest into a control group',
        reason: `${directory}: ${reasonOf(error)}`,
        cause: error,
      });
    }
  }

  private async write(name: GroupLimit, path: string, value: string): Promise<void> {
    try {
      await writeFile(path, value, { flag: 'r+' });
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') throw notHere(name, path);
      throw new VirtError(errnoOf(error) === 'EINVAL' ? 'request.invalid' : 'system.call', {
        wanted: `set ${name}`,
        reason: `${path} does not take '${value}': ${reasonOf(error)}`,
        cause: error,
      });
    }
  }
}

function notHere(name: GroupLimit, what: string): VirtError {
  return new VirtError('request.unsupported', {
    wanted: `set ${name}`,
    reason: `it is not supported here: the control groups of this host have no ${what}`,
  });
}

/** Never made, or a process or group is in it still: what is empty and left costs nothing. */
async function removeIfEmpty(directory: string): Promise<void> {
  try {
    await rmdir(directory);
  } catch (error) {
    if (!['ENOENT', 'EBUSY', 'ENOTEMPTY', 'ENOTDIR'].includes(errnoOf(error) ?? '')) throw error;
  }
}
