/**
 * Prints this host's files that src/kvm/ reads, as JSON of path and text: how test/unit/kvm/trees/ was made.
 *
 *   node test/support/kvm-lab/record-host.ts > test/unit/kvm/trees/NAME.json
 */
import { globSync, readFileSync } from 'node:fs';

const patterns = [
  '/proc/cpuinfo',
  '/proc/meminfo',
  '/proc/misc',
  '/proc/sys/kernel/{hostname,osrelease,version}',
  '/sys/devices/system/cpu/{online,present}',
  '/sys/devices/system/cpu/cpu[0-9]*/topology/{physical_package_id,die_id,core_id,thread_siblings_list}',
  '/sys/devices/system/node/online',
  '/sys/devices/system/node/node[0-9]*/{cpulist,meminfo,distance}',
  '/sys/devices/system/node/node[0-9]*/hugepages/*/{nr,free}_hugepages',
  '/sys/kernel/mm/hugepages/*/{nr,free}_hugepages',
  '/sys/class/dmi/id/{bios,product,board,chassis}_*',
  '/sys/class/dmi/id/sys_vendor',
  '/sys/module/kvm*/parameters/nested',
];

const found = patterns.flatMap((pattern) => globSync(pattern)).sort();
const tree = Object.fromEntries(found.map((path) => [path, readFileSync(path, 'utf8')]));
process.stdout.write(`${JSON.stringify(tree, undefined, 1)}\n`);
