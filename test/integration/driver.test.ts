/** The QEMU driver with a real QEMU under TCG: what runs, as whom, and what definitions become. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { isSameProcess, killProcess } from '../../src/base/spawn.ts';
import type { LiveGuest } from '../../src/drivers/driver.ts';
import { QemuDriver } from '../../src/drivers/qemu/driver.ts';
import { defaultUidRange } from '../../src/drivers/qemu/identity.ts';
import { probeKvm } from '../../src/kvm/report.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';
import { driverRig, eventOf, readUntil, uuids } from '../support/driver-rig.ts';
import { describeWith } from '../support/needs.ts';

const qemu = 'qemu-system-x86_64';
const isRoot = process.getuid?.() === 0;
const rig = driverRig();

describeWith([qemu], 'a guest', () => {
  it('speaks on its console and is found powered off, with QEMU waiting to be ended', async () => {
    const guest = await rig.start({ image: join(rig.root, 'speaking.img') }, { paused: true });
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
    const guest = await rig.start();
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
    const guest = await rig.start({
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
    const guest = await rig.start({ devices: "<video><model type='vga'/></video>" });
    const { mime, bytes } = await guest.screenshot(0);
    expect(mime).toBe('image/png');
    expect(bytes.subarray(1, 4).toString()).toBe('PNG');
    const [one, two] = await Promise.all([guest.screenshot(0), guest.screenshot(0)]);
    expect(one.bytes.subarray(1, 4).toString() + two.bytes.subarray(1, 4).toString()).toBe('PNGPNG');
    await expect(guest.screenshot(1)).rejects.toThrow(expect.objectContaining({ code: 'domain.no-device' }));
  });

  it('gets and loses port forwards while it runs', async () => {
    const guest = await rig.start({ devices: "<interface type='user'><model type='e1000'/></interface>" });
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
    const guest = await rig.start();
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
    const guest = await rig.start();
    killProcess(guest.record, 'SIGKILL');
    expect(await guest.exited).toMatchObject({ signal: 'SIGKILL' });
    await expect(guest.suspend()).rejects.toThrow(expect.objectContaining({ code: 'qmp.closed' }));
  });

  it('whose QEMU hangs is not ended gracefully, but by force', async () => {
    const guest = await rig.start();
    killProcess(guest.record, 'SIGSTOP');
    await expect(guest.kill({ force: false, graceMs: 100 })).rejects.toThrow(
      expect.objectContaining({ code: 'domain.busy' }),
    );
    expect(await guest.kill({ force: true, graceMs: 100 })).toMatchObject({ signal: 'SIGKILL' });
  });

  it('leaves nothing behind once it is cleaned up, and is not cleaned up while it lives', async () => {
    const guest = await rig.start();
    await expect(rig.driver.cleanUp(guest.record, guest.definition)).rejects.toThrow(/alive/);
    await guest.kill({ force: true, graceMs: 0 });
    await rig.driver.cleanUp(guest.record, guest.definition);
    await rig.driver.cleanUp(guest.record, guest.definition);
    expect(rig.leftovers()).toEqual([]);
  });
});

describeWith([qemu, 'root'], 'the QEMU process of a system guest', () => {
  const statusOf = (guest: LiveGuest, field: string): string | undefined =>
    new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(
      readFileSync(`/proc/${guest.record.pid}/status`, 'utf8'),
    )?.[1];

  it('has ids of its own, no capability, no new privileges, and system calls denied (N1)', async () => {
    const guest = await rig.start();
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
    const guest = await rig.start();
    const targets = readdirSync(`/proc/${guest.record.pid}/fd`).map((fd) => {
      const target = readlinkSync(`/proc/${guest.record.pid}/fd/${fd}`);
      return target.replace(/\[\d+\]$/, '');
    });
    const expected = new Set([
      '/dev/null',
      '/dev/ptmx',
      guest.record.logPath,
      join(rig.root, 'idle.img'),
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
    const guest = await rig.start();
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
    const guest = await rig.start();
    const text = await rig.driver.logTail(guest.definition, 100_000);
    expect(text).toMatch(/^\d{4}-.*: starting: \/usr\/bin\/qemu-system-x86_64 /);
    expect((await stat(guest.record.logPath)).mode & 0o777).toBe(0o600);
  });
});

describeWith([qemu], 'a definition', () => {
  it('is complete after it was prepared, and prepared again the same', async () => {
    const once = await rig.define({ devices: "<interface type='user'/><graphics type='vnc'/>" });
    expect(await rig.driver.prepare(once)).toEqual(once);
    expect(once.devices.emulator).toBe('/usr/bin/qemu-system-x86_64');
    expect(await rig.driver.commandLine(once)).toContain('-no-shutdown');
  });

  it('whose number on the vsock is chosen at its start has a command line before', async () => {
    const words = await rig.driver.commandLine(
      await rig.define({ devices: "<vsock><cid auto='yes'/></vsock>" }),
    );
    expect(words.join(' ')).toMatch(/"guest-cid":\d+/);
  });

  it('keeps its identity when it is replaced by a text that leaves it open', async () => {
    const text = rig.xmlOf({ devices: "<interface type='user'/>" });
    const before = await rig.driver.prepare(parseDomain(text, { mode: 'strict' }).definition);
    const open = text.replace(/<uuid>.*<\/uuid>/, '');
    const after = await rig.driver.prepare(parseDomain(open, { mode: 'strict' }).definition, before);
    expect(after).toEqual(before);
  });

  it('of type kvm needs KVM', async () => {
    const unusable = await probeKvm({ device: '/dev/null' });
    const without = new QemuDriver(rig.optionsFor({ kvmReport: () => Promise.resolve(unusable) }));
    await expect(rig.define({ type: 'kvm' }, without)).rejects.toThrow(
      expect.objectContaining({ code: 'kvm.unusable' }),
    );
  });

  it("of another hypervisor, or for an emulator that isn't there, is refused", async () => {
    await expect(rig.define({ type: 'xen' })).rejects.toThrow(
      expect.objectContaining({ code: 'definition.unsupported' }),
    );
    await expect(rig.define({ devices: '<emulator>/usr/bin/qemu-none</emulator>' })).rejects.toThrow(
      expect.objectContaining({ code: 'qemu.missing' }),
    );
  });
});

describeWith([qemu, '/usr/share/qemu/firmware'], 'a definition that leaves its firmware open', () => {
  it("with firmware='efi' gets firmware and variables of its own, made at the first start", async () => {
    const xml = rig
      .xmlOf({})
      .replace('<os>', "<os firmware='efi'>")
      .replace("machine='pc'", "machine='q35'")
      .replace("dev='hda' bus='ide'", "dev='sda' bus='sata'");
    const definition = await rig.driver.prepare(parseDomain(xml, { mode: 'strict' }).definition);
    expect(definition.os.nvram?.path).toBe(join(rig.root, 'nvram', `${uuids[0]}_VARS.fd`));
    const guest = await rig.driver.start(definition, 1, { paused: false });
    rig.alive.push(guest);
    expect((await stat(definition.os.nvram?.path ?? '')).mode & 0o777).toBe(0o600);
  });
});

describeWith([qemu, 'swtpm'], 'a TPM', () => {
  it('is emulated by a process that ends with its guest', async () => {
    await mkdir(join(rig.root, 'tpm'), { mode: 0o711 });
    const guest = await rig.start({
      devices: "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>",
    });
    const [helper] = guest.record.helpers;
    expect(helper?.kind).toBe('swtpm');
    if (helper !== undefined) expect(isSameProcess(helper)).toBe(true);
    expect((await stat(join(rig.root, 'tpm', uuids[0] ?? ''))).uid).toBe(
      guest.record.uid ?? process.getuid?.(),
    );
    await guest.kill({ force: true, graceMs: 0 });
    if (helper !== undefined) await expect.poll(() => isSameProcess(helper), { timeout: 5000 }).toBe(false);
  });
});

/** QEMU's own up to 7.2, since then a project and a package of its own. */
const virtiofsd = existsSync('/usr/libexec/virtiofsd') ? '/usr/libexec/virtiofsd' : '/usr/lib/qemu/virtiofsd';

