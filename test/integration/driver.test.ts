/** The QEMU driver with a real QEMU under TCG: tiny boot sectors instead of an operating system. */
import { chmodSync, existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { VirtError } from '../../src/base/errors.ts';
import { silentLogger } from '../../src/base/log.ts';
import { isSameProcess, killProcess, processStartTime } from '../../src/base/spawn.ts';
import type { GuestEvent, GuestRecord, HostDeviceProvider, LiveGuest } from '../../src/drivers/driver.ts';
import { QemuDriver } from '../../src/drivers/qemu/driver.ts';
import { defaultUidRange } from '../../src/drivers/qemu/identity.ts';
import { defaultLogLimits } from '../../src/drivers/qemu/log-file.ts';
import { defaultTimeouts, type QemuDriverOptions } from '../../src/drivers/qemu/options.ts';
import { CapabilityCache } from '../../src/drivers/qemu/probe/cache.ts';
import { emulatorFor } from '../../src/drivers/qemu/probe/find.ts';
import { probeKvm } from '../../src/kvm/report.ts';
import { type DomainDef, parseDomain } from '../../src/model/domain/domain.ts';
import { readImageHeader } from '../../src/storage/image-header/read.ts';
import { describeWith } from '../support/needs.ts';

const isRoot = process.getuid?.() === 0;
const qemu = 'qemu-system-x86_64';

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

let cacheDirectory: string;
let root: string;
let driver: QemuDriver;
const alive: LiveGuest[] = [];

beforeAll(async () => {
  cacheDirectory = await mkdtemp('/tmp/vireo-cache-');
});
afterAll(() => rm(cacheDirectory, { recursive: true, force: true }));

beforeEach(async () => {
  // 0700: a guest's user can't even get here, and needs not.
  root = await mkdtemp('/tmp/vireo-drv-');
  await writeFile(join(root, 'speaking.img'), bootSector('speaking'), { mode: 0o600 });
  await writeFile(join(root, 'idle.img'), bootSector('idle'), { mode: 0o600 });
  driver = new QemuDriver(optionsFor());
});
afterEach(async () => {
  for (const guest of alive.splice(0)) {
    await guest.kill({ force: true, graceMs: 0 });
    await driver.cleanUp(guest.record, guest.definition);
  }
  await rm(root, { recursive: true, force: true });
});

function optionsFor(change: Partial<QemuDriverOptions> = {}): QemuDriverOptions {
  const cache = new CapabilityCache({
    directory: cacheDirectory,
    probe: { timeoutMs: 60_000, runtimeDirectory: cacheDirectory },
    log: silentLogger,
  });
  return {
    mode: isRoot ? 'system' : 'session',
    runtimeDirectory: join(root, 'run'),
    nvramDirectory: join(root, 'nvram'),
    tpmDirectory: join(root, 'tpm'),
    logDirectory: join(root, 'log'),
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

interface Wish {
  readonly image?: string;
  readonly type?: string;
  readonly os?: string;
  readonly devices?: string;
  readonly name?: string;
}

const uuids = ['6b0f5a4e-52c1-4b3c-9a53-1f1f5b0f7a10', '0d9f4a2c-8f59-4a5b-a3fb-3b1dd0c2c911'];

function xmlOf(wish: Wish): string {
  const { image = join(root, 'idle.img'), type = 'qemu', os = '', devices = '', name = 'tiny' } = wish;
  return `<domain type='${type}'><name>${name}</name><uuid>${uuids[name === 'tiny' ? 0 : 1]}</uuid>
    <memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type>${os}</os><features><acpi/></features>
    <devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${image}'/>
    <target dev='hda' bus='ide'/></disk><serial type='pty'/>${devices}</devices></domain>`;
}

function define(wish: Wish = {}, by = driver): Promise<DomainDef> {
  return by.prepare(parseDomain(xmlOf(wish), { mode: 'strict' }).definition);
}

async function start(wish: Wish = {}, options = { paused: false }): Promise<LiveGuest> {
  const guest = await driver.start(await define(wish), 1, options);
  alive.push(guest);
  return guest;
}

function eventOf<K extends GuestEvent['kind']>(
  guest: LiveGuest,
  kind: K,
): Promise<Extract<GuestEvent, { kind: K }>> {
  return new Promise((resolve) => {
    guest.onEvent((event) => {
      if (event.kind === kind) resolve(event as Extract<GuestEvent, { kind: K }>);
    });
  });
}

/** Everything that a start could leave behind: guest directories, and processes that know this root. */
function leftovers(): string[] {
  const directories = readdirSync(root).includes('run') ? readdirSync(join(root, 'run', 'g')) : [];
  const processes = readdirSync('/proc').filter(
    (name) => /^\d+$/.test(name) && environmentOf(name).includes(root),
  );
  return [...directories, ...processes];
}

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1');
  } catch {
    return ''; // It has ended meanwhile.
  }
}

async function readUntil(guest: LiveGuest, wanted: string): Promise<string> {
  const stream = await guest.openConsole(undefined, { force: false });
  let text = '';
  for await (const chunk of stream) {
    text += String(chunk);
    if (text.includes(wanted)) break;
  }
  return text;
}

describeWith([qemu], 'a guest', () => {
  it('speaks on its console and is found powered off, with QEMU waiting to be ended', async () => {
    const guest = await start({ image: join(root, 'speaking.img') }, { paused: true });
    expect(guest.state).toEqual({ state: 'paused', reason: 'user' });
    const said = readUntil(guest, 'alive');
    const off = eventOf(guest, 'powered-off');
    await guest.resume();
    expect(await said).toContain('TINY-GUEST alive');
    expect(await off).toMatchObject({ byGuest: true });
    expect(guest.state.state).toBe('shutdown');
    expect(isSameProcess(guest.record)).toBe(true);
    expect(await guest.kill({ force: true, graceMs: 5000 })).toMatchObject({ exitCode: 0 });
    expect(isSameProcess(guest.record)).toBe(false);
  });

  it('is suspended, resumed and reset, and says so', async () => {
    const guest = await start();
    await expect.poll(() => guest.state).toEqual({ state: 'running', reason: 'booted' });
    await guest.suspend();
    expect(guest.state).toEqual({ state: 'paused', reason: 'user' });
    await guest.resume();
    expect(guest.state).toEqual({ state: 'running', reason: 'unpaused' });
    const reset = eventOf(guest, 'reset');
    await guest.reset();
    expect(await reset).toMatchObject({ byGuest: false });
    await guest.injectNmi();
    await guest.sendKeys(['ctrl', 'alt', 'delete'], 50);
    await expect(guest.sendKeys(['ctrl', 'nokey'], 0)).rejects.toThrow(
      expect.objectContaining({ code: 'request.invalid', reason: "'nokey' is no key that this QEMU knows" }),
    );
    await expect(guest.sendKeys(['no key'], 0)).rejects.toThrow(
      expect.objectContaining({ code: 'request.invalid' }),
    );
  });

  it('has its definition with what was chosen at the start', async () => {
    const guest = await start({
      devices: "<graphics type='vnc' port='-1' autoport='yes'/><video><model type='vga'/></video>",
    });
    expect(guest.definition.devices.serials[0]?.source).toMatchObject({
      type: 'pty',
      path: guest.record.ptys['serial0'],
    });
    const [vnc] = guest.definition.devices.graphics;
    const port = vnc?.type === 'vnc' ? vnc.port : undefined;
    expect(port).toBeGreaterThanOrEqual(25_900);
    const banner = await new Promise<string>((resolve, reject) => {
      const client = connect({ host: '127.0.0.1', port: port ?? 0 });
      client.once('data', (chunk) => {
        resolve(String(chunk));
        client.destroy();
      });
      client.once('error', reject);
    });
    expect(banner).toMatch(/^RFB 003/);
  });

  it('is photographed, though it may write to nothing but that one file', async () => {
    const guest = await start({ devices: "<video><model type='vga'/></video>" });
    const { mime, bytes } = await guest.screenshot(0);
    expect(mime).toBe('image/png');
    expect(bytes.subarray(1, 4).toString()).toBe('PNG');
    const [one, two] = await Promise.all([guest.screenshot(0), guest.screenshot(0)]);
    expect(one.bytes.subarray(1, 4).toString() + two.bytes.subarray(1, 4).toString()).toBe('PNGPNG');
    await expect(guest.screenshot(1)).rejects.toThrow(expect.objectContaining({ code: 'domain.no-device' }));
  });

  it('gets and loses port forwards while it runs', async () => {
    const guest = await start({ devices: "<interface type='user'><model type='e1000'/></interface>" });
    const forward = {
      protocol: 'tcp',
      hostAddress: '127.0.0.1',
      hostPort: 25_801,
      guestAddress: '',
      guestPort: 80,
    } as const;
    await guest.addPortForward('net0', forward);
    await expect(guest.addPortForward('net0', forward)).rejects.toThrow(
      expect.objectContaining({ code: 'forward.conflict' }),
    );
    await guest.removePortForward('net0', forward);
    await expect(guest.removePortForward('net0', forward)).rejects.toThrow(
      expect.objectContaining({ code: 'forward.not-found' }),
    );
    await expect(guest.addPortForward('net7', forward)).rejects.toThrow(
      expect.objectContaining({ code: 'domain.no-device' }),
    );
  });

  it('has one console user at a time, unless forced', async () => {
    const guest = await start();
    const first = await guest.openConsole('serial0', { force: false });
    await expect(guest.openConsole('serial0', { force: false })).rejects.toThrow(
      expect.objectContaining({ code: 'domain.busy' }),
    );
    const closed = new Promise<void>((resolve) => {
      first.once('close', resolve);
    });
    const second = await guest.openConsole(undefined, { force: true });
    await closed;
    second.write('typed');
    const ended = new Promise<void>((resolve) => {
      second.once('close', resolve);
    });
    second.resume();
    await guest.kill({ force: true, graceMs: 0 });
    await ended;
    await expect(guest.openConsole('parallel7', { force: true })).rejects.toThrow(
      expect.objectContaining({ code: 'domain.no-device' }),
    );
  });

  it('that is killed from outside has ended with that signal', async () => {
    const guest = await start();
    killProcess(guest.record, 'SIGKILL');
    expect(await guest.exited).toMatchObject({ signal: 'SIGKILL' });
    await expect(guest.suspend()).rejects.toThrow(expect.objectContaining({ code: 'qmp.closed' }));
  });

  it('whose QEMU hangs is not ended gracefully, but by force', async () => {
    const guest = await start();
    killProcess(guest.record, 'SIGSTOP');
    await expect(guest.kill({ force: false, graceMs: 100 })).rejects.toThrow(
      expect.objectContaining({ code: 'domain.busy' }),
    );
    expect(await guest.kill({ force: true, graceMs: 100 })).toMatchObject({ signal: 'SIGKILL' });
  });

  it('leaves nothing behind once it is cleaned up, and is not cleaned up while it lives', async () => {
    const guest = await start();
    await expect(driver.cleanUp(guest.record, guest.definition)).rejects.toThrow(/alive/);
    await guest.kill({ force: true, graceMs: 0 });
    await driver.cleanUp(guest.record, guest.definition);
    await driver.cleanUp(guest.record, guest.definition);
    expect(leftovers()).toEqual([]);
  });
});

describeWith([qemu, 'root'], 'the QEMU process of a system guest', () => {
  const statusOf = (guest: LiveGuest, field: string): string | undefined =>
    new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(
      readFileSync(`/proc/${guest.record.pid}/status`, 'utf8'),
    )?.[1];

  it('has ids of its own, no capability, no new privileges, and system calls denied (N1)', async () => {
    const guest = await start();
    const { uid = 0 } = guest.record;
    expect(uid).toBeGreaterThanOrEqual(defaultUidRange.first);
    expect(statusOf(guest, 'Uid')).toBe(`${uid}\t${uid}\t${uid}\t${uid}`);
    expect(statusOf(guest, 'Gid')).toBe(`${uid}\t${uid}\t${uid}\t${uid}`);
    expect(statusOf(guest, 'Groups')?.trim()).toBe('');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(statusOf(guest, set)).toBe('0'.repeat(16));
    expect(statusOf(guest, 'NoNewPrivs')).toBe('1');
    expect(statusOf(guest, 'Seccomp')).toBe('2');
  });
});

describeWith([qemu], 'the QEMU process', () => {
  it('has only the descriptors it was given and its own (N2)', async () => {
    const guest = await start();
    const targets = readdirSync(`/proc/${guest.record.pid}/fd`).map((fd) => {
      const target = readlinkSync(`/proc/${guest.record.pid}/fd/${fd}`);
      return target.replace(/\[\d+\]$/, '');
    });
    const expected = new Set([
      '/dev/null',
      '/dev/ptmx',
      guest.record.logPath,
      join(root, 'idle.img'),
      'socket:',
      'anon_inode:[eventfd]',
      'anon_inode:[signalfd]',
      'anon_inode:[eventpoll]',
      'anon_inode:[io_uring]',
    ]);
    expect(targets.filter((target) => !expected.has(target) && !/^\/(dev\/pts|memfd:)/.test(target))).toEqual(
      [],
    );
  });

  it('has an environment of a closed list (N3), and its session to itself', async () => {
    const guest = await start();
    const names = readFileSync(`/proc/${guest.record.pid}/environ`, 'utf8')
      .split('\0')
      .filter((word) => word !== '')
      .map((word) => word.split('=')[0]);
    const allowed = ['PATH', 'LC_ALL', 'VIREO_GUEST', ...(isRoot ? [] : ['HOME', 'XDG_RUNTIME_DIR'])];
    expect(names.filter((name) => !allowed.includes(name ?? ''))).toEqual([]);
    const fields = readFileSync(`/proc/${guest.record.pid}/stat`, 'latin1').split(') ')[1]?.split(' ');
    expect(fields?.[3]).toBe(String(guest.record.pid));
  });

  it('writes to its own log, which begins with its command line', async () => {
    const guest = await start();
    const text = await driver.logTail(guest.definition, 100_000);
    expect(text).toMatch(/^\d{4}-.*: starting: \/usr\/bin\/qemu-system-x86_64 /);
    expect((await stat(guest.record.logPath)).mode & 0o777).toBe(0o600);
  });
});

describeWith([qemu], 'a daemon that comes back', () => {
  /** Lets go of the guest, and finds it again with a new driver. */
  async function comeBack(guest: LiveGuest, between: () => Promise<void> = () => Promise.resolve()) {
    guest.detach();
    await between();
    const record = JSON.parse(JSON.stringify(guest.record)) as GuestRecord;
    const next = new QemuDriver(optionsFor());
    const found = await next.reattach(record, guest.definition);
    if (found !== undefined) alive.splice(alive.indexOf(guest), 1, found);
    return found;
  }

  it('finds its guest running, and can do all with it', async () => {
    const guest = await start();
    const found = await comeBack(guest);
    expect(found?.state).toEqual({ state: 'running', reason: 'unknown' });
    await found?.suspend();
    expect(found?.state).toEqual({ state: 'paused', reason: 'user' });
    expect(found?.definition.devices.serials[0]?.source).toMatchObject({
      path: guest.record.ptys['serial0'],
    });
    const stream = await found?.openConsole(undefined, { force: false });
    stream?.destroy();
    expect(await found?.kill({ force: true, graceMs: 5000 })).toMatchObject({
      stderrTail: expect.any(String),
    });
    expect(isSameProcess(guest.record)).toBe(false);
  });

  it('is told of the power-off that it missed', async () => {
    const guest = await start({ image: join(root, 'speaking.img') });
    const found = await comeBack(guest, () => sleep(2000));
    if (found === undefined) throw new Error('the guest was not found');
    expect(await eventOf(found, 'powered-off')).toMatchObject({ byGuest: true });
    expect(found.state.state).toBe('shutdown');
  });

  it('notices when a guest that is not its child dies', async () => {
    const guest = await start();
    const found = await comeBack(guest);
    killProcess(guest.record, 'SIGKILL');
    expect((await found?.exited)?.exitCode).toBeUndefined();
  });

  it('does not take another process for its guest', async () => {
    const guest = await start();
    const other = { ...guest.record, startTimeTicks: String(Number(guest.record.startTimeTicks) + 1) };
    expect(await driver.reattach(other, guest.definition)).toBeUndefined();
    const mine = { ...guest.record, pid: process.pid, startTimeTicks: processStartTime(process.pid) ?? '' };
    expect(await driver.reattach(mine, guest.definition)).toBeUndefined();
  });

  it('goes on without the monitor of a QEMU that hangs, and has it when that goes on', async () => {
    const guest = await start();
    const found = await comeBack(guest, async () => {
      killProcess(guest.record, 'SIGSTOP');
      await sleep(50);
    });
    expect(found?.state).toEqual({ state: 'paused', reason: 'unknown' });
    await expect(found?.suspend()).rejects.toThrow(expect.objectContaining({ code: 'qmp.closed' }));
    killProcess(guest.record, 'SIGCONT');
    await expect.poll(() => found?.state, { timeout: 5000 }).toEqual({ state: 'running', reason: 'unknown' });
    await found?.suspend();
  });

  it('can destroy a QEMU that hangs', async () => {
    const guest = await start();
    const found = await comeBack(guest, async () => {
      killProcess(guest.record, 'SIGSTOP');
      await sleep(50);
    });
    await found?.kill({ force: true, graceMs: 100 });
    expect(isSameProcess(guest.record)).toBe(false);
  });

  it('ends what no record knows, and nothing else', async () => {
    const kept = await start();
    const image = join(root, 'speaking.img');
    const lost = await driver.start(await define({ name: 'lost', image }), 2, { paused: true });
    lost.detach();
    const strays = await driver.findStrays([kept.record]);
    expect(strays.map(({ uuid, directory }) => [uuid, directory])).toEqual([
      [lost.definition.uuid, lost.record.directory],
    ]);
    for (const stray of strays) await driver.endStray(stray);
    expect(isSameProcess(lost.record)).toBe(false);
    expect(isSameProcess(kept.record)).toBe(true);
    expect(await readdir(join(root, 'run', 'g'))).toEqual([kept.record.directory.split('/').at(-1)]);
    expect(await driver.findStrays([kept.record])).toEqual([]);
  });
});

describeWith([qemu], 'a start that fails leaves nothing', () => {
  /** Starts with a program in QEMU's place. */
  async function startWith(program: string, timeouts = defaultTimeouts) {
    const definition = await define();
    const path = join(root, 'qemu');
    await writeFile(path, program);
    await chmod(path, 0o755);
    chmodSync(root, 0o755); // The guest's user must be able to run it.
    const real = optionsFor();
    const { devices } = definition;
    const other = new QemuDriver({
      ...real,
      timeouts,
      emulators: {
        ...real.emulators,
        capabilities: () => real.emulators.capabilities(devices.emulator ?? ''),
      },
    });
    // The command line names the binary that the definition names.
    return other.start({ ...definition, devices: { ...devices, emulator: path } }, 1, { paused: false });
  }

  it('when QEMU says what is wrong and ends', async () => {
    await expect(startWith('#!/bin/sh\necho "qemu: no such thing" >&2\nexit 1\n')).rejects.toThrow(
      expect.objectContaining({
        code: 'domain.start-failed',
        reason: expect.stringContaining('no such thing'),
        details: expect.objectContaining({ stderr: 'qemu: no such thing' }),
      }),
    );
    expect(leftovers()).toEqual([]);
  });

  it('when QEMU hangs before its greeting', async () => {
    const begun = performance.now();
    await expect(
      startWith('#!/bin/sh\nexec sleep 60\n', { ...defaultTimeouts, startMs: 500 }),
    ).rejects.toThrow(
      expect.objectContaining({ code: 'domain.start-failed', reason: expect.stringContaining('500 ms') }),
    );
    expect(performance.now() - begun).toBeLessThan(10_000);
    expect(leftovers()).toEqual([]);
  });

  it('when the binary can not be run', async () => {
    await expect(startWith('no program\n')).rejects.toThrow(
      expect.objectContaining({ code: 'domain.start-failed' }),
    );
    expect(leftovers()).toEqual([]);
  });

  it('when a disk is missing, and names its path', async () => {
    const definition = await define({ image: join(root, 'none.img') });
    await expect(driver.start(definition, 1, { paused: false })).rejects.toThrow(
      expect.objectContaining({ code: 'file.not-found', reason: expect.stringContaining('none.img') }),
    );
    expect(leftovers()).toEqual([]);
  });

  it('when the firmware is no firmware', async () => {
    await writeFile(join(root, 'bad.fd'), 'x');
    const os = `<loader readonly='yes' type='pflash'>${join(root, 'bad.fd')}</loader>`;
    await expect(driver.start(await define({ os }), 1, { paused: false })).rejects.toThrow(
      expect.objectContaining({ code: 'domain.start-failed' }),
    );
    expect(leftovers()).toEqual([]);
  });

  it('when an interface gets no link, or there is nobody to give one', async () => {
    const devices = "<interface type='bridge'><source bridge='br-none'/></interface>";
    const failing = new QemuDriver(
      optionsFor({
        mode: 'system',
        links: {
          open: () => Promise.reject(new VirtError('link.failed', { reason: 'no such bridge' })),
          close: () => Promise.resolve(),
        },
      }),
    );
    const definition = await define({ devices }, failing);
    await expect(failing.start(definition, 1, { paused: false })).rejects.toThrow(
      expect.objectContaining({ code: 'link.failed' }),
    );
    const alone = new QemuDriver(optionsFor({ mode: 'system' }));
    await expect(alone.start(definition, 1, { paused: false })).rejects.toThrow(
      expect.objectContaining({ code: 'network.session' }),
    );
    expect(leftovers()).toEqual([]);
  });

  it('when QEMU ends early, or with its guest: devices of the host are given back', async () => {
    const told: string[] = [];
    const hostDevices: HostDeviceProvider = {
      take({ definition, uid }) {
        told.push(`take ${uid === undefined ? 'without' : 'with'} a user`);
        const { hostdevs: _taken, ...devices } = definition.devices;
        return Promise.resolve({ ...definition, devices: { ...devices, hostdevs: [] } });
      },
      release: (uuid) => Promise.resolve(void told.push(`release ${uuid}`)),
      releaseOne: () => Promise.resolve(),
      releaseOthers: () => Promise.resolve(),
      holders: () => new Map(),
    };
    const usb = "<hostdev type='usb'><source><vendor id='0x1234'/><product id='0x5678'/></source></hostdev>";
    const lending = new QemuDriver(optionsFor({ hostDevices, timeouts: { ...defaultTimeouts, startMs: 1 } }));
    const definition = await define({ devices: usb }, lending);
    await expect(lending.start(definition, 1, { paused: false })).rejects.toThrow();
    const user = isRoot ? 'with' : 'without';
    expect(told.splice(0)).toEqual([`take ${user} a user`, `release ${definition.uuid}`]);
    const patient = new QemuDriver(optionsFor({ hostDevices }));
    const guest = await patient.start(definition, 1, { paused: false });
    expect(told.splice(0)).toEqual([`take ${user} a user`]);
    await guest.kill({ force: true, graceMs: 0 });
    await patient.cleanUp(guest.record, guest.definition);
    expect(told).toEqual([`release ${definition.uuid}`]);
    expect(leftovers()).toEqual([]);
  });

  it('when it is cancelled', async () => {
    const stop = new AbortController();
    stop.abort();
    await expect(driver.start(await define(), 1, { paused: false, signal: stop.signal })).rejects.toThrow();
    expect(leftovers()).toEqual([]);
  });
});

describeWith([qemu], 'a definition', () => {
  it('is complete after it was prepared, and prepared again the same', async () => {
    const once = await define({ devices: "<interface type='user'/><graphics type='vnc'/>" });
    expect(await driver.prepare(once)).toEqual(once);
    expect(once.devices.emulator).toBe('/usr/bin/qemu-system-x86_64');
    expect(await driver.commandLine(once)).toContain('-no-shutdown');
  });

  it('whose number on the vsock is chosen at its start has a command line before', async () => {
    const words = await driver.commandLine(await define({ devices: "<vsock><cid auto='yes'/></vsock>" }));
    expect(words.join(' ')).toMatch(/"guest-cid":\d+/);
  });

  it('keeps its identity when it is replaced by a text that leaves it open', async () => {
    const text = xmlOf({ devices: "<interface type='user'/>" });
    const before = await driver.prepare(parseDomain(text, { mode: 'strict' }).definition);
    const open = text.replace(/<uuid>.*<\/uuid>/, '');
    const after = await driver.prepare(parseDomain(open, { mode: 'strict' }).definition, before);
    expect(after).toEqual(before);
  });

  it('of type kvm needs KVM', async () => {
    const unusable = await probeKvm({ device: '/dev/null' });
    const without = new QemuDriver(optionsFor({ kvmReport: () => Promise.resolve(unusable) }));
    await expect(define({ type: 'kvm' }, without)).rejects.toThrow(
      expect.objectContaining({ code: 'kvm.unusable' }),
    );
  });

  it("of another hypervisor, or for an emulator that isn't there, is refused", async () => {
    await expect(define({ type: 'xen' })).rejects.toThrow(
      expect.objectContaining({ code: 'definition.unsupported' }),
    );
    await expect(define({ devices: '<emulator>/usr/bin/qemu-none</emulator>' })).rejects.toThrow(
      expect.objectContaining({ code: 'qemu.missing' }),
    );
  });
});

describeWith([qemu, '/usr/share/qemu/firmware'], 'a definition that leaves its firmware open', () => {
  it("with firmware='efi' gets firmware and variables of its own, made at the first start", async () => {
    const xml = xmlOf({})
      .replace('<os>', "<os firmware='efi'>")
      .replace("machine='pc'", "machine='q35'")
      .replace("dev='hda' bus='ide'", "dev='sda' bus='sata'");
    const definition = await driver.prepare(parseDomain(xml, { mode: 'strict' }).definition);
    expect(definition.os.nvram?.path).toBe(join(root, 'nvram', `${uuids[0]}_VARS.fd`));
    const guest = await driver.start(definition, 1, { paused: false });
    alive.push(guest);
    expect((await stat(definition.os.nvram?.path ?? '')).mode & 0o777).toBe(0o600);
  });
});

describeWith([qemu, 'swtpm'], 'a TPM', () => {
  it('is emulated by a process that ends with its guest', async () => {
    await mkdir(join(root, 'tpm'), { mode: 0o711 });
    const guest = await start({
      devices: "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>",
    });
    const [helper] = guest.record.helpers;
    expect(helper?.kind).toBe('swtpm');
    if (helper !== undefined) expect(isSameProcess(helper)).toBe(true);
    expect((await stat(join(root, 'tpm', uuids[0] ?? ''))).uid).toBe(guest.record.uid ?? process.getuid?.());
    await guest.kill({ force: true, graceMs: 0 });
    if (helper !== undefined) await expect.poll(() => isSameProcess(helper), { timeout: 5000 }).toBe(false);
  });
});

/** QEMU's own up to 7.2, since then a project and a package of its own. */
const virtiofsd = existsSync('/usr/libexec/virtiofsd') ? '/usr/libexec/virtiofsd' : '/usr/lib/qemu/virtiofsd';

describeWith([qemu, 'root', virtiofsd], 'a shared directory', () => {
  it('is served by a process that ends with its guest', async () => {
    await mkdir(join(root, 'share'));
    const shared = `<filesystem type='mount'><driver type='virtiofs'/><source dir='${join(root, 'share')}'/>
      <target dir='share'/></filesystem>`;
    const xml = xmlOf({ devices: shared }).replace(
      '</memory>',
      "</memory><memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
    );
    const definition = await driver.prepare(parseDomain(xml, { mode: 'strict' }).definition);
    const guest = await driver.start(definition, 1, { paused: false });
    alive.push(guest);
    const [helper] = guest.record.helpers;
    expect(helper?.kind).toBe('virtiofsd');
    await guest.kill({ force: true, graceMs: 0 });
    if (helper !== undefined) await expect.poll(() => isSameProcess(helper), { timeout: 5000 }).toBe(false);
  });
});

describeWith([qemu], 'an optional image', () => {
  it('that is missing leaves its drive empty', async () => {
    const cdrom = `<disk type='file' device='cdrom'><source file='${join(root, 'none.iso')}' startupPolicy='optional'/>
      <target dev='hdc' bus='ide'/></disk>`;
    const guest = await start({ devices: cdrom });
    expect(guest.definition.devices.disks[1]?.source).not.toHaveProperty('file');
    const drives = (await guest.monitorCommand('query-block')) as { removable: boolean; inserted?: object }[];
    expect(drives.filter((drive) => drive.removable).map((drive) => drive.inserted)).toEqual([undefined]);
  });
});
