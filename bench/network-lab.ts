/** A network namespace for the benchmark: networks start and stop in it, and the host's own stays as it is. */
import { execFileSync } from 'node:child_process';

export class NetworkLab {
  readonly name = `vireo-bench-${process.pid}`;

  constructor() {
    execFileSync('ip', ['netns', 'add', this.name]);
    execFileSync('ip', ['-n', this.name, 'link', 'set', 'lo', 'up']);
  }

  /** The command that runs another in it. */
  get around(): readonly string[] {
    return ['ip', 'netns', 'exec', this.name];
  }

  /** Runs a program in it; its output. */
  run(words: readonly string[], input = ''): string {
    return execFileSync('ip', ['netns', 'exec', this.name, ...words], { input, encoding: 'utf8' });
  }

  /** Ends what is left in it, and takes it away. */
  remove(): void {
    const pids = execFileSync('ip', ['netns', 'pids', this.name], { encoding: 'utf8' });
    for (const pid of pids.split('\n').filter((text) => text !== '')) process.kill(Number(pid), 'SIGKILL');
    execFileSync('ip', ['netns', 'delete', this.name]);
  }
}

/** A NAT network as everybody has one, on a subnet of its number. */
export function networkXml(number: number): string {
  const net = `10.77.${number}`;
  return `<network><name>bench${number}</name><forward mode='nat'/><bridge name='vbench${number}' stp='on' delay='0'/>
<ip address='${net}.1' netmask='255.255.255.0'><dhcp><range start='${net}.2' end='${net}.254'/></dhcp></ip></network>`;
}