describeWith([qemu, 'root', virtiofsd], 'a shared directory', () => {
  it('is served by a process that ends with its guest', async () => {
    await mkdir(join(rig.root, 'share'));
    const shared = `<filesystem type='mount'><driver type='virtiofs'/><source dir='${join(rig.root, 'share')}'/>
      <target dir='share'/></filesystem>`;
    const xml = rig
      .xmlOf({ devices: shared })
      .replace(
        '</memory>',
        "</memory><memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
      );
    const definition = await rig.driver.prepare(parseDomain(xml, { mode: 'strict' }).definition);
    const guest = await rig.driver.start(definition, 1, { paused: false });
    rig.alive.push(guest);
    const [helper] = guest.record.helpers;
    expect(helper?.kind).toBe('virtiofsd');
    await guest.kill({ force: true, graceMs: 0 });
    if (helper !== undefined) await expect.poll(() => isSameProcess(helper), { timeout: 5000 }).toBe(false);
  });
});

describeWith([qemu], 'an optional image', () => {
  it('that is missing leaves its drive empty', async () => {
    const cdrom = `<disk type='file' device='cdrom'><source file='${join(rig.root, 'none.iso')}' startupPolicy='optional'/>
      <target dev='hdc' bus='ide'/></disk>`;
    const guest = await rig.start({ devices: cdrom });
    expect(guest.definition.devices.disks[1]?.source).not.toHaveProperty('file');
    const drives = (await guest.monitorCommand('query-block')) as { removable: boolean; inserted?: object }[];
    expect(drives.filter((drive) => drive.removable).map((drive) => drive.inserted)).toEqual([undefined]);
  });
});
