/**
 * What we ask of the guest agent (qemu-ga, QEMU docs/interop/qemu-ga-ref), in types. Its answers come from inside the
 * guest: data of a stranger, checked here and capped; nothing vouches for any of it.
 */
import * as z from 'zod';
import { oneLine, VirtError } from '../base/errors.ts';

export interface AgentAskOptions {
  /** For the answer, after the agent has shown that it listens. Default 5 s. */
  readonly timeoutMs?: number;
  /** The command answers only when it fails: so long a silence means that it is done. */
  readonly silenceMs?: number;
}

/**
 * Asks one question and gives the answer's `return`.
 * @throws VirtError agent.missing, agent.unresponsive; operation.failed when the agent refuses (details.class)
 */
export type AgentAsk = (
  command: string,
  args?: Readonly<Record<string, unknown>>,
  options?: AgentAskOptions,
) => Promise<unknown>;

/** More of a kind than any guest has that somebody looks at; what is beyond is left out. */
const MAX_ENTRIES = 1024;
/** Freezing, trimming and measuring disks takes time, and so do the programs that set the clock or a password. */
const SLOW_MS = 60_000;
/** Bytes of a file in one question: an answer is at most 1 MiB, and base64 makes four of three. */
export const AGENT_CHUNK_BYTES = 256 * 1024;

const text = z.string().transform((value) => oneLine(value, 512));
const list = <T>(entry: z.ZodType<T>) =>
  z.array(z.unknown()).transform((all) =>
    all.slice(0, MAX_ENTRIES).flatMap((one) => {
      const { success, data } = entry.safeParse(one);
      return success ? [data] : [];
    }),
  );

const osInfo = z.object({
  id: text.optional(),
  name: text.optional(),
  'pretty-name': text.optional(),
  version: text.optional(),
  'version-id': text.optional(),
  machine: text.optional(),
  variant: text.optional(),
  'variant-id': text.optional(),
  'kernel-release': text.optional(),
  'kernel-version': text.optional(),
});
export type AgentOs = z.output<typeof osInfo>;

const user = z.object({ user: text, domain: text.optional(), 'login-time': z.number() });
export type AgentUser = z.output<typeof user>;

const timezone = z.object({ zone: text.optional(), offset: z.int() });
export type AgentTimezone = z.output<typeof timezone>;

const pciAddress = z.object({ domain: z.int(), bus: z.int(), slot: z.int(), function: z.int() });
const diskAddress = z.object({
  'pci-controller': pciAddress,
  'bus-type': text,
  bus: z.int(),
  target: z.int(),
  unit: z.int(),
  serial: text.optional(),
  dev: text.optional(),
});
export type AgentDiskAddress = z.output<typeof diskAddress>;

const fileSystem = z.object({
  name: text,
  mountpoint: text,
  type: text,
  'used-bytes': z.int().nonnegative().optional(),
  'total-bytes': z.int().nonnegative().optional(),
  disk: list(diskAddress),
});
export type AgentFileSystem = z.output<typeof fileSystem>;

const disk = z.object({
  name: text,
  partition: z.boolean(),
  dependencies: list(text).optional(),
  address: diskAddress.optional(),
  alias: text.optional(),
});
export type AgentDisk = z.output<typeof disk>;

const vcpu = z.object({
  'logical-id': z.int().nonnegative(),
  online: z.boolean(),
  'can-offline': z.boolean().default(false),
});
export type AgentCpu = z.output<typeof vcpu>;

const execStatus = z.object({
  exited: z.boolean(),
  exitcode: z.int().optional(),
  signal: z.int().optional(),
  'out-data': z.string().optional(),
  'err-data': z.string().optional(),
  'out-truncated': z.boolean().optional(),
  'err-truncated': z.boolean().optional(),
});

/** How a program in the guest stands. */
export interface AgentProgram {
  readonly hasExited: boolean;
  readonly exitCode?: number;
  readonly signal?: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** The agent keeps 16 MiB of each; the rest was lost. */
  readonly isTruncated: boolean;
}

