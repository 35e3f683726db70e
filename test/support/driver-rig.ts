/** The QEMU driver with a real QEMU under TCG, in a directory of its own for each test: tiny boot sectors instead of an operating system. */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import type { GuestEvent, LiveGuest } from '../../src/drivers/driver.ts';
import { QemuDriver } from '../../src/drivers/qemu/driver.ts';
import { defaultUidRange } from '../../src/drivers/qemu/identity.ts';
import { defaultLogLimits } from '../../src/drivers/qemu/log-file.ts';
import { defaultTimeouts, type QemuDriverOptions } from '../../src/drivers/qemu/options.ts';
import { CapabilityCache } from '../../src/drivers/qemu/probe/cache.ts';
import { emulatorFor } from '../../src/drivers/qemu/probe/find.ts';
import type { QemuCapabilities } from '../../src/drivers/qemu/probe/types.ts';
import { probeKvm } from '../../src/kvm/report.ts';
import { type DomainDef, parseDomain } from '../../src/model/domain/domain.ts';
import { readImageHeader } from '../../src/storage/image-header/read.ts';

const isRoot = process.getuid?.() === 0;

/** Boot sectors: one prints a line on the first serial port and powers off, one does nothing for ever. */
const codes = {
  speaking:
    'fa31c08ed8be1d7cac84c07406baf803eeebf5ba0406b80020eff4ebfd54494e592d475545535420616c6976650d0a00',
  idle: 'faf4ebfd',
} as const;

function bootSector(code: keyof typeof codes): Buffer {
  const image = Buffer.alloc(64 * 1024);
  Buffer.from(codes[code], 'hex').copy(image);
  image.writeUInt16BE(0x55aa, 510);
  return image;
}

/** What is wanted of a little guest. */
interface Wish {
  readonly image?: string;
  readonly type?: string;
  readonly os?: string;
  readonly cpu?: string;
  readonly devices?: string;
  readonly name?: string;
}

/** Of the guests `tiny` and all others. */
export const uuids = ['6b0f5a4e-52c1-4b3c-9a53-1f1f5b0f7a10', '0d9f4a2c-8f59-4a5b-a3fb-3b1dd0c2c911'];

export class DriverRig {
  /** Where the driver of this test has its files, and the images `speaking.img` and `idle.img`. */
  root = '';
  /** Guests that are ended with the test. */
  readonly alive: LiveGuest[] = [];
  private cacheDirectory = '';
  private made: QemuDriver | undefined;

  get driver(): QemuDriver {
    if (this.made === undefined) throw new Error('no test is running');
    return this.made;
  }

  /** Capabilities are probed once for all tests of a file. */
  async open(): Promise<void> {
    this.cacheDirectory = await mkdtemp('/tmp/vireo-cache-');
  }

  async close(): Promise<void> {
    await rm(this.cacheDirectory, { recursive: true, force: true });
  }

  async begin(): Promise<void> {
    // 0700: a guest's user can't even get here, and needs not.
    this.root = await mkdtemp('/tmp/vireo-drv-');
    await writeFile(join(this.root, 'speaking.img'), bootSector('speaking'), { mode: 0o600 });
    await writeFile(join(this.root, 'idle.img'), bootSector('idle'), { mode: 0o600 });
    this.made = new QemuDriver(this.optionsFor());
  }

  async end(): Promise<void> {
    for (const guest of this.alive.splice(0)) {
      await guest.kill({ force: true, graceMs: 0 });
      await this.driver.cleanUp(guest.record, guest.definition);
    }
    await rm(this.root, { recursive: true, force: true });
  }

