import { describe, expect, it } from 'vitest';
import type { VirtError } from '../../../src/base/errors.ts';
import { type KvmProbeOptions, kvmUnusable, probeKvm } from '../../../src/kvm/report.ts';
import { type RecordedHost, recordedFiles } from '../../support/recorded-files.ts';
import { type FakeKvmOptions, fakeKvm } from './fake-kvm.ts';

const intel = 'processor : 0\nvendor_id : GenuineIntel\nflags : fpu vmx sse2\n';
const amd = 'processor : 0\nvendor_id : AuthenticAMD\nflags : fpu svm sse2\n';
const without = (cpuinfo: string): string => cpuinfo.replace(/vmx |svm /, '');
const virtual = (cpuinfo: string): string => cpuinfo.replace('sse2', 'sse2 hypervisor');

const kvmNode = { isCharacterDevice: true, mode: 0o660, uid: 0, gid: 104 };
const accounts = {
  '/etc/passwd': 'root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n',
  '/etc/group': 'root:x:0:\nkvm:x:104:berta\nanna:x:1000:\n',
};

interface Host extends Partial<RecordedHost> {
  readonly kvm?: FakeKvmOptions;
  readonly uid?: number;
  readonly gids?: readonly number[];
  readonly arch?: string;
}

function probe({ kvm, uid = 0, gids = [uid], arch = 'x86_64', ...host }: Host) {
  const options: KvmProbeOptions = {
    files: recordedFiles({ ...host, files: { '/proc/cpuinfo': amd, ...accounts, ...host.files } }),
    calls: fakeKvm(kvm).calls,
    identity: { uid, gids },
    arch,
  };
  return probeKvm(options);
}

const failing = (errno: string): FakeKvmOptions => ({ failing: { open: errno } });

describe('probeKvm on a host with KVM', () => {
  it('reports interface, limits, module and nesting', async () => {
    const report = await probe({
      kvm: { extensions: { nrVcpus: 8, maxVcpus: 1024 } },
      files: { '/sys/module/kvm_amd/parameters/nested': '1\n' },
    });
    expect(report).toMatchObject({
      usable: true,
      apiVersion: 12,
      vcpus: { recommended: 8, max: 1024 },
      vcpuMmapBytes: 12288,
      cpu: { vendor: 'AuthenticAMD', flag: 'svm', underHypervisor: false },
      module: { name: 'kvm_amd', loaded: true, nested: true },
    });
    expect(report.problem).toBeUndefined();
  });

  it('reads nesting that is switched off by a letter', async () => {
    const report = await probe({
      files: { '/proc/cpuinfo': intel, '/sys/module/kvm_intel/parameters/nested': 'N\n' },
    });
    expect(report.module).toEqual({ name: 'kvm_intel', loaded: true, nested: false });
  });

  it('follows the kernel documentation where the vCPU limits are not told', async () => {
    expect((await probe({})).vcpus).toEqual({ recommended: 4, max: 4 });
  });

  it('believes working ioctls more than a missing CPU flag', async () => {
    const report = await probe({
      files: { '/proc/cpuinfo': without(amd), '/sys/module/kvm_pvm/parameters/': '' },
    });
    expect(report).toMatchObject({ usable: true, module: { name: 'kvm_pvm', loaded: true } });
    expect(report.cpu.flag).toBeUndefined();
  });
});