export class GuestAgent {
  private readonly ask: AgentAsk;

  constructor(ask: AgentAsk) {
    this.ask = ask;
  }

  /** Any command, for experts; the answer is nobody's promise. */
  command: AgentAsk = (command, args, options) => this.ask(command, args, options);

  async hostName(): Promise<string> {
    const found = await this.read('guest-get-host-name', z.object({ 'host-name': text }));
    return found['host-name'];
  }

  osInfo(): Promise<AgentOs> {
    return this.read('guest-get-osinfo', osInfo);
  }

  users(): Promise<AgentUser[]> {
    return this.read('guest-get-users', list(user));
  }

  timezone(): Promise<AgentTimezone> {
    return this.read('guest-get-timezone', timezone);
  }

  fileSystems(): Promise<AgentFileSystem[]> {
    return this.read('guest-get-fsinfo', list(fileSystem), undefined, { timeoutMs: SLOW_MS });
  }

  disks(): Promise<AgentDisk[]> {
    return this.read('guest-get-disks', list(disk), undefined, { timeoutMs: SLOW_MS });
  }

  /** Nanoseconds since 1970 by the guest's clock. */
  async timeNs(): Promise<bigint> {
    return BigInt(await this.read('guest-get-time', z.number()));
  }

  /** Sets the guest's clock; without a time, from its hardware clock. */
  async setTime(ns?: bigint): Promise<void> {
    const args = ns === undefined ? undefined : { time: Number(ns) };
    await this.ask('guest-set-time', args, { timeoutMs: SLOW_MS });
  }

  /** `isCrypted`: the password is what the guest stores, made by crypt(3). */
  async setPassword(username: string, password: string, isCrypted: boolean): Promise<void> {
    const encoded = Buffer.from(password, 'utf8').toString('base64');
    const args = { username, password: encoded, crypted: isCrypted };
    await this.ask('guest-set-user-password', args, { timeoutMs: SLOW_MS });
  }

  /** Stops writes to file systems, all of them or these mount points; the answer is how many. */
  freeze(mountpoints?: readonly string[]): Promise<number> {
    const slow = { timeoutMs: SLOW_MS };
    if (mountpoints === undefined) return this.read('guest-fsfreeze-freeze', z.int(), undefined, slow);
    return this.read('guest-fsfreeze-freeze-list', z.int(), { mountpoints }, slow);
  }

  /** Lets writes go on, everywhere; the answer is how many file systems were frozen. */
  thaw(): Promise<number> {
    return this.read('guest-fsfreeze-thaw', z.int(), undefined, { timeoutMs: SLOW_MS });
  }

  freezeStatus(): Promise<'frozen' | 'thawed'> {
    return this.read('guest-fsfreeze-status', z.enum(['frozen', 'thawed']));
  }

  /** Gives unused blocks back to the disks; `minimum`: shorter free stretches than this may stay, in bytes. */
  async trim(minimum: number): Promise<void> {
    await this.ask('guest-fstrim', minimum === 0 ? undefined : { minimum }, { timeoutMs: SLOW_MS });
  }

  cpus(): Promise<AgentCpu[]> {
    return this.read('guest-get-vcpus', list(vcpu));
  }

  /** Has the guest use these CPUs, or not; the answer is how many of them were done, in order. */
  setCpus(cpus: readonly { readonly id: number; readonly online: boolean }[]): Promise<number> {
    const vcpus = cpus.map(({ id, online }) => ({ 'logical-id': id, online }));
    return this.read('guest-set-vcpus', z.int(), { vcpus });
  }

  async suspend(mode: 'ram' | 'disk' | 'hybrid'): Promise<void> {
    await this.ask(`guest-suspend-${mode}`, undefined, { silenceMs: 2000 });
  }

  async sshKeys(username: string): Promise<string[]> {
    const found = await this.read(
      'guest-ssh-get-authorized-keys',
      z.object({ keys: z.array(z.string().max(16_384)) }),
      { username },
    );
    return found.keys.slice(0, MAX_ENTRIES);
  }

