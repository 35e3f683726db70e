/** The real guest agent for the little Linux: the distribution's program, with the libraries it needs. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type CpioEntry, directory, file } from '../../scripts/guest-image/cpio.ts';

const program = '/usr/sbin/qemu-ga';

/** Files to put into an initramfs; the guest starts it with `agentCommand`. */
export function agentFiles(): CpioEntry[] {
  const libraries = execFileSync('ldd', [program], { encoding: 'utf8' })
    .split('\n')
    .flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? []);
  const files = [program, ...libraries];
  const parents = new Set(files.flatMap((path) => ancestors(dirname(path))));
  return [
    ...[...parents].sort().map((path) => directory(path.slice(1))),
    ...files.map((path) => file(path.slice(1), readFileSync(path), 0o755)),
  ];
}

/** `/usr/sbin` is below `/usr`. */
function ancestors(path: string): string[] {
  return path === '/' ? [] : [...ancestors(dirname(path)), path];
}

/** A line for a start script: the agent on the guest's first virtio port. */
export const agentCommand = `mkdir -p /var/run /var/log; ${program} -m virtio-serial -p /dev/vport*p1 -t /var/run -d\n`;
