/** Capabilities by binary, in memory and on disk, so that a probe happens once for each change of binary or host. */
import { createHash } from 'node:crypto';
import { type Stats, statSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { fileError, isVirtError, reasonOf } from '../../../base/errors.ts';
import { ensureDirectory, mayUse, readText, statIfPresent, writeAtomic } from '../../../base/files.ts';
import type { Logger } from '../../../base/log.ts';
import { SEV_DEVICE } from '../../../kvm/sev.ts';
import { isObject } from '../qmp/codec.ts';
import { isKvmAccessible, probeQemu } from './probe.ts';
import type { ProbeOptions } from './session.ts';
import type { QemuCapabilities } from './types.ts';

/** Raise it when what is probed or how it is written changes; older files are then probed anew. */
const FILE_FORMAT = 4;

/** A record is about 300 KiB; whatever is far larger is none of ours. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;

export interface CacheOptions {
  /** Made when it is needed, mode 0700. */
  readonly directory: string;
  readonly probe: ProbeOptions;
  readonly log: Logger;
  /** What the cache looks at; tests hand in others. */
  readonly probeQemu?: typeof probeQemu;
  readonly isKvmAccessible?: () => Promise<boolean>;
  readonly isSevAccessible?: () => boolean;
}

/** What a record depends on; any difference means: probe again. */
type Fingerprint = string;

interface Held {
  readonly fingerprint: Fingerprint;
  readonly capabilities: QemuCapabilities;
}

/** QEMU's modules (displays, audio, block drivers) come and go without the binary changing. */
const moduleDirectories = [
  '/usr/lib/x86_64-linux-gnu/qemu',
  '/usr/lib/aarch64-linux-gnu/qemu',
  '/usr/lib64/qemu',
  '/usr/lib/qemu',
];

export class CapabilityCache {
  private readonly options: CacheOptions;
  private readonly held = new Map<string, Held>();
  private readonly underWay = new Map<string, Promise<QemuCapabilities>>();

  constructor(options: CacheOptions) {
    this.options = options;
  }

  /**
   * The capabilities of a binary. Callers at the same time share one probe. A file that is torn or of another format is
   * replaced; one that can't be written costs only a later probe, and is logged.
   * @throws VirtError file.not-found, qemu.probe-failed; failures are not remembered
   */
  get(path: string): Promise<QemuCapabilities> {
    const running = this.underWay.get(path);
    if (running !== undefined) return running;
    const started = this.look(path).finally(() => this.underWay.delete(path));
    this.underWay.set(path, started);
    return started;
  }

  /** Whether there is a record of that binary, so that asking for its capabilities most likely starts no QEMU. */
  async knows(path: string): Promise<boolean> {
    return this.held.has(path) || (await statIfPresent(this.fileOf(path))) !== undefined;
  }

  private async look(path: string): Promise<QemuCapabilities> {
    const fingerprint = await this.fingerprintOf(path);
    const held = this.held.get(path) ?? (await this.read(path));
    if (held?.fingerprint === fingerprint) {
      this.held.set(path, held);
      return held.capabilities;
    }
    const capabilities = await (this.options.probeQemu ?? probeQemu)(path, this.options.probe);
    this.held.set(path, { fingerprint, capabilities });
    await this.write(path, { fingerprint, capabilities });
    return capabilities;
  }

  private async fingerprintOf(path: string): Promise<Fingerprint> {
    const file = statNow(path);
    return JSON.stringify({
      path,
      sizeBytes: file.size,
      ctimeMs: file.ctimeMs,
      kvm: await (this.options.isKvmAccessible ?? isKvmAccessible)(),
      sev: (this.options.isSevAccessible ?? (() => mayUse(SEV_DEVICE)))(),
      ...hostFingerprint(),
      modules: moduleDirectories.map(changeTime),
    });
  }

  private fileOf(path: string): string {
    const name = createHash('sha256').update(path).digest('hex').slice(0, 32);
    return join(this.options.directory, `${name}.json`);
  }

  private async read(path: string): Promise<Held | undefined> {
    try {
      return decodeFile(await readText(this.fileOf(path), MAX_FILE_BYTES));
    } catch (error) {
      if (!isVirtError(error, 'file.not-found'))
        this.options.log.warn({ path, reason: reasonOf(error) }, 'the capability cache cannot be read');
      return undefined;
    }
  }

  private async write(path: string, held: Held): Promise<void> {
    try {
      await ensureDirectory(this.options.directory, 0o700);
      await writeAtomic(this.fileOf(path), encodeFile(held));
    } catch (error) {
      this.options.log.warn({ path, reason: reasonOf(error) }, 'the capability cache cannot be written');
    }
  }
}

/** At once, as the module loader does it: these are files of the system's own, and this runs at each define and start. */
function statNow(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw fileError(error, 'look at the QEMU binary', path);
  }
}

function changeTime(directory: string): number {
  try {
    // Most are not there: an error made for each of them took longer than all else.
    return statSync(directory, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  } catch {
    return 0; // Closed to us: QEMU loads nothing from it either.
  }
}

let hostPart: { readonly kernel: string; readonly cpu: string } | undefined;

/** What cannot change while this process runs; cpus() reads a good part of /proc. */
function hostFingerprint(): { readonly kernel: string; readonly cpu: string } {
  hostPart ??= { kernel: release(), cpu: cpus()[0]?.model ?? '' };
  return hostPart;
}

/** First line: format, fingerprint and the checksum of the second line, which holds the capabilities. */
function encodeFile({ fingerprint, capabilities }: Held): string {
  const body = JSON.stringify(capabilities);
  return `${JSON.stringify({ format: FILE_FORMAT, sha256: digest(body), fingerprint })}\n${body}\n`;
}

/** Undefined for anything but a whole file of this format: the checksum stands in for a check of every member. */
function decodeFile(text: string): Held | undefined {
  const [head = '', body = ''] = text.split('\n');
  try {
    const facts: unknown = JSON.parse(head);
    if (!isObject(facts) || facts['format'] !== FILE_FORMAT || facts['sha256'] !== digest(body))
      return undefined;
    if (typeof facts['fingerprint'] !== 'string') return undefined;
    return { fingerprint: facts['fingerprint'], capabilities: JSON.parse(body) as QemuCapabilities };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
