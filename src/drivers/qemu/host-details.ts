/** What the capabilities document tells of the host beyond HostFacts: caches that CPUs share, and sleep states. */
import { parseCpuList } from '../../kvm/cpu-list.ts';
import type { HostFiles } from '../../kvm/host-files.ts';
import type { CacheBankFacts } from '../../model/capabilities/capabilities.ts';

const cpuDirectory = '/sys/devices/system/cpu';

/** Kernel: Documentation/ABI/testing/sysfs-devices-system-cpu, cache/indexN/type. */
const cacheTypes: Readonly<Record<string, CacheBankFacts['type']>> = {
  Unified: 'both',
  Instruction: 'code',
  Data: 'data',
};

/** Smaller caches belong to one core each, and say nothing that the topology doesn't. */
const SHARED_LEVEL = 3;

/** The caches of level 3 and up, by level and id; none where the kernel doesn't tell (many virtual machines). */
export function readCacheBanks(files: HostFiles): CacheBankFacts[] {
  const banks = new Map<string, CacheBankFacts>();
  for (const cpu of files.list(cpuDirectory).filter((name) => /^cpu\d+$/.test(name)))
    for (const index of files
      .list(`${cpuDirectory}/${cpu}/cache`)
      .filter((name) => /^index\d+$/.test(name))) {
      const bank = readBank(files, `${cpuDirectory}/${cpu}/cache/${index}`);
      if (bank !== undefined) banks.set(`${bank.level} ${bank.type} ${bank.id}`, bank);
    }
  return [...banks.values()].sort((a, b) => a.level - b.level || a.id - b.id);
}

function readBank(files: HostFiles, directory: string): CacheBankFacts | undefined {
  const word = (name: string): string => files.read(`${directory}/${name}`)?.trim() ?? '';
  const level = Number(word('level'));
  const type = cacheTypes[word('type')];
  const size = /^(\d+)K$/.exec(word('size'))?.[1];
  const id = word('id');
  const cpus = parseCpuList(word('shared_cpu_list'));
  if (!(level >= SHARED_LEVEL) || type === undefined || size === undefined || !/^\d+$/.test(id))
    return undefined;
  if (cpus === undefined || cpus.length === 0) return undefined;
  return { id: Number(id), level, type, sizeKiB: Number(size), cpus };
}
