/** `vireo run`: a throw-away guest with its console in the terminal, of which nothing stays. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually, project, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { littleLinux, writeTinyGuest } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

describeWith(['root', 'qemu-system-x86_64', 'qemu-img'], 'vireo run', () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await TestDaemon.start();
  });
  afterAll(() => daemon.remove());

  function run(...args: string[]) {
    const child = spawn(
      join(project, 'bin/vireo'),
      ['--root', daemon.root, 'run', '--type', 'qemu', ...args],
      {
        stdio: ['pipe', 'pipe', 'pipe'],
        env: { PATH: process.env['PATH'], HOME: daemon.root, TMPDIR: daemon.root },
      },
    );
    const seen = { text: '' };
    const take = (chunk: Buffer) => {
      seen.text += chunk.toString('latin1');
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const ended = new Promise<number | null>((done) => child.on('close', done));
    return { child, seen, ended };
  }

  const leftovers = () => ({
    guests: qemuProcesses(daemon.root).length,
    overlays: readdirSync(daemon.root).filter((name) => name.startsWith('vireo-run-')),
    definitions: readdirSync(join(daemon.root, 'etc/vireo/domains')),
  });
  const nothing = { guests: 0, overlays: [], definitions: [] };

  it('boots an image without changing it, and ends with its guest', async () => {
    const image = join(daemon.root, 'tiny.raw');
    writeTinyGuest(image);
    const hash = () => createHash('sha256').update(readFileSync(image)).digest('hex');
    const before = hash();
    const guest = run(`${image},bus=ide`, '--machine', 'pc', '--memory', '32MiB');
    expect(await guest.ended, guest.seen.text).toBe(0);
    expect(guest.seen.text).toContain('TINY-GUEST alive');
    expect(hash()).toBe(before);
    expect(leftovers()).toEqual(nothing);
  });

  it('talks to a Linux guest, and leaves nothing when it is killed', async () => {
    const files = await littleLinux(join(daemon.root, 'linux'));
    const guest = run(
      '--kernel',
      files.kernel,
      '--initrd',
      files.initrd,
      '--cmdline',
      'console=ttyS0 quiet no_timer_check',
    );
    await eventually('the guest is ready', () => guest.seen.text.includes('vireo guest: ready'), 120_000);
    guest.child.stdin.write('echo $((6 * 7)) is the answer\n');
    await eventually('the guest answers', () => guest.seen.text.includes('42 is the answer'), 30_000);
    guest.child.kill('SIGKILL');
    await guest.ended;
    await eventually('the guest is gone', () => qemuProcesses(daemon.root).length === 0);
    expect(leftovers()).toEqual(nothing);
  });
});
