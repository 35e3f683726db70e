/**
 * Runs one command where /dev/kvm is real, on a machine that has none: QEMU's software emulation knows AMD-V with nested
 * paging, so a Debian kernel that boots under it loads kvm_amd and answers KVM's ioctls.
 *
 * The command sees this machine's file system at the usual paths (what it writes is gone afterwards, except below
 * `writable` directories), a fresh /proc, /sys, /dev, /run and cgroup v2; no network but loopback; it runs as root.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { buildInitramfs, type LabShare } from './initramfs.ts';
import { LabError, labKernel } from './kernel.ts';

export interface LabRequest {
  readonly command: readonly string[];
  /** Limit for the whole run, boot included. */
  readonly timeoutMs: number;
  readonly directory?: string;
  readonly memoryMiB?: number;
  /** One is as fast for one inner guest, and uses one core only. */
  readonly cpus?: number;
  /** Directories shared for writing, at the same path. */
  readonly writable?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** More kernel modules: tun, bridge, veth, vhost_net, ... */
  readonly modules?: readonly string[];
  /** More arguments for QEMU. */
  readonly qemuArgs?: readonly string[];
  readonly onStdout?: (data: Buffer) => void;
  readonly onStderr?: (data: Buffer) => void;
}

export interface LabResult {
  /** The command's own status; 124 when the time was over; 125 when the guest did not come up or died. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The end of the guest kernel's log. */
  readonly console: string;
  readonly milliseconds: number;
}

const TIME_OVER = 124;
const GUEST_FAILED = 125;
/** Channels between guest and us, in the order of their descriptors in QEMU. */
const channels = ['console', 'stdout', 'stderr', 'control'] as const;
/** Descriptor of the initramfs in QEMU; the channels follow. */
const INITRAMFS_FD = 3;

/** Runs a command in a fresh guest. @throws LabError when something that the lab needs is missing */
export async function runInKvmGuest(request: LabRequest): Promise<LabResult> {
  const kernel = await labKernel();
  const shares = (request.writable ?? []).map((path, index) => ({ tag: `share${index}`, path }));
  const initramfs = buildInitramfs({
    kernel,
    modules: request.modules ?? [],
    command: commandScript(request),
    shares,
  });
  const started = performance.now();
  const qemu = startQemu(request, kernel.image, shares, initramfs);
  const output = collect(qemu, request);
  const onTime = await endsInTime(qemu, request.timeoutMs);
  const { control, ...texts } = output();
  const status = /^status (\d+)/m.exec(control)?.[1];
  return {
    status: onTime ? Number(status ?? GUEST_FAILED) : TIME_OVER,
    ...texts,
    milliseconds: performance.now() - started,
  };
}

/** The same with one repetition when the time was over: the emulated guest hangs once in some twenty busy runs. */
export async function runInKvmGuestTwice(request: LabRequest): Promise<LabResult> {
  const first = await runInKvmGuest(request);
  return first.status === TIME_OVER ? runInKvmGuest(request) : first;
}

function commandScript(request: LabRequest): string {
  const environment = {
    PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    ...request.environment,
  };
  const exports = Object.entries(environment).map(([name, value]) => `export ${name}=${quote(value)}\n`);
  return `${exports.join('')}cd ${quote(request.directory ?? process.cwd())} || exit ${GUEST_FAILED}
exec ${request.command.map(quote).join(' ')}
`;
}

/** One word for a POSIX shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function startQemu(
  request: LabRequest,
  image: string,
  shares: readonly LabShare[],
  initramfs: Buffer,
): ChildProcess {
  const fd = openUnlinked(initramfs);
  try {
    // setpriv: the guest ends with this process, also when that is killed. Node's pipes are unix socket pairs.
    return spawn(
      'setpriv',
      ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...qemuArguments(request, image, shares)],
      { stdio: ['ignore', 'ignore', 'pipe', fd, ...channels.map(() => 'pipe' as const)] },
    );
  } finally {
    closeSync(fd);
  }
}

/** A file without a name, so that nothing is left on disk however the run ends. */
function openUnlinked(data: Buffer): number {
  const directory = mkdtempSync(join(tmpdir(), 'kvm-lab-'));
  try {
    const path = join(directory, 'initramfs');
    writeFileSync(path, data);
    return openSync(path, 'r');
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function qemuArguments(request: LabRequest, image: string, shares: readonly LabShare[]): string[] {
  return [
    ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-nic', 'none'],
    ['-machine', 'q35', '-accel', 'tcg,thread=multi'],
    // Five-level page tables only make emulated page walks longer.
    ['-cpu', 'max,la57=off', '-smp', String(request.cpus ?? 2), '-m', `${request.memoryMiB ?? 2048}M`],
    ['-kernel', image, '-initrd', `/proc/self/fd/${INITRAMFS_FD}`, '-append', KERNEL_COMMAND_LINE],
    ['-device', 'virtio-serial-pci'],
    ...channels.map(channelArguments),
    shareArguments('hostroot', '/', 'readonly=on,'),
    ...shares.map(({ tag, path }) => shareArguments(tag, path, '')),
    request.qemuArgs ?? [],
  ].flat();
}

const KERNEL_COMMAND_LINE =
  'console=ttyS0 quiet no_timer_check loglevel=5 panic=-1 mitigations=off nokaslr tsc=reliable nowatchdog random.trust_cpu=on';

function channelArguments(name: Channel, index: number): string[] {
  const backend = ['-chardev', `socket,id=${name},fd=${INITRAMFS_FD + 1 + index}`];
  if (name === 'console') return [...backend, '-serial', 'chardev:console'];
  return [...backend, '-device', `virtserialport,chardev=${name},name=${name}`];
}

function shareArguments(tag: string, path: string, access: string): string[] {
  const escaped = path.replaceAll(',', ',,');
  return ['-virtfs', `local,path=${escaped},mount_tag=${tag},security_model=none,${access}multidevs=remap`];
}

type Channel = (typeof channels)[number];

/** Gathers what comes from the guest; QEMU's own complaints go to the console's text. */
function collect(qemu: ChildProcess, request: LabRequest): () => Record<Channel, string> {
  const gathered: Record<Channel, Buffer[]> = { console: [], stdout: [], stderr: [], control: [] };
  const listen = (stream: unknown, channel: Channel, also?: (data: Buffer) => void): void => {
    (stream as Readable).on('data', (data: Buffer) => {
      gathered[channel].push(data);
      also?.(data);
    });
  };
  listen(qemu.stderr, 'console');
  const also: Partial<Record<Channel, (data: Buffer) => void>> = {
    ...(request.onStdout && { stdout: request.onStdout }),
    ...(request.onStderr && { stderr: request.onStderr }),
  };
  for (const [index, channel] of channels.entries())
    listen(qemu.stdio[INITRAMFS_FD + 1 + index], channel, also[channel]);
  const text = (channel: Channel): string => Buffer.concat(gathered[channel]).toString();
  return () => ({
    console: text('console').slice(-4000),
    stdout: text('stdout'),
    stderr: text('stderr'),
    control: text('control'),
  });
}

/** Waits for QEMU's end; when the time is over it is killed. True when it ended by itself. */
async function endsInTime(qemu: ChildProcess, timeoutMs: number): Promise<boolean> {
  let onTime = true;
  const timer = setTimeout(() => {
    onTime = false;
    qemu.kill('SIGKILL');
  }, timeoutMs);
  try {
    await once(qemu, 'close');
  } catch (error) {
    throw new LabError('setpriv could not be run (util-linux)', { cause: error });
  } finally {
    clearTimeout(timer);
  }
  return onTime;
}
