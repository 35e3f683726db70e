/** QEMU processes by the uuid on their command line: guests that another daemon runs must not be started a second time. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** Pid by uuid of every QEMU on this host that was started with `-uuid`, as libvirt starts them. */
export function runningGuests(proc = '/proc'): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const entry of readdirSync(proc)) {
    if (!/^\d+$/.test(entry)) continue;
    const argv = commandLine(`${proc}/${entry}/cmdline`);
    if (!/^(?:qemu-system-|qemu-kvm|kvm$)/.test(basename(argv[0] ?? ''))) continue;
    const uuid = argv[argv.indexOf('-uuid') + 1];
    if (argv.includes('-uuid') && uuid !== undefined) found.set(uuid.toLowerCase(), Number(entry));
  }
  return found;
}

function commandLine(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\0');
  } catch {
    return []; // it has ended meanwhile
  }
}