/** One row per cause: the host, the code, and words that reason and repair must hold. */
const causes: readonly (readonly [
  title: string,
  host: Host,
  code: string,
  reason: RegExp,
  repair: RegExp,
])[] = [
  [
    'no node although the driver is registered',
    { kvm: failing('ENOENT'), files: { '/proc/misc': '232 kvm\n' } },
    'no-node',
    /no \/dev\/kvm/,
    /mknod \/dev\/kvm c 10 232/,
  ],
  [
    'no node in a container',
    { kvm: failing('ENOENT'), files: { '/proc/misc': '232 kvm\n', '/.dockerenv': '' } },
    'no-node',
    /container/,
    /--device \/dev\/kvm/,
  ],
  [
    'the module is not loaded',
    { kvm: failing('ENOENT') },
    'module-not-loaded',
    /kvm_amd is not loaded/,
    /modprobe kvm_amd/,
  ],
  [
    'a node without its driver',
    { kvm: failing('ENODEV'), nodes: { '/dev/kvm': kvmNode }, files: { '/proc/cpuinfo': intel } },
    'module-not-loaded',
    /kvm_intel/,
    /modprobe kvm_intel/,
  ],
  [
    'the kernel has no such module',
    {
      kvm: failing('ENOENT'),
      files: {
        '/proc/sys/kernel/osrelease': '6.1.0-9-cloud\n',
        '/lib/modules/6.1.0-9-cloud/modules.dep': 'kernel/fs/9p/9p.ko:\n',
      },
    },
    'module-not-loaded',
    /has no module kvm_amd/,
    /linux-image/,
  ],
  [
    'the processor has no virtualisation',
    { kvm: failing('ENOENT'), files: { '/proc/cpuinfo': without(intel) } },
    'no-cpu-flag',
    /neither vmx nor svm/,
    /VT-x/,
  ],
  [
    'a virtual machine without nesting',
    { kvm: failing('ENOENT'), files: { '/proc/cpuinfo': virtual(without(amd)) } },
    'no-cpu-flag',
    /virtual machine/,
    /kvm_amd with nested=1/,
  ],
  [
    'the firmware has it off, by the AMD register',
    { kvm: failing('ENOENT'), msr: { 0xc0010114: 0x18n } },
    'bios-off',
    /firmware/,
    /SVM Mode/,
  ],
  [
    'the firmware has it off and locked, by the Intel register',
    { kvm: failing('ENOENT'), msr: { 0x3a: 0x1n }, files: { '/proc/cpuinfo': without(intel) } },
    'bios-off',
    /firmware/,
    /VT-x/,
  ],
  [
    'the firmware has it off, by the log of the kernel',
    {
      kvm: failing('ENOENT'),
      files: { '/proc/cpuinfo': intel },
      kernelLog: '6,1,2,-;x86/cpu: VMX (outside TXT) disabled by BIOS\n',
    },
    'bios-off',
    /firmware/,
    /VT-x/,
  ],
  [
    'a file in place of the node',
    { kvm: failing('EACCES'), nodes: { '/dev/kvm': { ...kvmNode, isCharacterDevice: false } } },
    'not-a-device',
    /not KVM's device node/,
    /mknod/,
  ],
  [
    "another driver's node",
    { kvm: { failing: { KVM_GET_API_VERSION: 'ENOTTY' } } },
    'not-a-device',
    /not KVM's device node/,
    /mknod/,
  ],
  ['an old interface', { kvm: { apiVersion: 10 } }, 'too-old', /version 10/, /newer kernel/],
  [
    'a kernel that lacks what QEMU needs',
    { kvm: { extensions: { userMemory: 0 } } },
    'too-old',
    /userMemory/,
    /newer kernel/,
  ],
  [
    'another hypervisor that is known',
    { kvm: { failing: { KVM_CREATE_VM: 'EBUSY' } }, files: { '/sys/module/vboxdrv/version': '7.0\n' } },
    'busy',
    /VirtualBox/,
    /modprobe -r vboxdrv/,
  ],
  [
    'another hypervisor that is not known',
    { kvm: { failing: { KVM_CREATE_VM: 'EBUSY' } } },
    'busy',
    /another hypervisor/,
    /stop/,
  ],
  [
    'no memory for a VM',
    { kvm: { failing: { KVM_CREATE_VM: 'ENOMEM' } } },
    'ioctl-failed',
    /KVM_CREATE_VM failed with ENOMEM/,
    /free memory/,
  ],
  [
    'a run area that cannot be mapped',
    { kvm: { failing: { mmap: 'EINVAL' } } },
    'ioctl-failed',
    /mmap failed with EINVAL/,
    /dmesg/,
  ],
  [
    'a processor without flags and a kernel without KVM',
    {
      kvm: failing('ENOENT'),
      arch: 'aarch64',
      files: { '/proc/cpuinfo': 'processor : 0\nFeatures : fp asimd\n' },
    },
    'no-node',
    /offers no \/dev\/kvm/,
    /EL2/,
  ],
];

