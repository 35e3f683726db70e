/**
 * Devices beside disks and cards, as a little Linux sees them: a TPM that remembers, a shared directory, fw_cfg, SMBIOS, a
 * display by WebSocket. One guest for all.
 */
import { execFile, execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { agentCommand, agentFiles } from '../support/guest-agent.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';
import { nvDefine, nvRead, nvWrite } from '../support/tpm-commands.ts';

const run = promisify(execFile);
const virtiofsd = existsSync('/usr/libexec/virtiofsd') ? '/usr/libexec/virtiofsd' : '/usr/lib/qemu/virtiofsd';
const needs = ['root', 'qemu-system-x86_64', 'swtpm', virtiofsd, 'virsh', 'busybox', 'qemu-ga', 'ldd'];

describeWith(needs, 'a guest with devices of all kinds', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let directory: string;
  let xml: string;
  const call: VireoClient['call'] = (...args) => client.call(...args);
  const virsh = async (...args: string[]) => {
    const uri = `qemu:///system?socket=${daemon.root}/run/libvirt/libvirt-sock`;
    const options = { timeout: 30_000, env: { ...process.env, LC_ALL: 'C' } };
    const { stdout, stderr } = await run('virsh', ['-c', uri, ...args], options).catch(
      (error: unknown) => error as { stdout: string; stderr: string },
    );
    return (stdout + stderr).trim();
  };
  /** What a shell inside the guest prints. */
  const inside = async (script: string) => {
    const done = await call('domain.guest.exec', { domain: 'g', path: 'sh', args: ['-c', script] });
    return Buffer.from(done.stdoutBase64, 'base64').toString('utf8').trim();
  };
  /** Sends one command to the guest's TPM; its answer as hexadecimal digits. */
  const tpm = (command: string) =>
    inside(
      `exec 3<>/dev/tpm0; printf '${command.replace(/../g, '\\x$&')}' >&3; dd bs=4096 count=1 <&3 2>/dev/null | hexdump -v -e '/1 "%02x"'`,
    );
  const start = async () => {
    await call('domain.start', { domain: 'g' });
    await call('domain.wait', { domain: 'g', until: 'agent', timeoutMs: 120_000 }, { timeoutMs: 125_000 });
  };
  const tpmStates = () => readdirSync(join(daemon.root, 'var/lib/vireo/tpm'));

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    directory = mkdtempSync(join(tmpdir(), 'vireo-dev-'));
    mkdirSync(join(directory, 'a,b'));
    writeFileSync(join(directory, 'a,b/hello'), 'from the host\n');
    mkdirSync(join(directory, 'small'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,mode=0711', 'tmpfs', join(directory, 'small')]);
    writeFileSync(join(directory, 'small/disk.raw'), '');
    truncateSync(join(directory, 'small/disk.raw'), 16 << 20);
    const { kernel, initrd } = await littleLinux(directory, [
      ...agentFiles(),
      startScript(`#!/bin/sh\n${agentCommand}`),
    ]);
    xml = `<domain type='qemu'><name>g</name><maxMemory slots='2' unit='MiB'>1024</maxMemory>
      <memory unit='MiB'>384</memory><currentMemory unit='MiB'>256</currentMemory><vcpu>2</vcpu>
      <cpu><numa><cell id='0' cpus='0-1' memory='256' unit='MiB'/></numa></cpu>
      <sysinfo type='fwcfg'><entry name='opt/org.test/answer'>forty-two</entry>
        <entry name='opt/org.test/file' file='${directory}/a,b/hello'/></sysinfo>
      <sysinfo type='smbios'><system><entry name='manufacturer'>Acme, Inc.</entry><entry name='serial'>SN-1</entry></system>
        <oemStrings><entry>string-one</entry><entry>string-two</entry></oemStrings></sysinfo>
      <os><type machine='q35'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd>
        <cmdline>console=ttyS0 quiet no_timer_check</cmdline><smbios mode='sysinfo'/></os><features><acpi/></features><devices>
      <filesystem type='mount'><driver type='virtiofs'/><binary xattr='on'><cache mode='none'/></binary>
        <source dir='${directory}/a,b'/><target dir='shared'/></filesystem>
      <memory model='virtio-mem'><target><size unit='MiB'>128</size><node>0</node><block unit='MiB'>2</block>
        <requested unit='MiB'>0</requested></target></memory>
      <disk type='file'><driver name='qemu' type='raw'/><source file='${directory}/small/disk.raw'/>
        <target dev='vda' bus='virtio'/></disk>
      <disk type='file' device='cdrom'><driver name='qemu' type='raw'/>
        <source file='/no/such.iso' startupPolicy='optional'/><target dev='sda' bus='sata'/></disk>
      <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
      <graphics type='vnc' autoport='yes' websocket='-1'/>
      <serial type='pty'/><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      </devices></domain>`;
    await call('domain.define', { xml });
    const events = await client.subscribe({ events: ['domain.disk-changed'] });
    await start();
    for await (const event of events) {
      expect(event).toMatchObject({ disk: 'sda', reason: 'drive is empty', path: '/no/such.iso' });
      break;
    }
  }, 300_000);
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
    if (directory === undefined) return;
    execFileSync('umount', ['-l', join(directory, 'small')]);
    rmSync(directory, { recursive: true, force: true });
  });

  it('shares a directory both ways, and its memory with who serves it, as the definition shows', async () => {
    const shown = (await call('domain.xml', { domain: 'g', inactive: true })).xml;
    expect(shown).toMatch(/<memoryBacking>\s*<source type='memfd'\/>\s*<access mode='shared'\/>/);
    expect(await inside('mkdir -p /m; mount -t virtiofs shared /m; cat /m/hello; echo inside >/m/back')).toBe(
      'from the host',
    );
    expect(readFileSync(join(directory, 'a,b/back'), 'utf8')).toBe('inside\n');
  });

  it('finds what firmware is told: strings, files, vendor and serial number', async () => {
    const entry = (name: string) => inside(`cat /sys/firmware/qemu_fw_cfg/by_name/opt/org.test/${name}/raw`);
    expect(await entry('answer')).toBe('forty-two');
    expect(await entry('file')).toBe('from the host');
    expect(await inside('cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_serial')).toBe(
      'Acme, Inc.\nSN-1',
    );
    expect(await inside('strings /sys/firmware/dmi/tables/DMI')).toMatch(/^string-one\nstring-two$/m);
  });

  it('has a display that a browser can reach', async () => {
    const shown = (await call('domain.xml', { domain: 'g' })).xml;
    const port = Number(/websocket='(\d+)'/.exec(shown)?.[1]);
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`, ['binary']);
    socket.binaryType = 'arraybuffer';
    const first = await new Promise<ArrayBuffer>((done, fail) => {
      socket.addEventListener('message', ({ data }) => done(data as ArrayBuffer));
      socket.addEventListener('error', () => fail(new Error('no WebSocket')));
    });
    socket.close();
    expect(Buffer.from(first).toString('latin1')).toMatch(/^RFB 003\.008\n/);
  });

  it('takes memory and gives it back, and says so', async () => {
    const total = async () => Number(/MemTotal: +(\d+)/.exec(await inside('cat /proc/meminfo'))?.[1]);
    const shown = async () => (await call('domain.xml', { domain: 'g' })).xml;
    expect(await shown()).toMatch(/<current unit='KiB'>0<\/current>/);
    const before = await total();
    const events = await client.subscribe({ events: ['domain.memory-device-size'] });
    expect(
      await virsh('update-memory-device', 'g', '--alias', 'virtiomem0', '--requested-size', '128M'),
    ).toBe('');
    for await (const event of events)
      if (event.event === 'domain.memory-device-size' && event.bytes === 128 * 1024 * 1024) break;
    expect(await shown()).toMatch(/<requested unit='KiB'>131072<[^]*<current unit='KiB'>131072</);
    // What is new has to be put to use by the guest, whose kernel may leave that to a program.
    await inside('for m in /sys/devices/system/memory/memory*/state; do echo online >$m; done 2>/dev/null');
    await eventually('the guest has it', async () => (await total()) > before + 100_000);
    const other =
      "<memory model='virtio-mem'><target><size unit='MiB'>64</size><node>0</node></target></memory>";
    await expect(call('domain.update-device', { domain: 'g', xml: other, live: true })).rejects.toThrow();
  });

  it('tells which disk failed, and that it was for want of room', async () => {
    const events = await client.subscribe({ events: ['domain.io-error', 'domain.suspended'] });
    // It begins later: the disk is full within milliseconds, and a guest that stands still
    // cannot answer the question how the command went.
    const fill = '(sleep 3; dd if=/dev/zero of=/dev/vda bs=64k count=40 conv=fsync) >/dev/null 2>&1 &';
    await call('domain.guest.exec', { domain: 'g', path: 'sh', args: ['-c', fill] });
    const image = join(directory, 'small/disk.raw');
    for await (const event of events) {
      if (event.event === 'domain.suspended') break;
      expect(event).toMatchObject({ device: 'virtio-disk0', path: image, isFull: true, action: 'stop' });
    }
    expect(await virsh('domblkerror', 'g')).toBe('vda: no space');
    execFileSync('mount', ['-o', 'remount,size=8m', join(directory, 'small')]);
    expect(await virsh('resume', 'g')).toBe("Domain 'g' resumed");
    await eventually('all is written', async () => (await inside('pidof dd || echo none')) === 'none');
  });

  it('has a TPM 2.0 whose state lives as long as the domain, or longer', async () => {
    expect(await inside('cat /sys/class/tpm/tpm0/tpm_version_major')).toBe('2');
    const secret = Buffer.from('remember').toString('hex');
    expect(await tpm(nvDefine)).toMatch(/^8002.{8}00000000/);
    expect(await tpm(nvWrite(secret))).toMatch(/^8002.{8}00000000/);
    await call('domain.destroy', { domain: 'g' });
    await start();
    expect(await tpm(nvRead)).toContain(secret);
    // Forgotten while it runs: what is said then holds when it ends.
    expect(await virsh('undefine', 'g', '--keep-tpm')).toBe("Domain 'g' has been undefined");
    const { uuid } = await call('domain.get', { domain: 'g' });
    await call('domain.destroy', { domain: 'g' });
    expect(tpmStates()).toEqual([uuid]);
    await call('domain.define', { xml: xml.replace('<maxMemory', `<uuid>${uuid}</uuid><maxMemory`) });
    await call('domain.start', { domain: 'g', paused: true });
    expect(await virsh('undefine', 'g')).toBe("Domain 'g' has been undefined");
    expect(tpmStates()).toEqual([uuid]);
    await call('domain.destroy', { domain: 'g' });
    expect(tpmStates()).toEqual([]);
  }, 300_000);
});
