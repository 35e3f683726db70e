/** What the numbers were measured on. */
import { execFileSync } from 'node:child_process';
import { readFileSync, statfsSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';

/** One line that tells the machine. */
export function describeMachine(directory: string): string {
  const [cpu] = cpus();
  const qemu = /version (\S+)/.exec(firstLine(['qemu-system-x86_64', '--version']))?.[1] ?? 'none';
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const load = loadavg()
    .map((value) => value.toFixed(2))
    .join(' ');
  return `${cpus().length} x ${cpu?.model.trim() ?? 'unknown CPU'}, ${memory}, Linux ${release()}, ${distribution()}, Node ${process.versions.node}, QEMU ${qemu}, ${fileSystem(directory)}, load ${load}`;
}

function firstLine(command: readonly [string, ...string[]]): string {
  const [program, ...args] = command;
  try {
    return execFileSync(program, args, { encoding: 'utf8' }).split('\n')[0] ?? '';
  } catch {
    return ''; // not installed: the benchmark itself says so
  }
}

function distribution(): string {
  return (
    /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ??
    'an unknown distribution'
  );
}

/** linux/magic.h, those that definitions are likely to lie on. */
function fileSystem(directory: string): string {
  const names: Record<number, string> = {
    0xef53: 'ext4',
    0x58465342: 'xfs',
    0x9123683e: 'btrfs',
    0x01021994: 'tmpfs',
    0x794c7630: 'overlayfs',
  };
  const { type } = statfsSync(directory);
  return names[type] ?? `file system 0x${type.toString(16)}`;
}
