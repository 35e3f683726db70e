/**
 * A guest that checks and writes its disk all the time: it tells a hash of the disk's first 16 MiB, and writes numbered
 * sectors behind them, each told when it is on the disk. What it has told must be there afterwards, whatever happened.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually } from './daemon.ts';
import { littleLinux, startScript } from './guest-image.ts';

const STATIC_MIB = 16;
const DISK_MIB = 24;

const script = `#!/bin/busybox sh
(
  n=0
  while :; do
    echo 3 >/proc/sys/vm/drop_caches
    echo "static $(dd if=/dev/vda bs=1M count=${STATIC_MIB} 2>/dev/null | sha256sum | cut -c1-16) ." >/dev/ttyS0
    for i in 1 2 3 4 5 6 7 8 9 10; do
      printf 'tick %06d\\n' $n | dd of=/dev/vda bs=512 seek=$((${STATIC_MIB * 2048} + n)) conv=notrunc,fsync 2>/dev/null && echo "wrote $n ." >/dev/ttyS0
      n=$((n + 1))
    done
    sleep 0.1
  done
) &
`;

export class WritingGuest {
  readonly name: string;
  private client: VireoClient;
  private readonly directory: string;
  /** The hash that the guest must tell. */
  private hash = '';

  constructor(client: VireoClient, directory: string, name: string) {
    this.client = client;
    this.directory = directory;
    this.name = name;
  }

  /** Another client, after a restart of the daemon. */
  use(client: VireoClient): void {
    this.client = client;
  }

  path(file: string): string {
    return join(this.directory, `${this.name}-${file}`);
  }

  /** A chain of so many images, each with 4 MiB of its own data over those below; the topmost last. */
  makeChain(count: number): string[] {
    const paths: string[] = [];
    const expected = Buffer.alloc(STATIC_MIB << 20);
    for (let at = 0; at < count; at++) {
      const path = this.path(`${at}.qcow2`);
      const below = paths.at(-1);
      const backing = below === undefined ? [] : ['-b', below, '-F', 'qcow2'];
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, path, `${DISK_MIB}M`]);
      const data = Buffer.alloc(4 << 20, `${this.name} image ${at} `);
      const raw = this.path('part.raw');
      writeFileSync(raw, data);
      // Each image covers the second half of the one below.
      const offset = at * (2 << 20);
      execFileSync('qemu-io', ['-c', `write -q -s ${raw} ${offset} ${data.length}`, path]);
      data.copy(expected, offset);
      rmSync(raw);
      paths.push(path);
    }
    this.hash = createHash('sha256').update(expected).digest('hex').slice(0, 16);
    return paths;
  }

  async start(top: string, disk = ''): Promise<void> {
    const files = await littleLinux(join(this.directory, 'linux'), [startScript(script)]);
    const xml = `<domain type='qemu'><name>${this.name}</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
      <os><type machine='pc'>hvm</type><kernel>${files.kernel}</kernel><initrd>${files.initrd}</initrd>
        <cmdline>console=ttyS0 quiet no_timer_check no_timer_check</cmdline></os><features><acpi/></features>
      <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${top}'/>
        <target dev='vda' bus='virtio'/>${disk}</disk>
        <serial type='pty'><log file='${this.path('serial')}' append='on'/></serial></devices></domain>`;
    await this.client.call('domain.define', { xml });
    await this.client.call('domain.start', { domain: this.name });
    await this.expectGood();
  }

  private said(): string {
    return readFileSync(this.path('serial'), 'latin1');
  }

  /** The number of the last sector that the guest said is on its disk. */
  lastWritten(): number {
    const all = [...this.said().matchAll(/wrote (\d+) \./g)];
    return Number(all.at(-1)?.[1] ?? -1);
  }

  /** The guest sees its data, and its writes come through, from now on. */
  async expectGood(): Promise<void> {
    const length = this.said().length;
    const news = () => this.said().slice(length);
    await eventually(
      `good news of ${this.name}`,
      () => /static \w+ \./.test(news()) && /wrote \d+ \./.test(news()),
      100_000,
    );
    for (const [, hash] of news().matchAll(/static (\w+) \./g))
      if (hash !== this.hash) throw new Error(`${this.name} sees ${hash}, not ${this.hash}`);
  }

  /** The image has all that the guest was promised, up to that sector. */
  expectWhole(image: string, upTo: number = this.lastWritten()): void {
    const raw = this.path('whole.raw');
    execFileSync('qemu-img', ['convert', '-U', '-f', 'qcow2', '-O', 'raw', image, raw]);
    const bytes = readFileSync(raw);
    rmSync(raw);
    const hash = createHash('sha256')
      .update(bytes.subarray(0, STATIC_MIB << 20))
      .digest('hex');
    if (hash.slice(0, 16) !== this.hash)
      throw new Error(`${image}: hash ${hash.slice(0, 16)}, not ${this.hash}`);
    for (let n = 0; n <= upTo; n++) {
      const at = (STATIC_MIB << 20) + n * 512;
      const wanted = `tick ${String(n).padStart(6, '0')}`;
      const found = bytes.toString('latin1', at, at + wanted.length);
      if (found !== wanted) throw new Error(`${image}: '${found}' in place of '${wanted}'`);
    }
  }
}
