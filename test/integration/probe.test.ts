/** The probe against real emulators, and against programs that only look like one. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../src/base/exec.ts';
import { silentLogger } from '../../src/base/log.ts';
import { type CapabilitySources, hostDocuments } from '../../src/drivers/qemu/capabilities.ts';
import { firmwareDirectories } from '../../src/drivers/qemu/firmware.ts';
import { findEmulators } from '../../src/drivers/qemu/probe/find.ts';
import { isKvmAccessible, probeQemu } from '../../src/drivers/qemu/probe/probe.ts';
import type { QemuCapabilities } from '../../src/drivers/qemu/probe/types.ts';
import { openQmp, type QmpClient } from '../../src/drivers/qemu/qmp/client.ts';
import { readHostFacts } from '../../src/kvm/host-facts.ts';
import { probeKvm } from '../../src/kvm/report.ts';
import { describeWith } from '../support/needs.ts';

const emulators = await findEmulators();
const schemas = '/usr/share/libvirt/schemas';
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'probe-test-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** A program that behaves as test/support/fake-qemu.ts does in that mode. */
async function fakeQemu(mode: string): Promise<string> {
  const path = join(directory, 'qemu');
  const script = join(import.meta.dirname, '../support/fake-qemu.ts');
  await writeFile(path, `#!/bin/sh\nexec ${process.execPath} ${script} ${mode} ${directory}/pids "$@"\n`);
  await chmod(path, 0o755);
  return path;
}

async function runtimeDirectory(): Promise<string> {
  const path = join(directory, 'run,time');
  await mkdir(path, { recursive: true });
  return path;
}

async function probe(path: string, timeoutMs = 60_000): Promise<QemuCapabilities> {
  return probeQemu(path, { timeoutMs, runtimeDirectory: await runtimeDirectory() });
}

/** Neither a process nor a socket of a probe is there any more. */
async function expectNothingLeft(): Promise<void> {
  expect(await readdir(await runtimeDirectory())).toEqual([]);
  const pids = await readFile(join(directory, 'pids'), 'utf8').catch(() => '');
  for (const pid of pids.split('\n').filter((line) => line !== ''))
    expect(() => process.kill(Number(pid), 0)).toThrow(/ESRCH/);
}

describeWith(['qemu-system-x86_64'], 'probing the emulators of this host', () => {
  it.each(emulators)('learns what $path can', async ({ path, arch }) => {
    const found = await probe(path);
    expect(found.arch).toBe(arch);
    expect(found.version.major).toBeGreaterThanOrEqual(6);
    expect(found.commands).toContain('blockdev-add');
    expect(found.events).toContain('SHUTDOWN');
    expect(found.devices).toContain('virtio-blk-pci');
    expect(found.deviceProperties['virtio-blk-pci']).toEqual(expect.arrayContaining(['bootindex', 'drive']));
    expect(found.objects).toContain('iothread');
    expect(found.schema).toContain('blockdev-add/arg-type/+file/aio/^threads');
    expect(found.netdevs).toContain('tap');
    expect(found.audiodevs).toContain('none');
    expect(found.displays).toContain('none');
    // Asked of each QEMU that can use KVM; it answers with an error where the host has none.
    if (!existsSync('/dev/sev')) expect(found.accelerators.kvm?.sev).toBeUndefined();
    expect(found.accelerators.tcg?.machines.length).toBeGreaterThan(0);
    if (!(await isKvmAccessible())) expect(found.kvm.enabled).toBe(false);
    expect(JSON.stringify(found).length).toBeLessThan(600 * 1024);
    await expectNothingLeft();
  });
});

describeWith([schemas, 'xmllint', 'qemu-system-x86_64'], 'the capabilities of this host', () => {
  it('are documents that libvirt accepts', async () => {
    const sources: CapabilitySources = {
      emulators: {
        capabilities: (path) => probe(path),
        find: async (arch) => emulators.find((one) => one.arch === arch)?.path,
      },
      hostFacts: () => readHostFacts(),
      kvmReport: () => probeKvm(),
      firmwareDirectories,
      log: silentLogger,
    };
    const documents = hostDocuments(sources);
    await expectValid('capability.rng', await documents.capabilitiesXml());
    for (const { arch } of emulators) {
      const xml = await documents.domainCapabilitiesXml({ arch, virtType: 'qemu' });
      await expectValid('domaincaps.rng', xml);
    }
  });
});

async function expectValid(schema: string, xml: string): Promise<void> {
  const result = await run('xmllint', ['--noout', '--relaxng', join(schemas, schema), '-'], {
    timeoutMs: 20_000,
    input: xml,
    okExitCodes: [0, 1, 3, 4],
  });
  expect(result.stderr).toContain('validates');
}

