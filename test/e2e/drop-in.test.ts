/** Vireo in libvirtd's place: files where people look for libvirt's, and the offer to take over what libvirtd knew. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const xml = `<domain type='qemu'><name>web</name><memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os></domain>`;

let root: string;
let daemon: TestDaemon;
let client: VireoClient;

const at = (path: string): string => join(root, path);
const offers = () => daemon.stderr.join('').match(/vireo adopt libvirt/g)?.length ?? 0;

describeWith(['root', 'qemu-system-x86_64'], "in libvirtd's place", () => {
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'vl-'));
    cpSync(join(import.meta.dirname, 'adopt-libvirt'), root, { recursive: true, verbatimSymlinks: true });
    mkdirSync(at('etc/vireo'), { recursive: true });
    writeFileSync(
      at('etc/vireo/vireod.toml'),
      '[network]\ndefine_default = false\n[libvirt]\ndrop_in = true\nread_only_socket = true\n',
    );
    daemon = await TestDaemon.start({ root });
    client = await daemon.connect();
    await client.call('domain.define', { xml });
  });

  afterEach(async () => {
    await client.close();
    await daemon.remove();
  });

  it('has pid file and log of a running guest where libvirt has them', async () => {
    await client.call('domain.start', { domain: 'web' });
    const pidFile = at('run/libvirt/qemu/web.pid');
    await eventually('the pid file', () => existsSync(pidFile));
    expect(qemuProcesses(root)).toEqual([Number(readFileSync(pidFile, 'utf8'))]);
    expect(existsSync(at('run/libvirt/qemu/web.xml'))).toBe(false);
    const log = at('var/log/libvirt/qemu/web.log');
    expect(realpathSync(log)).toBe(realpathSync(at('var/log/vireo/qemu/web.log')));
    expect(readFileSync(log, 'utf8')).toContain('guest=web');
    unlinkSync(pidFile);
    await client.close();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    expect(existsSync(pidFile)).toBe(true);
    await client.call('domain.destroy', { domain: 'web' });
    await eventually('the pid file goes', () => !existsSync(pidFile));
    expect(existsSync(log)).toBe(true);
  });

  it('leaves a log that libvirtd wrote', async () => {
    const log = at('var/log/libvirt/qemu/web.log');
    writeFileSync(log, 'of libvirtd');
    await client.call('domain.start', { domain: 'web' });
    await eventually('it is told', () => daemon.stderr.join('').includes('is a file of libvirtd'));
    expect(readFileSync(log, 'utf8')).toBe('of libvirtd');
  });

  it('offers once to take over what libvirtd knew', async () => {
    expect(offers()).toBe(1);
    await client.close();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    expect(offers()).toBe(0);
  });

  it('makes the read-only socket, and the directory for kernels of `virt-install --location`', () => {
    expect(statSync(at('var/lib/libvirt/boot')).mode & 0o777).toBe(0o711);
    expect(existsSync(at('run/libvirt/libvirt-sock-ro'))).toBe(true);
  });
});
