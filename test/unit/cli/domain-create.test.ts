/** From a few words to a domain. */
import { describe, expect, it } from 'vitest';
import { cliRig } from './cli-rig.ts';
import { summary } from './fake-daemon.ts';

const { daemon, vireo } = await cliRig();

describe('create', () => {
  it('sends what the options say, and shows warnings on stderr', async () => {
    daemon.answers = {
      'domain.create': () => ({
        domain: summary('web'),
        warnings: ['KVM is not usable; emulating'],
        login: null,
      }),
    };
    const line =
      'domain create --name web --memory 2GiB --vcpus 2 --disk path=x.qcow2,size=10GiB --disk /y.raw,bus=sata ' +
      '--cdrom d.iso --network user,forward=2222:22 --network network=default --kernel k --initrd i --cmdline a=b ' +
      '--graphics vnc --firmware efi --type qemu --start --autostart --title T';
    const { code, stdout, stderr } = await vireo(...line.split(' '));
    expect(daemon.paramsOf('domain.create')).toEqual({
      name: 'web',
      memoryBytes: 2 * 1024 ** 3,
      vcpus: 2,
      disks: [
        { path: '/home/me/x.qcow2', createBytes: 10 * 1024 ** 3, readonly: false },
        { path: '/y.raw', bus: 'sata', readonly: false },
      ],
      cdrom: '/home/me/d.iso',
      networks: [
        {
          type: 'user',
          portForwards: [{ protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestPort: 22 }],
        },
        { type: 'network', source: 'default' },
      ],
      kernel: '/home/me/k',
      initrd: '/home/me/i',
      cmdline: 'a=b',
      graphics: 'vnc',
      firmware: 'efi',
      virtType: 'qemu',
      title: 'T',
      paused: false,
      start: true,
      transient: false,
      autostart: true,
      autodestroy: false,
    });
    expect(stderr).toBe('warning: KVM is not usable; emulating\n');
    expect(stdout).toBe(`Domain 'web' is made (${summary('web').uuid}).\nDomain 'web' is running.\n`);
    expect(code).toBe(0);
  });

  it('says how to start what it made', async () => {
    daemon.answers = {
      'domain.create': () => ({
        domain: summary('my web', { active: false, state: 'shutoff', id: null }),
        warnings: [],
        login: null,
      }),
    };
    const { stdout } = await vireo('create', '--name', 'my web');
    expect(stdout).toContain("Start it with: vireo start 'my web'\n");
  });
});
