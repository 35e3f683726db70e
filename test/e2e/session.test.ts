/** A user without any rights: the command line starts a daemon by itself, a guest gets SLIRP's addresses, networks are refused. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually } from '../support/daemon.ts';
import { projectForEverybody } from '../support/for-everybody.ts';
import { littleLinux } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';
import { type Outcome, outcomeOf } from '../support/outcome.ts';

/** An id that no file of the host belongs to, without any group. */
const UID = 64_999;

describeWith(['root', 'qemu-system-x86_64'], 'a session of an ordinary user', () => {
  let home: string;
  let project: string;
  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'vireo-home-'));
    chmodSync(home, 0o755);
    project = projectForEverybody(home);
    const files = await littleLinux(join(home, 'linux'));
    mkdirSync(join(home, '.config/vireo'), { recursive: true, mode: 0o700 });
    writeFileSync(join(home, '.config/vireo/vireod.toml'), '[daemon]\nidle_exit_seconds = 3\n');
    copyFileSync(files.kernel, join(home, 'linux/vmlinuz'));
    const owned = [
      '',
      '.config',
      '.config/vireo',
      '.config/vireo/vireod.toml',
      'linux',
      'linux/initramfs.gz',
      'linux/vmlinuz',
    ];
    for (const path of owned) chownSync(join(home, path), UID, UID);
  });
  afterAll(async () => {
    await vireo('destroy', 'linux');
    // Without clients and guests the daemon ends by itself.
    await eventually('the session daemon ends', () => !existsSync(socket()), 20_000);
    rmSync(home, { recursive: true, force: true });
  });

  const socket = () => join(home, '.cache/vireo/run/vireo.sock');

  /** Runs the command line as that user. */
  function vireo(...args: string[]): Promise<Outcome> {
    const child = spawn(join(project, 'bin/vireo'), ['-c', 'qemu:///session', ...args], {
      uid: UID,
      gid: UID,
      cwd: home,
      env: { PATH: process.env['PATH'], HOME: home },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return outcomeOf(child);
  }

  it('needs nothing but the command line', async () => {
    expect(existsSync(socket())).toBe(false);
    const listed = await vireo('--json', 'list');
    expect(listed).toMatchObject({ code: 0 });
    expect(statSync(socket()).mode & 0o777).toBe(0o600);
    expect(statSync(socket()).uid).toBe(UID);
    const info = JSON.parse((await vireo('--json', 'daemon', 'info')).stdout) as { mode: string };
    expect(info.mode).toBe('session');
  });

  it('boots a guest at 10.0.2.15 and reaches into it', async () => {
    const made = await vireo(
      ...['domain', 'create', '--name', 'linux', '--memory', '256MiB', '--type', 'qemu', '--start'],
      ...[
        '--kernel',
        join(home, 'linux/vmlinuz'),
        '--initrd',
        join(home, 'linux/initramfs.gz'),
        '--cmdline',
        'console=ttyS0 quiet no_timer_check',
      ],
      ...['--network', 'user,forward=tcp:48022:80'],
    );
    expect(made, made.stderr).toMatchObject({ code: 0 });
    const seen = await consoleUntil('vireo guest: ready');
    expect(seen).toContain('address 10.0.2.15 gateway 10.0.2.2 dns 10.0.2.3');
  });

  async function consoleUntil(text: string): Promise<string> {
    const child = spawn(join(project, 'bin/vireo'), ['-c', 'qemu:///session', 'console', 'linux'], {
      uid: UID,
      gid: UID,
      env: { PATH: process.env['PATH'], HOME: home },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let seen = '';
    child.stdout.on('data', (chunk: Buffer) => {
      seen += chunk.toString('latin1');
    });
    child.stdin.write('\n');
    try {
      await eventually(
        `'${text}' on the console`,
        () => seen.includes(text) || seen.includes('welcome:'),
        90_000,
      );
      if (!seen.includes(text)) {
        // It was ready before we came: ask the guest itself.
        child.stdin.write(
          "echo \"address $(ip -4 -o addr show dev eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/') gateway $(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p') dns $(sed -n 's/^nameserver //p' /etc/resolv.conf)\"\n",
        );
        await eventually('the answer of the guest', () => /address 10\S+ gateway/.test(seen), 20_000);
      }
      return seen;
    } finally {
      child.kill();
    }
  }

  it('says why virtual networks cannot be, and what can', async () => {
    const xml = join(home, 'net.xml');
    writeFileSync(
      xml,
      `<domain type='qemu'><name>net</name><memory unit='MiB'>32</memory><os><type>hvm</type></os>
       <devices><interface type='network'><source network='default'/></interface></devices></domain>`,
    );
    const refused = await vireo('domain', 'define', xml);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toMatch(/system connection/);
    expect(refused.stderr).toMatch(/user/);
  });

  it('keeps its files to itself', () => {
    for (const path of ['.config/vireo', '.local/share/vireo', '.cache/vireo/run'])
      expect(statSync(join(home, path)).mode & 0o077, path).toBe(0);
  });
});
