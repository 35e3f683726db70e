/** Disks whose images a client hands over as descriptors: `virsh dom-fd-associate` and a guest that boots from one. */
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { TestDaemon, withoutDefaultNetwork } from '../support/daemon.ts';
import { writeTinyGuest } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

/** The image lies nowhere: its name is gone before the guest starts. */
const guest = (log: string) => `<domain type='qemu'>
  <name>passed</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/nowhere/system.raw' fdgroup='system'/>
      <target dev='hda' bus='ide'/>
    </disk>
    <serial type='file'><source path='${log}'/></serial>
  </devices>
</domain>`;

describeWith(['root', 'qemu-system-x86_64', 'virsh'], 'disks that a client hands over', () => {
  let daemon: TestDaemon;
  let directory: string;

  /** virsh with commands on one connection; `fds` are its descriptors from 3 up. */
  const virshWith = (commands: string, fds: readonly number[]) =>
    spawn('virsh', ['-q', '-c', `qemu:///system?socket=${daemon.root}/run/libvirt/libvirt-sock`, commands], {
      stdio: ['ignore', 'pipe', 'pipe', ...fds],
      env: { ...process.env, LC_ALL: 'C' },
    });

  const virsh = (commands: string, fds: readonly number[] = []) =>
    new Promise<{ status: number | null; text: string }>((resolve, reject) => {
      const child = virshWith(commands, fds);
      let text = '';
      for (const stream of [child.stdout, child.stderr])
        stream?.on('data', (chunk: Buffer) => {
          text += chunk.toString();
        });
      child.on('error', reject);
      child.on('close', (status) => resolve({ status, text: text.trim() }));
    });

  /** An image whose name is taken away at once, opened in that way. */
  const image = (flags: 'r' | 'r+'): number => {
    const path = join(directory, 'image.raw');
    writeTinyGuest(path);
    const fd = openSync(path, flags);
    rmSync(path);
    return fd;
  };

  /** Files without a name that the daemon still has open. */
  const held = (): string[] =>
    readdirSync(`/proc/${daemon.child.pid}/fd`)
      .map((fd) => {
        try {
          return readlinkSync(`/proc/${daemon.child.pid}/fd/${fd}`);
        } catch {
          return ''; // closed meanwhile
        }
      })
      .filter((path) => path.startsWith(directory) && path.endsWith('(deleted)'));

  beforeAll(async () => {
    const root = mkdtempSync('/tmp/vireo-fds-');
    directory = mkdtempSync('/tmp/vireo-fdx-');
    withoutDefaultNetwork(root);
    daemon = await TestDaemon.start({ root });
    const client = await daemon.connect();
    await client.call('domain.define', { xml: guest(join(directory, 'serial.log')) });
    await client.close();
  });
  afterAll(async () => {
    await daemon.remove();
    rmSync(directory, { recursive: true });
  });

  it('boots from an image that has no name any more, and keeps it when the client has gone', async () => {
    const fd = image('r+');
    try {
      const { status, text } = await virsh('dom-fd-associate passed system --pass-fds 3; start passed', [fd]);
      expect({ status, text }).toMatchObject({ status: 0 });
    } finally {
      closeSync(fd);
    }
    await expect
      .poll(async () => (await virsh('domstate passed')).text, { timeout: 30_000, interval: 200 })
      .toBe('shut off');
    expect(readFileSync(join(directory, 'serial.log'), 'utf8')).toContain('TINY-GUEST alive');
  });

  it('closes what a client brought when it goes, and then knows the name no more', async () => {
    const fd = image('r+');
    // It waits for events, until it is killed.
    const waiting = virshWith('dom-fd-associate passed system --pass-fds 3; event passed lifecycle', [fd]);
    const gone = new Promise((resolve) => waiting.once('close', resolve));
    try {
      await expect.poll(held, { timeout: 30_000 }).toHaveLength(1);
    } finally {
      closeSync(fd);
      waiting.kill('SIGKILL');
      await gone;
    }
    await expect.poll(held, { timeout: 30_000 }).toEqual([]);
    const { status, text } = await virsh('start passed');
    expect({ status, text }).toMatchObject({ status: 1 });
    expect(text).toContain("file descriptor group 'system' was not associated with the domain");
  });

  it('starts nothing on descriptors that do not fit, and lets nobody who may only look hand any over', async () => {
    const fd = image('r');
    try {
      const unfit = await virsh('dom-fd-associate passed system --pass-fds 3; start passed', [fd]);
      expect(unfit.status).toBe(1);
      expect(unfit.text).toContain("no descriptor of group 'system' is open for reading and writing");
      const looking = await virsh('connect --readonly; dom-fd-associate passed system --pass-fds 3', [fd]);
      expect(looking.status).toBe(1);
      expect(looking.text).toMatch(/read only|read-only/);
    } finally {
      closeSync(fd);
    }
    expect(existsSync('/nowhere')).toBe(false);
    await expect.poll(held, { timeout: 30_000 }).toEqual([]);
  });
});