  /** `reset`: what was there before goes. */
  async addSshKeys(username: string, keys: readonly string[], reset: boolean): Promise<void> {
    await this.ask('guest-ssh-add-authorized-keys', { username, keys, reset });
  }

  async removeSshKeys(username: string, keys: readonly string[]): Promise<void> {
    await this.ask('guest-ssh-remove-authorized-keys', { username, keys });
  }

  /** Starts a program; the answer is its process id in the guest. No shell: `path` is found by the guest's PATH. */
  async exec(program: {
    readonly path: string;
    readonly args: readonly string[];
    readonly environment?: readonly string[];
    readonly input?: Buffer;
    readonly capture: boolean;
  }): Promise<number> {
    const { path, args, environment, input, capture } = program;
    const { pid } = await this.read('guest-exec', z.object({ pid: z.int() }), {
      path,
      arg: args,
      ...(environment && { env: environment }),
      ...(input && { 'input-data': input.toString('base64') }),
      'capture-output': capture,
    });
    return pid;
  }

  async execStatus(pid: number): Promise<AgentProgram> {
    const found = await this.read('guest-exec-status', execStatus, { pid });
    return {
      hasExited: found.exited,
      ...(found.exitcode !== undefined && { exitCode: found.exitcode }),
      ...(found.signal !== undefined && { signal: found.signal }),
      stdout: Buffer.from(found['out-data'] ?? '', 'base64'),
      stderr: Buffer.from(found['err-data'] ?? '', 'base64'),
      isTruncated: found['out-truncated'] === true || found['err-truncated'] === true,
    };
  }

  /** Reads a file of the guest, at most so many bytes. @throws VirtError request.too-large when it has more */
  async readFile(path: string, maxBytes: number): Promise<Buffer> {
    const handle = await this.read('guest-file-open', z.int(), { path, mode: 'r' });
    try {
      return await this.readAll(handle, path, maxBytes);
    } finally {
      await this.ask('guest-file-close', { handle });
    }
  }

  private async readAll(handle: number, path: string, maxBytes: number): Promise<Buffer> {
    const part = z.object({ count: z.int(), 'buf-b64': z.string(), eof: z.boolean() });
    const pieces: Buffer[] = [];
    let length = 0;
    for (;;) {
      const found = await this.read('guest-file-read', part, { handle, count: AGENT_CHUNK_BYTES });
      const piece = Buffer.from(found['buf-b64'], 'base64');
      pieces.push(piece);
      length += piece.length;
      if (length > maxBytes)
        throw new VirtError('request.too-large', {
          wanted: `read ${path} of the guest`,
          reason: `it has more than ${maxBytes} bytes`,
        });
      // A guest that sends nothing and no end would keep us here for ever.
      if (found.eof || piece.length === 0) return Buffer.concat(pieces);
    }
  }

  /** Writes a file of the guest: a new one, or in place of what was there (`append`: behind it). */
  async writeFile(path: string, bytes: Buffer, append: boolean): Promise<void> {
    const handle = await this.read('guest-file-open', z.int(), { path, mode: append ? 'a' : 'w' });
    try {
      for (let at = 0; at < bytes.length; ) {
        const chunk = bytes.subarray(at, at + AGENT_CHUNK_BYTES);
        const written = await this.read('guest-file-write', z.object({ count: z.int() }), {
          handle,
          'buf-b64': chunk.toString('base64'),
        });
        if (written.count < 1 || written.count > chunk.length) throw odd('guest-file-write');
        at += written.count;
      }
    } finally {
      await this.ask('guest-file-close', { handle });
    }
  }

  private async read<T>(
    command: string,
    schema: z.ZodType<T>,
    args?: Readonly<Record<string, unknown>>,
    options?: AgentAskOptions,
  ): Promise<T> {
    const { success, data } = schema.safeParse(await this.ask(command, args, options));
    if (!success) throw odd(command);
    return data;
  }
}

function odd(command: string): VirtError {
  return new VirtError('operation.failed', {
    wanted: 'ask the guest agent',
    reason: `its answer to ${command} makes no sense`,
  });
}
