/** Unmodified virsh of an ordinary user: it starts the session daemon under libvirt's name, here and at the far end of ssh. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { commandLine, eventually } from '../support/daemon.ts';
import { projectForEverybody } from '../support/for-everybody.ts';
import { describeWith } from '../support/needs.ts';

/** An id that no file of the host belongs to, without any group. */
const UID = 64_998;

/** Stands for ssh: forgets its options and the host, and runs the command of the far end as sshd would. */
const fakeSsh = `#!/bin/sh
while [ $# -gt 0 ]; do case $1 in --) shift; break ;; -l | -p | -i | -o | -e) shift 2 ;; -*) shift ;; *) break ;; esac; done
shift
exec sh -c "$*"
`;

describeWith(['root', 'virsh', 'setsid'], "libvirt's names for our programs", () => {
  let home: string;
  let bin: string;

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'vd-'));
    bin = join(projectForEverybody(home), 'bin');
    mkdirSync(join(home, 'run'), { mode: 0o700 });
    writeFileSync(join(home, 'ssh'), fakeSsh);
    chmodSync(join(home, 'ssh'), 0o755);
    for (const path of ['', 'run', 'ssh']) chownSync(join(home, path), UID, UID);
  });

  afterEach(async () => {
    const pid = daemonPid();
    if (pid !== undefined) {
      process.kill(pid, 'SIGTERM');
      await eventually('the daemon ends', () => !existsSync(`/proc/${pid}`));
    }
    rmSync(home, { recursive: true, force: true });
  });

  /** Runs a program as that user. */
  function asUser(program: string, ...args: string[]): Promise<{ code: number | null; output: string }> {
    return new Promise((done, fail) => {
      const child = spawn(program, args, {
        uid: UID,
        gid: UID,
        cwd: home,
        env: {
          PATH: `${bin}:${process.env['PATH'] ?? ''}`,
          HOME: home,
          XDG_RUNTIME_DIR: join(home, 'run'),
          LIBVIRTD_PATH: bin,
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let output = '';
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (chunk: Buffer) => {
          output += chunk.toString();
        });
      child.once('error', fail);
      child.once('exit', (code) => done({ code, output }));
    });
  }

  function daemonPid(): number | undefined {
    const lock = join(home, 'run/vireo/vireod.lock');
    const pid = existsSync(lock) ? Number.parseInt(readFileSync(lock, 'utf8'), 10) : Number.NaN;
    return Number.isNaN(pid) || commandLine(pid).length === 0 ? undefined : pid;
  }

  it('lets virsh start the session daemon, which ends by the timeout that virsh wants', async () => {
    const { code, output } = await asUser('virsh', '-q', '-c', 'qemu:///session', 'uri');
    expect({ code, output }).toEqual({ code: 0, output: 'qemu:///session\n' });
    expect(commandLine(daemonPid() ?? 0).join(' ')).toContain('--mode session --idle-exit 120');
  });

  it('keeps virsh waiting when it takes longer to start than the five seconds virsh gives it to listen', async () => {
    // As long as the script runs nothing of the daemon is there but its lock and its door.
    const hooks = join(home, '.config/libvirt/hooks');
    mkdirSync(hooks, { recursive: true });
    writeFileSync(join(hooks, 'daemon'), '#!/bin/sh\n[ "$2" != start ] || sleep 6\n', { mode: 0o755 });
    for (const path of [
      '.config',
      '.config/libvirt',
      '.config/libvirt/hooks',
      '.config/libvirt/hooks/daemon',
    ])
      chownSync(join(home, path), UID, UID);
    const { code, output } = await asUser('virsh', '-q', '-c', 'qemu:///session', 'uri');
    expect({ code, output }).toEqual({ code: 0, output: 'qemu:///session\n' });
  });

  it('serves qemu+ssh by virt-ssh-helper, which starts the session daemon of the far end', async () => {
    const uri = `qemu+ssh://far/session?command=${home}/ssh`;
    const { code, output } = await asUser('virsh', '-q', '-c', uri, 'capabilities');
    expect(output).toContain('<capabilities>');
    expect(code).toBe(0);
    const readOnly = await asUser('virsh', '-q', '-r', '-c', uri, 'define', '/dev/null');
    expect(readOnly.output).toMatch(/read only/i);
  });

  it('says on stderr of virt-ssh-helper what is missing', async () => {
    const { code, output } = await asUser(join(bin, 'virt-ssh-helper'), `qemu:///system?socket=${home}/none`);
    expect(code).not.toBe(0);
    expect(output).toContain(`nothing listens on ${home}/none`);
    expect((await asUser(join(bin, 'virt-ssh-helper'), 'xen:///system')).output).toContain(
      "nothing is served for 'xen'",
    );
  });

  it('goes to the background when it serves, with a pid file, and says when another daemon is there', async () => {
    const pidFile = join(home, 'pid');
    const first = await asUser(join(bin, 'virtqemud'), '-d', '--timeout=60', '-p', pidFile);
    expect(first).toEqual({ code: 0, output: '' });
    expect(Number(readFileSync(pidFile, 'utf8'))).toBe(daemonPid());
    const second = await asUser(join(bin, 'libvirtd'), '--daemon');
    expect(second.code).toBe(1);
    expect(second.output).toContain('vireod.log tells why');
  });

  it('takes no option that it would not honour', async () => {
    expect((await asUser(join(bin, 'libvirtd'), '--listen')).output).toContain('--listen is not taken');
    expect((await asUser(join(bin, 'libvirtd'), '--timeout=x')).output).toContain('no number of seconds');
    expect((await asUser(join(bin, 'libvirtd'), '--version')).output).toMatch(/^vireod \d/);
  });
});
