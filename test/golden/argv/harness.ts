/** Starts a real QEMU with a built command: opens what it needs, and talks to its monitor. For integration tests. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { connectUnix, FfiError, ioctlBuffer, listenUnix, open, socketPair } from '../../../src/base/ffi.ts';
import { renderArgs } from '../../../src/drivers/qemu/argv/render.ts';
import type { FdNeed, HelperNeed, QemuCommand } from '../../../src/drivers/qemu/argv/types.ts';

const MIB = 1024 * 1024;

/** The guest's own directory, where the driver starts QEMU too, with the place for sockets that QEMU makes itself. */
function guestDirectory(command: QemuCommand): string {
  const monitor = command.fds.find((need) => need.kind === 'listen');
  if (monitor?.kind !== 'listen') throw new Error('no monitor');
  const directory = dirname(monitor.path);
  mkdirSync(join(directory, 'own'), { recursive: true });
  return directory;
}

/** Descriptors, listeners and helper processes of one trial; `close` lets go of all. */
export class Trial {
  private readonly fds: number[] = [];
  private readonly processes: ChildProcess[] = [];
  private tapName: string | undefined;

  /** Runs QEMU until its monitor answered; the answer is its run state and name. Throws with QEMU's own words. */
  async run(command: QemuCommand): Promise<{ status: string; name: string }> {
    for (const helper of command.helpers) await this.startHelper(helper);
    const child = spawn(command.binary, renderArgs(command), {
      cwd: guestDirectory(command),
      stdio: this.inherited(command.fds),
      env: { LC_ALL: 'C', PATH: '/usr/bin:/bin', ...command.environment },
    });
    this.processes.push(child);
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const ended = new Promise<never>((_resolve, reject) => {
      child.on('exit', (code, signal) =>
        reject(new Error(`QEMU ended (${code ?? signal}): ${stderr.trim()}`)),
      );
    });
    const timeout = new Promise<never>((_resolve, reject) => {
      setTimeout(() => reject(new Error(`QEMU says nothing: ${stderr.trim()}`)), 20_000).unref();
    });
    // A monitor that breaks off is QEMU's end, and QEMU's own words say more.
    const told = this.talk(command).catch((error: unknown) => Promise.race([ended, after(1000, error)]));
    return Promise.race([told, ended, timeout]);
  }

  private async talk(command: QemuCommand): Promise<{ status: string; name: string }> {
    const monitor = command.fds.find((need) => need.kind === 'listen');
    if (monitor?.kind !== 'listen') throw new Error('no monitor');
    const socket = connect(monitor.path);
    try {
      const replies = lines(socket);
      await replies.next();
      await ask(socket, replies, 'qmp_capabilities');
      for (const step of command.setup) await ask(socket, replies, step.execute, step.arguments);
      const status = (await ask(socket, replies, 'query-status')) as { status: string };
      const { name } = (await ask(socket, replies, 'query-name')) as { name: string };
      return { status: status.status, name };
    } finally {
      socket.destroy();
    }
  }

  /** Standard streams, then what is inherited under the numbers that the command gives. */
  private inherited(needs: readonly FdNeed[]): ('ignore' | 'pipe' | number)[] {
    const stdio: ('ignore' | 'pipe' | number)[] = ['ignore', 'ignore', 'pipe'];
    for (const need of needs) {
      stdio[need.fd] = this.keep(this.open(need));
      if (need.kind === 'file' && need.roFd !== undefined)
        stdio[need.roFd] = this.keep(openSync(need.path, constants.O_RDONLY));
    }
    return stdio;
  }

  private keep(fd: number): number {
    this.fds.push(fd);
    return fd;
  }

  private open(need: FdNeed): number {
    switch (need.kind) {
      case 'listen':
        return listenUnix(need.path);
      case 'connect':
        if (!existsSync(need.path)) this.keep(listenUnix(this.parent(need.path), 8));
        return connectSoon(need.path);
      case 'file':
        return openSync(this.parent(need.path), modes[need.access], 0o600);
      case 'passed':
        return this.image(need);
      case 'copy':
        return openSync(need.path, constants.O_RDONLY);
      case 'text':
      case 'secret': {
        const path = this.parent(join(tmpdir(), `vireo-secret-${process.pid}`, 'value'));
        writeFileSync(path, need.kind === 'text' ? need.text : 'a secret', { mode: 0o600 });
        const fd = openSync(path, constants.O_RDONLY);
        rmSync(dirname(path), { recursive: true });
        return fd;
      }
      case 'memory-file':
        return this.openMemory(need);
      case 'tap':
        return this.openTap(need.queue > 0);
      case 'passt': {
        // The other half stays ours: nobody needs to serve a card that no guest uses.
        const [ours, theirs] = socketPair();
        this.keep(theirs);
        return ours;
      }
      case 'vhost-net':
      case 'vhost-vsock':
      case 'vhost-scsi':
        throw new Error(`${need.kind} is not there`);
    }
  }

  /** Of a group whose first descriptor is for writing, as a shown command line assumes. */
  private image({ index }: Extract<FdNeed, { kind: 'passed' }>): number {
    const path = this.parent(join(tmpdir(), `vireo-passed-${process.pid}`, 'image'));
    writeFileSync(path, Buffer.alloc(512));
    const fd = openSync(path, index === 0 ? constants.O_RDWR : constants.O_RDONLY);
    rmSync(dirname(path), { recursive: true });
    return fd;
  }

  private parent(path: string): string {
    mkdirSync(dirname(path), { recursive: true });
    return path;
  }