describe('probeKvm on a host without usable KVM', () => {
  it.each(causes)('tells and repairs: %s', async (_title, host, code, reason, repair) => {
    const report = await probe(host);
    expect(report.usable).toBe(false);
    expect(report.problem?.code).toBe(code);
    expect(report.problem?.reason).toMatch(reason);
    expect(report.problem?.repair).toMatch(repair);
  });
});

describe('permission on /dev/kvm', () => {
  const denied = { kvm: failing('EACCES'), nodes: { '/dev/kvm': kvmNode }, uid: 1000 };

  it('names the group that would give it', async () => {
    const { problem } = await probe(denied);
    expect(problem).toEqual({
      code: 'no-permission',
      group: 'kvm',
      reason: "user 'anna' may not open /dev/kvm: group 'kvm' may",
      repair: 'as root: usermod -aG kvm anna; then log out and in again',
    });
  });

  it('tells a user who was added after the login from one who was not added', async () => {
    const { problem } = await probe({
      ...denied,
      files: { '/etc/group': 'kvm:x:104:berta,anna\nanna:x:1000:\n' },
    });
    expect(problem).toMatchObject({ code: 'no-permission', group: 'kvm' });
    expect(problem?.reason).toContain('after this login');
    expect(problem?.repair).toContain('newgrp kvm');
  });

  it('does not send a process that has the group to usermod', async () => {
    const { problem } = await probe({ ...denied, gids: [1000, 104] });
    expect(problem?.reason).toContain('although the process is in group');
    expect(problem?.repair).not.toContain('usermod');
  });

  it('repairs the node where no group may use it', async () => {
    const { problem } = await probe({
      ...denied,
      nodes: { '/dev/kvm': { ...kvmNode, mode: 0o600, gid: 0 } },
    });
    expect(problem?.reason).toContain('neither may any group');
    expect(problem?.repair).toContain('chgrp kvm /dev/kvm');
  });

  it('looks past file modes when root is refused', async () => {
    const { problem } = await probe({ ...denied, kvm: failing('EPERM'), uid: 0 });
    expect(problem?.code).toBe('no-permission');
    expect(problem?.repair).toContain('DeviceAllow=/dev/kvm');
  });

  it('is a problem for guests of their own user where only root has it', async () => {
    const options = (node: object): KvmProbeOptions => ({
      files: recordedFiles({
        files: { '/proc/cpuinfo': amd },
        nodes: { '/dev/kvm': { ...kvmNode, ...node } },
      }),
      calls: fakeKvm().calls,
      arch: 'x86_64',
      guestsUnprivileged: true,
    });
    expect((await probeKvm(options({ mode: 0o600, gid: 0 }))).problem).toMatchObject({
      code: 'no-permission',
      group: 'kvm',
      reason: '/dev/kvm is open to root only, and guests do not run as root',
    });
    expect((await probeKvm(options({ mode: 0o660, gid: 0 }))).usable).toBe(false);
    expect((await probeKvm(options({}))).usable).toBe(true);
    expect((await probeKvm(options({ mode: 0o666, gid: 0 }))).usable).toBe(true);
  });

  it('uses the number of a group without a name', async () => {
    const { problem } = await probe({ ...denied, files: { '/etc/group': 'anna:x:1000:\n' } });
    expect(problem?.group).toBe('104');
  });
});

describe('kvmUnusable', () => {
  it('refuses with the reason and the repair of the report', async () => {
    const report = await probe({ kvm: failing('ENOENT') });
    const error: VirtError = kvmUnusable(report, "start domain 'web'");
    expect(error).toMatchObject({
      code: 'kvm.unusable',
      reason: report.problem?.reason,
      hint: report.problem?.repair,
      details: { problem: 'module-not-loaded' },
    });
  });

  it('is a bug to ask for where KVM works', async () => {
    const report = await probe({});
    expect(() => kvmUnusable(report, 'x')).toThrow(/usable KVM/);
  });
});
