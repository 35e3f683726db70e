/** What an ordinary user has instead of virtual networks: passt, a bridge the administrator allows, a segment. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { file } from '../../scripts/guest-image/cpio.ts';
import { eventually } from '../support/daemon.ts';
import { littleLinux } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';
import { SessionUser } from '../support/session-user.ts';

// Guests boot without KVM, two of them in one test; on a busy host that takes its time.
vi.setConfig({ testTimeout: 300_000 });

const HELPER = '/usr/lib/qemu/qemu-bridge-helper';

/** Process 1 of a guest without DHCP: takes its address from the command line, and pings until it is answered. */
const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module" 2>/dev/null; done </modules/order
word() { sed -n "s/.*test.$1=\\([0-9.]*\\).*/\\1/p" /proc/cmdline; }
ip link set eth0 up; ip addr add "$(word address)/24" dev eth0
echo "guest: up at $(word address)"
until ping -c 1 -W 1 "$(word ping)" >/dev/null; do sleep 0.2; done
echo "guest: reached $(word ping)"
while :; do sleep 60; done
`;

describeWith(
  ['root', 'qemu-system-x86_64', 'ip', 'nsenter', 'passt', 'curl', HELPER],
  'network cards of an ordinary user',
  () => {
    let user: SessionUser;
    const images = { kernel: '', dhcp: '', plain: '' };
    beforeAll(async () => {
      // The same helper with its right, the list, and the tap device with its usual mode, for this user alone.
      user = new SessionUser(
        (home) => `mkdir ${home}/etc && cp ${HELPER} ${home}/helper && chmod 4755 ${home}/helper &&
          mount --bind ${home}/helper ${HELPER} && mount -t tmpfs qemu ${mountPoint('/etc/qemu')} &&
          mknod ${home}/tun c 10 200 && chmod 666 ${home}/tun && mount --bind ${home}/tun /dev/net/tun`,
      );
      const ordinary = await littleLinux(join(user.home, 'ordinary'));
      const own = await littleLinux(join(user.home, 'own'), [file('init', init, 0o755)]);
      images.kernel = user.give(ordinary.kernel, 'vmlinuz');
      images.dhcp = user.give(ordinary.initrd, 'dhcp.gz');
      images.plain = user.give(own.initrd, 'plain.gz');
      await user.ready();
    });
    afterAll(async () => {
      await user.remove(['passt', 'one', 'two', 'bridged']);
      if (madeDirectory !== undefined) rmdirSync(madeDirectory);
    });

    let madeDirectory: string | undefined;
    /** The directory is there, or is made until the end. */
    function mountPoint(path: string): string {
      if (!existsSync(path)) {
        mkdirSync(path);
        madeDirectory = path;
      }
      return path;
    }

    function create(name: string, network: string, words: string, initrd = images.plain) {
      return user.vireo(
        ...['domain', 'create', '--name', name, '--memory', '128MiB', '--type', 'qemu', '--start'],
        ...[
          '--kernel',
          images.kernel,
          '--initrd',
          initrd,
          '--cmdline',
          `console=ttyS0 quiet no_timer_check ${words}`,
        ],
        ...['--network', network],
      );
    }

    const prints = (name: string, text: string) =>
      eventually(
        `'${text}' of ${name}`,
        () => existsSync(user.console(name)) && readFileSync(user.console(name), 'utf8').includes(text),
        110_000,
      );

    const page = async () => (await user.run('curl', ['-sS', '-m', '5', 'http://127.0.0.1:48181/'])).stdout;

    it('gives a guest an address and a forwarded port by passt', async () => {
      const made = await create('passt', 'passt,forward=tcp:48181:80', '', images.dhcp);
      expect(made, made.stderr).toMatchObject({ code: 0 });
      await prints('passt', 'vireo guest: ready');
      expect(readFileSync(user.console('passt'), 'utf8')).toContain('address 192.0.2.2');
      expect(await page()).toContain('Hello from');
    });

    it('keeps passt when the daemon is killed', async () => {
      const info = await user.vireo('--json', 'daemon', 'info');
      const { pid } = JSON.parse(info.stdout) as { pid: number };
      process.kill(pid, 'SIGKILL');
      expect(await page()).toContain('Hello from');
      expect((await user.vireo('list')).stdout).toContain('passt');
      expect(await page()).toContain('Hello from');
    });

    it('tells that a port is taken, in words of passt', async () => {
      const refused = await create('late', 'passt,forward=tcp:48181:80', '', images.dhcp);
      expect(refused.code).not.toBe(0);
      expect(refused.stderr).toMatch(/start passt: .*bind/s);
      expect(refused.stderr).toContain('another program uses one of the ports');
      expect((await user.vireo('domain', 'undefine', 'late')).code).toBe(0);
    });

    it('tells when passt has ended before its guest, and ends passt with it', async () => {
      const [pid = 0] = passtProcesses(user.home);
      const events = user.run('timeout', ['5', ...vireoEvents(user)]);
      await new Promise((done) => setTimeout(done, 1500));
      process.kill(pid);
      expect((await events).stdout).toMatch(/domain\.helper-ended\s+'passt' helper=passt alias=net0/);
      await user.vireo('destroy', 'passt');
      expect((await user.vireo('start', 'passt')).code).toBe(0);
      expect(passtProcesses(user.home)).toHaveLength(1);
      await user.vireo('destroy', 'passt');
      await eventually('passt has ended', () => passtProcesses(user.home).length === 0, 5000);
    });

    it('connects guests on a segment, and nobody beyond the host', async () => {
      const one = await create('one', 'segment=lab', 'test.address=10.9.0.1 test.ping=10.9.0.2');
      expect(one, one.stderr).toMatchObject({ code: 0 });
      await create('two', 'segment=lab', 'test.address=10.9.0.2 test.ping=10.9.0.1');
      await prints('one', 'guest: reached 10.9.0.2');
      await prints('two', 'guest: reached 10.9.0.1');
      // The only other interface has sent no multicast: all of it went over loopback.
      const groups = await user.enter(['ip', 'maddress', 'show', 'dev', 'up0']);
      expect(groups.stdout).not.toContain('239.255.118');
      expect((await user.enter(['ip', 'maddress', 'show', 'dev', 'lo'])).stdout).toContain('239.255.118');
      await user.vireo('destroy', 'one');
      await user.vireo('destroy', 'two');
    });

    it('names the line that an administrator has to add for a bridge, and then uses it', async () => {
      await user.enter(['ip', 'link', 'add', 'brv', 'type', 'bridge']);
      await user.enter(['ip', 'link', 'set', 'brv', 'up']);
      await user.enter(['ip', 'addr', 'add', '10.9.1.1/24', 'dev', 'brv']);
      const words = 'test.address=10.9.1.2 test.ping=10.9.1.1';
      const refused = await create('bridged', 'bridge=brv', words);
      expect(refused.code).not.toBe(0);
      expect(refused.stderr).toContain("add the line 'allow brv' to /etc/qemu/bridge.conf");
      const list = join(user.home, 'bridge.conf');
      writeFileSync(list, 'allow brv\n');
      await user.enter(['cp', list, '/etc/qemu/bridge.conf']);
      const made = await create('bridged', 'bridge=brv', words);
      expect(made, made.stderr).toMatchObject({ code: 0 });
      await prints('bridged', 'guest: reached 10.9.1.1');
      expect((await user.enter(['ip', 'link', 'show', 'master', 'brv'])).stdout).toContain('tap0');
      await user.vireo('destroy', 'bridged');
      expect((await user.enter(['ip', 'link', 'show', 'master', 'brv'])).stdout).toBe('');
    });

    it('says of a virtual network all that works instead, and what of it this host offers', async () => {
      const refused = await user.vireo('network', 'list');
      expect(refused.code).not.toBe(0);
      for (const way of [
        '--network user,forward=',
        "'passt'/>, which is installed",
        'bridge.conf allows brv',
        'segment=NAME',
      ])
        expect(refused.stderr).toContain(way);
    });
  },
);

function vireoEvents(user: SessionUser): string[] {
  return [user.program, '-c', 'qemu:///session', 'events'];
}

/** The passt processes whose environment names a guest below that directory. */
function passtProcesses(home: string): number[] {
  const found = execFileSync('sh', [
    '-c',
    'grep -la "$1/.*/g/" /proc/[0-9]*/environ 2>/dev/null || true',
    '-',
    home,
  ]);
  return found
    .toString()
    .split('\n')
    .map((path) => Number(/\d+/.exec(path)?.[0]))
    .filter((pid) => pid > 0 && readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('passt'));
}