  private openMemory(need: Extract<FdNeed, { kind: 'memory-file' }>): number {
    const fd = openSync(
      this.parent(need.path),
      need.access === 'ro' ? 'r' : constants.O_RDWR | constants.O_CREAT,
    );
    if (need.access === 'rw') ftruncateSync(fd, need.createBytes ?? 256 * MIB);
    return fd;
  }

  /** A tap that is down and goes away with its last descriptor (linux/if_tun.h: TUNSETIFF on struct ifreq). */
  private openTap(again: boolean): number {
    const TUNSETIFF = 0x400454ca;
    const IFF_TAP_NO_PI_VNET_HDR_MULTI_QUEUE = 0x0002 | 0x1000 | 0x4000 | 0x0100;
    const fd = open('/dev/net/tun', constants.O_RDWR);
    const request = Buffer.alloc(40);
    request.write(again ? (this.tapName ?? '') : 'vargv%d');
    request.writeUInt16LE(IFF_TAP_NO_PI_VNET_HDR_MULTI_QUEUE, 16);
    ioctlBuffer(fd, TUNSETIFF, request);
    this.tapName = request.toString('latin1', 0, 16).replace(/\0.*/s, '');
    return fd;
  }

  private async startHelper(helper: HelperNeed): Promise<void> {
    if (helper.kind === 'passt') return;
    mkdirSync(dirname(helper.socket), { recursive: true });
    if (helper.kind === 'swtpm') {
      mkdirSync(helper.stateDirectory, { recursive: true });
      const state = [
        '--tpmstate',
        `dir=${helper.stateDirectory}`,
        '--ctrl',
        `type=unixio,path=${helper.socket}`,
      ];
      this.processes.push(spawn('swtpm', ['socket', '--tpm2', ...state], { stdio: 'ignore' }));
    }
    if (helper.kind === 'virtiofsd') {
      mkdirSync(helper.sourceDirectory, { recursive: true });
      const options = ['-o', `source=${helper.sourceDirectory}`, '-o', 'sandbox=chroot'];
      const program = helper.binary ?? '/usr/lib/qemu/virtiofsd';
      this.processes.push(
        spawn(program, [`--socket-path=${helper.socket}`, ...options], { stdio: 'ignore' }),
      );
    }
    for (let tries = 0; tries < 100 && !existsSync(helper.socket); tries++)
      await new Promise((resolve) => setTimeout(resolve, 20));
  }

  close(): void {
    for (const child of this.processes) child.kill('SIGKILL');
    for (const fd of this.fds) closeSync(fd);
  }
}

function after(ms: number, error: unknown): Promise<never> {
  return new Promise((_resolve, reject) => setTimeout(() => reject(error as Error), ms).unref());
}

/** A helper's socket is there a moment before anybody listens on it. */
function connectSoon(path: string): number {
  for (let tries = 0; ; tries++) {
    try {
      return connectUnix(path);
    } catch (error) {
      if (!(error instanceof FfiError) || error.code !== 'ECONNREFUSED' || tries === 100) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
  }
}

const modes = {
  ro: constants.O_RDONLY,
  rw: constants.O_RDWR,
  append: constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND,
  truncate: constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC,
} as const;

function lines(socket: Socket): AsyncIterator<string> {
  return createInterface({ input: socket })[Symbol.asyncIterator]();
}

/** Sends one command and waits for its reply; events in between are passed over. */
async function ask(
  socket: Socket,
  replies: AsyncIterator<string>,
  execute: string,
  args?: unknown,
): Promise<unknown> {
  socket.write(`${JSON.stringify({ execute, ...(args !== undefined && { arguments: args }) })}\n`);
  for (;;) {
    const { value, done } = await replies.next();
    if (done) throw new Error(`the monitor closed at ${execute}`);
    const reply = JSON.parse(value) as { return?: unknown; error?: { desc: string } };
    if (reply.error !== undefined) throw new Error(`${execute}: ${reply.error.desc}`);
    if ('return' in reply) return reply.return;
  }
}

/** Makes the files that a command opens, each in the format that its name says. */
export function makeFiles(command: QemuCommand): void {
  for (const need of command.fds) {
    if (need.kind !== 'file' && need.kind !== 'copy') continue;
    if (existsSync(need.path) || (need.kind === 'file' && need.access !== 'ro' && need.access !== 'rw'))
      continue;
    mkdirSync(dirname(need.path), { recursive: true });
    const format = /\.(qcow2|vmdk)$/.exec(need.path)?.[1];
    if (format !== undefined) execFileSync('qemu-img', ['create', '-q', '-f', format, need.path, '8M']);
    else
      writeFileSync(
        need.path,
        need.purpose === 'os.kernel' ? bootableKernel() : Buffer.alloc(sizeFor(need.path)),
      );
  }
}

/** A floppy has a size of its own, an ACPI table is small. */
function sizeFor(path: string): number {
  if (/\.(dat|aml|ign)$/.test(path)) return 4096;
  return /\/f(loppy)?\.img$/.test(path) ? 1440 * 1024 : 2 * MIB;
}

/** The head of a Linux kernel (Documentation/arch/x86/boot.rst): enough for QEMU to load it, and nothing to run. */
function bootableKernel(): Buffer {
  const kernel = Buffer.alloc(128 * 1024);
  kernel[0x1f1] = 1;
  kernel.write('HdrS', 0x202, 'latin1');
  kernel.writeUInt16LE(0x0206, 0x206);
  kernel.writeUInt32LE(0x37ff_ffff, 0x22c);
  return kernel;
}
