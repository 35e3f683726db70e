/** Installing into a tree, running what was installed, and taking it away. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeWith } from '../support/needs.ts';

const repository = join(import.meta.dirname, '../..');

describeWith(['root', 'systemctl'], 'scripts/install-system.sh', () => {
  let tree: string;
  const at = (path: string): string => join(tree, path);
  const script = (name: string, environment: Record<string, string> = {}, args: readonly string[] = []) =>
    execa('sh', [join(repository, 'scripts', name), ...args], {
      env: { DESTDIR: tree, ...environment },
      cwd: '/',
      all: true,
    });

  beforeAll(async () => {
    tree = mkdtempSync(join(tmpdir(), 'vireo-install-'));
    await script('install-system.sh', { VIREO_GROUP: 'virtusers' });
  });

  afterAll(() => {
    rmSync(tree, { recursive: true, force: true });
  });

  it('puts commands in place that run from their links, on their own Node', async () => {
    const { stdout } = await execa(at('usr/local/bin/vireo'), ['--version'], {
      extendEnv: false,
      env: { PATH: '/usr/bin:/bin' },
    });
    expect(stdout).toContain('0.1.0');
    const daemon = await execa(at('usr/local/bin/vireod'), ['--version']);
    expect(daemon.stdout).toContain('0.1.0');
  });

  it('takes compiled files and the packages of the running program only', () => {
    const modules = readdirSync(at('usr/local/lib/vireo/node_modules'));
    expect(modules).toContain('koffi');
    expect(modules).not.toContain('typescript');
    expect(modules).not.toContain('vitest');
    expect(existsSync(at('usr/local/lib/vireo/src'))).toBe(false);
    expect(existsSync(at('usr/local/lib/vireo/dist/daemon/main.js'))).toBe(true);
  });

  it('writes the group into the socket unit, and leaves no stage behind', () => {
    const unit = readFileSync(at('usr/local/lib/systemd/system/vireod.socket'), 'utf8');
    expect(unit).toContain('SocketGroup=virtusers\n');
    expect(readdirSync(at('usr/local/lib')).sort()).toEqual(['systemd', 'vireo']);
  });

  it('can be run again', async () => {
    writeFileSync(at('usr/local/lib/vireo/left-over'), '');
    await script('install-system.sh');
    expect(existsSync(at('usr/local/lib/vireo/left-over'))).toBe(false);
    expect(readdirSync(at('usr/local/lib')).sort()).toEqual(['systemd', 'vireo']);
  });

  it('honours another prefix in the units', async () => {
    await script('install-system.sh', { PREFIX: '/opt/vireo' });
    const unit = readFileSync(at('etc/systemd/system/vireod.service'), 'utf8');
    expect(unit).toContain('ExecStart=/opt/vireo/lib/vireo/bin/vireod --mode system\n');
  });

  it("takes libvirt's names with --drop-in, but none that another package has", async () => {
    mkdirSync(at('usr/sbin'), { recursive: true });
    writeFileSync(at('usr/sbin/libvirtd'), 'of a package');
    const { stdout } = await script('install-system.sh', {}, ['--drop-in']);
    expect(stdout).toMatch(/left as it is: .*\/usr\/sbin\/libvirtd/);
    expect(readFileSync(at('usr/sbin/libvirtd'), 'utf8')).toBe('of a package');
    expect(readlinkSync(at('usr/sbin/virtqemud'))).toBe('/usr/local/lib/vireo/bin/virtqemud');
    const { stdout: version } = await execa(at('usr/local/sbin/libvirtd'), ['--version']);
    expect(version).toContain('vireod 0.1.0');
    expect((await execa(at('usr/local/bin/virt-ssh-helper'), ['--version'])).stdout).toContain('0.1.0');
    const config = readFileSync(at('etc/vireo/vireod.toml'), 'utf8');
    expect(config).toContain('drop_in = true');
    expect(config).toContain('socket_group = "libvirt"');
    // Whoever asks systemd for libvirtd gets Vireo.
    await execa('systemctl', [`--root=${tree}`, 'enable', 'vireod.service', 'vireod.socket']);
    for (const [alias, unit] of [
      ['libvirtd.service', 'vireod.service'],
      ['virtqemud.socket', 'vireod.socket'],
    ] as const)
      expect(readlinkSync(at(`etc/systemd/system/${alias}`))).toContain(unit);
    rmSync(at('etc/systemd'), { recursive: true });
  });

  it('is undone by uninstall-system.sh, which leaves data and says so', async () => {
    mkdirSync(at('etc/vireo/domains'), { recursive: true });
    const { stdout } = await script('uninstall-system.sh');
    expect(existsSync(at('usr/local/lib/vireo'))).toBe(false);
    expect(readdirSync(at('usr/local/bin'))).toEqual([]);
    expect(readdirSync(at('usr/local/sbin'))).toEqual([]);
    expect(readdirSync(at('usr/sbin'))).toEqual(['libvirtd']);
    expect(existsSync(at('usr/local/lib/systemd/system/vireod.service'))).toBe(false);
    expect(existsSync(at('etc/vireo/domains'))).toBe(true);
    expect(stdout).toContain('left as they are');
    // Nothing to do is no failure.
    await script('uninstall-system.sh');
  });
});