describeWith(['qemu-system-x86_64'], 'the monitor of a QEMU with a machine', () => {
  it('answers every command of the table that only asks, in the shape that the table says', async () => {
    await withMachine(async (client) => {
      expect(await client.execute('query-status')).toMatchObject({ running: false, status: 'prelaunch' });
      expect(await client.execute('query-kvm')).toMatchObject({ enabled: false });
      expect(await client.execute('query-name')).toEqual({ name: 'probe test' });
      expect((await client.execute('query-uuid')).UUID).toBe('11111111-2222-3333-4444-555555555555');
      expect((await client.execute('query-version')).qemu.major).toBe(client.version.major);
      expect(await client.execute('query-cpus-fast')).toHaveLength(1);
      expect((await client.execute('query-block')).map(({ qdev }) => qdev)).toContain('cd0');
      expect((await client.execute('query-chardev')).map(({ label }) => label)).toContain('ser0');
      expect((await client.execute('query-balloon')).actual).toBe(16 * 1024 * 1024);
      expect(await client.execute('query-vnc')).toMatchObject({ enabled: true });
      expect(await client.execute('query-iothreads')).toMatchObject([{ id: 'io0' }]);
      expect(await client.execute('query-fdsets')).toEqual([]);
      expect(await client.execute('query-named-block-nodes', { flat: true })).toBeInstanceOf(Array);
      expect((await client.execute('query-commands')).map(({ name }) => name)).toContain('quit');
      await client.execute('query-current-machine');
      await client.execute('query-blockstats');
    });
  });

  it('does what the commands of the table ask, and tells what went wrong in class and words', async () => {
    await withMachine(async (client) => {
      const events: string[] = [];
      client.onEvent(({ name }) => events.push(name));
      await client.execute('set_password', { protocol: 'vnc', password: 'secret' });
      await client.execute('expire_password', { protocol: 'vnc', time: '+60' });
      await client.execute('send-key', { keys: [{ type: 'qcode', data: 'ctrl' }], 'hold-time': 1 });
      await client.execute('inject-nmi');
      await client.execute('set_link', { name: 'net0', up: false });
      await client.execute('blockdev-open-tray', { id: 'cd0' });
      await client.execute('blockdev-close-tray', { id: 'cd0' });
      await client.execute('balloon', { value: 8 * 1024 * 1024 });
      const usernet = await client.execute('human-monitor-command', { 'command-line': 'info usernet' });
      expect(usernet).toContain('net0');
      const picture = join(directory, 'screen.png');
      await client.execute('screendump', { filename: picture, device: 'video0', format: 'png' });
      expect((await readFile(picture)).subarray(1, 4).toString()).toBe('PNG');
      await client.execute('cont');
      await client.execute('stop');
      await client.execute('system_reset');
      expect(events).toEqual(expect.arrayContaining(['RESUME', 'STOP', 'DEVICE_TRAY_MOVED']));
      await expect(client.execute('device_del', { id: 'nobody' })).rejects.toMatchObject({
        code: 'qmp.failed',
        details: { class: 'DeviceNotFound' },
      });
    });
  });
});

/** Runs a small machine, stopped, with one of each thing that the commands are about. */
async function withMachine(use: (client: QmpClient) => Promise<void>): Promise<void> {
  const socketPath = join(directory, 'qmp');
  const server = createServer().listen(socketPath);
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const stop = new AbortController();
  const ended = run('qemu-system-x86_64', machineArguments(socketPath), {
    timeoutMs: 60_000,
    signal: stop.signal,
  }).then(
    () => undefined,
    (error: unknown) => error,
  );
  try {
    const socket = await Promise.race([
      accepted,
      ended.then((error) => Promise.reject(new Error('QEMU ended', { cause: error }))),
    ]);
    const client = await openQmp(socket, { timeoutMs: 30_000 });
    await use(client);
    client.close();
  } finally {
    stop.abort();
    await ended;
    server.close();
  }
}

function machineArguments(socketPath: string): string[] {
  const fixed =
    '-machine pc,accel=tcg -m 16 -nodefaults -no-user-config -display none -S ' +
    '-uuid 11111111-2222-3333-4444-555555555555 -object iothread,id=io0 -device virtio-balloon-pci ' +
    '-device VGA,id=video0 -chardev null,id=ser0 -device isa-serial,chardev=ser0 -device ide-cd,id=cd0 ' +
    '-netdev user,id=net0 -device virtio-net-pci,netdev=net0';
  const vnc = `unix:${join(directory, 'vnc')},password=on`;
  return [...fixed.split(' '), '-name', 'probe test', '-qmp', `unix:${socketPath}`, '-vnc', vnc];
}