  optionsFor(change: Partial<QemuDriverOptions> = {}): QemuDriverOptions {
    const cache = new CapabilityCache({
      directory: this.cacheDirectory,
      probe: { timeoutMs: 60_000, runtimeDirectory: this.cacheDirectory },
      log: silentLogger,
    });
    return {
      mode: isRoot ? 'system' : 'session',
      runtimeDirectory: join(this.root, 'run'),
      nvramDirectory: join(this.root, 'nvram'),
      tpmDirectory: join(this.root, 'tpm'),
      logDirectory: join(this.root, 'log'),
      firmwareDirectories: ['/usr/share/qemu/firmware'],
      hostArch: 'x86_64',
      graphicsPorts: { first: 25_900, last: 25_999 },
      timeouts: { ...defaultTimeouts, reattachMs: 2000 },
      logLimits: defaultLogLimits,
      openFiles: 4096,
      uidRange: defaultUidRange,
      sandbox: true,
      allowCommandLinePassthrough: false,
      logger: silentLogger,
      emulators: {
        capabilities: (path) => cache.get(path),
        find: async (arch) => (await emulatorFor(arch)).path,
      },
      documents: {
        capabilitiesXml: () => Promise.resolve('<capabilities/>'),
        domainCapabilitiesXml: () => Promise.resolve('<domainCapabilities/>'),
      },
      kvmReport: () => probeKvm(),
      images: { readHeader: readImageHeader },
      ...change,
    };
  }

  xmlOf(wish: Wish): string {
    const {
      image = join(this.root, 'idle.img'),
      type = 'qemu',
      os = '',
      cpu = '',
      devices = '',
      name = 'tiny',
    } = wish;
    return `<domain type='${type}'><name>${name}</name><uuid>${uuids[name === 'tiny' ? 0 : 1]}</uuid>
      <memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type>${os}</os><features><acpi/></features>${cpu}
      <devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${image}'/>
      <target dev='hda' bus='ide'/></disk><serial type='pty'/>${devices}</devices></domain>`;
  }

  /** What the QEMU of a guest offers. */
  capabilities(guest: LiveGuest): Promise<QemuCapabilities> {
    return this.optionsFor().emulators.capabilities(guest.record.qemuPath);
  }

  define(wish: Wish = {}, by = this.driver): Promise<DomainDef> {
    return by.prepare(parseDomain(this.xmlOf(wish), { mode: 'strict' }).definition);
  }

  async start(wish: Wish = {}, options = { paused: false }): Promise<LiveGuest> {
    const guest = await this.driver.start(await this.define(wish), 1, options);
    this.alive.push(guest);
    return guest;
  }

  /** Everything that a start could leave behind: guest directories, and processes that know this root. */
  leftovers(): string[] {
    const { root } = this;
    const directories = readdirSync(root).includes('run') ? readdirSync(join(root, 'run', 'g')) : [];
    const processes = readdirSync('/proc').filter(
      (name) => /^\d+$/.test(name) && environmentOf(name).includes(root),
    );
    return [...directories, ...processes];
  }
}

/** A rig for the tests of a file. */
export function driverRig(): DriverRig {
  const rig = new DriverRig();
  beforeAll(() => rig.open());
  afterAll(() => rig.close());
  beforeEach(() => rig.begin());
  afterEach(() => rig.end());
  return rig;
}

/** The next event of that kind. */
export function eventOf<K extends GuestEvent['kind']>(
  guest: LiveGuest,
  kind: K,
): Promise<Extract<GuestEvent, { kind: K }>> {
  return new Promise((resolve) => {
    guest.onEvent((event) => {
      if (event.kind === kind) resolve(event as Extract<GuestEvent, { kind: K }>);
    });
  });
}

/** The environment of a process; nothing of one that has ended meanwhile. */
export function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1');
  } catch {
    return '';
  }
}

/** What the guest says on its console until that comes. */
export async function readUntil(guest: LiveGuest, wanted: string): Promise<string> {
  const stream = await guest.openConsole(undefined, { force: false });
  let text = '';
  for await (const chunk of stream) {
    text += String(chunk);
    if (text.includes(wanted)) break;
  }
  return text;
}