describe('probing what only looks like an emulator', () => {
  it('takes what there is, and leaves nothing behind', async () => {
    const found = await probe(await fakeQemu('normal'));
    expect(found).toMatchObject({
      arch: 'x86_64',
      package: 'Debian 1:7.2+dfsg-7',
      devices: ['usb-host', 'usb-kbd'],
      deviceProperties: { 'usb-kbd': ['id'] },
      audiodevs: ['none', 'spice'],
      sandbox: true,
      tpmModels: [],
    });
    await expectNothingLeft();
  });

  it('goes on without a device that ends QEMU when asked about', async () => {
    const found = await probe(await fakeQemu('deadly'));
    expect(found.devices).toEqual(['usb-kbd']);
    await expectNothingLeft();
  });

  it('takes a QEMU that cannot set up KVM for one without KVM', async () => {
    const found = await probe(await fakeQemu('refuse-kvm'));
    expect(found.kvm).toEqual({ present: true, enabled: false });
    expect(found.accelerators.kvm).toBeUndefined();
    await expectNothingLeft();
  });

  it('learns what the host has of AMD SEV, and that it has none', async () => {
    const withSev = await probe(await fakeQemu('sev'));
    expect(withSev.accelerators.kvm?.sev).toEqual({
      cbitpos: 51,
      reducedPhysBits: 1,
      pdh: 'cGRo',
      certChain: 'Y2VydA==',
      cpu0Id: 'Y3B1',
    });
    const without = await probe(await fakeQemu('no-sev'));
    expect(without.kvm.enabled).toBe(true);
    expect(without.accelerators.kvm?.sev).toBeUndefined();
    await expectNothingLeft();
  });

  it.each(['hang', 'silent'])('gives up in time on one that does nothing (%s)', async (mode) => {
    const before = Date.now();
    await expect(probe(await fakeQemu(mode), 1500)).rejects.toMatchObject({
      code: 'qemu.probe-failed',
      details: { timedOut: true },
    });
    expect(Date.now() - before).toBeLessThan(6000);
    await expectNothingLeft();
  });

  it('tells the last words of one that dies', async () => {
    await expect(probe(await fakeQemu('die'))).rejects.toMatchObject({
      code: 'qemu.probe-failed',
      reason: expect.stringContaining('cannot allocate memory') as unknown,
      details: { stderr: 'fake-qemu: cannot allocate memory\n', timedOut: false },
    });
    await expectNothingLeft();
  });

  it.each([
    ['a program that ends at once', '#!/bin/sh\nexit 0\n', 0o755, 'qemu.probe-failed'],
    ['a file that is no program', 'hello', 0o755, 'qemu.probe-failed'],
    ['a file without the execute bit', '#!/bin/sh\n', 0o644, 'qemu.probe-failed'],
  ])('refuses %s', async (_, content, mode, code) => {
    const path = join(directory, 'qemu');
    await writeFile(path, content);
    await chmod(path, mode);
    await expect(probe(path, 5000)).rejects.toMatchObject({ code });
    await expectNothingLeft();
  });

  it('can be cancelled', async () => {
    const options = {
      timeoutMs: 60_000,
      runtimeDirectory: await runtimeDirectory(),
      signal: AbortSignal.timeout(300),
    };
    await expect(probeQemu(await fakeQemu('hang'), options)).rejects.toMatchObject({
      code: 'operation.aborted',
    });
    await expectNothingLeft();
  });

  describeWith(['setpriv'], 'under setpriv', () => {
    it('ends with a daemon that is killed, and the next tidies up', async () => {
      const options = { timeoutMs: 60_000, runtimeDirectory: await runtimeDirectory() };
      const module = join(import.meta.dirname, '../../src/drivers/qemu/probe/probe.ts');
      const program = `import(${JSON.stringify(module)}).then((m) => m.probeQemu(${JSON.stringify(await fakeQemu('hang'))}, ${JSON.stringify(options)}))`;
      const daemon = spawn(process.execPath, ['-e', program], { stdio: 'ignore' });
      const gone = once(daemon, 'exit');
      await vi.waitFor(() => readFile(join(directory, 'pids')), { timeout: 10_000, interval: 50 });
      daemon.kill('SIGKILL');
      await gone;
      const pid = Number(await readFile(join(directory, 'pids'), 'utf8'));
      await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow(/ESRCH/), { timeout: 5000 });
      expect(await readdir(options.runtimeDirectory)).toHaveLength(1);
      await probe(await fakeQemu('normal'));
      await expectNothingLeft();
    });
  });

  it('names a binary that is not there', async () => {
    await expect(probe(join(directory, 'none'))).rejects.toMatchObject({ code: 'file.not-found' });
  });
});
