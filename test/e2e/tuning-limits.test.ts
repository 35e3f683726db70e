/** Shares and limits of a running guest's processor, memory and disks, where the host has control groups for them. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { project, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;

/** Control groups of version 2 whose root may hand on processor time. */
const hasCpuController = () =>
  existsSync('/sys/fs/cgroup/cgroup.controllers') &&
  readFileSync('/sys/fs/cgroup/cgroup.controllers', 'utf8').split(/\s+/).includes('cpu');

describeWith(['root', 'qemu-system-x86_64', 'virsh'], 'a guest with limits', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  const call: VireoClient['call'] = (...args) => client.call(...args);
  const virsh = async (...args: string[]) => {
    const uri = `qemu:///system?socket=${daemon.root}/run/libvirt/libvirt-sock`;
    const { stdout, stderr } = await run('virsh', ['-c', uri, ...args], {
      timeout: 60_000,
      env: { ...process.env, LC_ALL: 'C' },
    }).catch((error: unknown) => error as { stdout: string; stderr: string });
    return (stdout + stderr).trim();
  };
  const vireo = async (...args: string[]) => {
    const command = [join(project, 'bin/vireo'), ['--root', daemon.root, ...args]] as const;
    return (await run(...command, { timeout: 60_000 })).stdout;
  };

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    // Nothing in it has to run: SeaBIOS waits for ever.
    await call('domain.define', {
      xml: `<domain type='qemu'><name>g</name><memory unit='MiB'>32</memory><vcpu current='1'>9</vcpu>
      <os><type machine='pc'>hvm</type></os></domain>`,
    });
    await call('domain.start', { domain: 'g' });
  });
  afterAll(async () => {
    // Killed from outside it would leave its control groups behind.
    await client?.call('domain.destroy', { domain: 'g' }).catch(() => undefined);
    await client?.close();
    await daemon?.remove();
  });

  it('has shares and limits of its own, and says which it cannot have', async () => {
    expect(await virsh('schedinfo', 'g', '--config', '--set', 'cpu_shares=512')).toMatch(/cpu_shares +: 512/);
    expect(await virsh('dumpxml', 'g', '--inactive')).toContain('<shares>512</shares>');
    expect(await virsh('schedinfo', 'g', '--live', '--set', 'vcpu_quota=500')).toMatch(
      /vcpu_quota is from 1000 to/,
    );
    const moved = await virsh('numatune', 'g', '--live', '--nodeset', '0');
    const [pid = 0] = qemuProcesses(daemon.root);
    if (moved === '') expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toMatch(/(:cpuset|0:):.*vireo/);
    else expect(moved).toMatch(/not supported here: the control groups of this host|does not take/);
    expect(await virsh('numatune', 'g', '--live', '--mode', 'interleave')).toMatch(
      /numa_mode cannot be changed while the guest runs/,
    );
    expect(await virsh('memtune', 'g', '--config', '--hard-limit', '2G')).toBe('');
    expect(await virsh('memtune', 'g', '--config')).toMatch(/hard_limit +: 2097152\nsoft_limit +: unlimited/);
    expect(await virsh('numatune', 'g', '--config', '--nodeset', '0')).toBe('');
    expect(await virsh('numatune', 'g', '--config')).toMatch(/numa_mode +: strict\nnuma_nodeset +: 0/);
    expect(await virsh('numatune', 'g', '--config', '--mode', 'restrictive')).toBe('');
    expect(await virsh('numatune', 'g', '--config')).toMatch(/numa_mode +: restrictive/);
    const isCounted = /:cpuacct[^:]*:.*vireo/.test(readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
    expect(await virsh('cpu-stats', 'g')).toMatch(
      isCounted ? /CPU0:\n\s+cpu_time +\d[^]*Total:/ : /control groups of version 1 only/,
    );
    expect(await virsh('blkiotune', 'g', '--config', '--weight', '500')).toBe('');
    expect(await virsh('blkiotune', 'g', '--config')).toMatch(/weight +: 500/);
    expect(await virsh('blkiotune', 'g', '--config', '--device-read-bytes-sec', '/dev/sda,1000')).toBe('');
    const limits = await vireo(
      'domain',
      'set-limits',
      'g',
      '--stored',
      '--disk-weight',
      'none',
      '--vcpu-quota',
      '30000',
    );
    expect(limits).toMatch(/Quota of each CPU: +30000 µs of 100000 µs[^]*Disk weight: +as others/);
    expect(await call('domain.limits', { domain: 'g', inactive: true })).toMatchObject({
      cpuShares: 512,
      vcpuQuotaUs: 30_000,
      memoryHardBytes: 2048 * MIB,
      diskWeight: null,
      hostDevices: [{ path: '/dev/sda', readBytesSec: 1000 }],
    });
  });

  it('has limits of single threads where the host has control groups', async () => {
    const { threads } = await call('domain.threads', { domain: 'g' });
    const groupOf = (threadId: number | null | undefined) => {
      const [pid] = qemuProcesses(daemon.root);
      return readFileSync(`/proc/${pid}/task/${threadId}/cgroup`, 'utf8');
    };
    const hasCpu = existsSync('/sys/fs/cgroup/cpu/cgroup.procs') || hasCpuController();
    const set = call('domain.set-limits', { domain: 'g', live: true, limits: { vcpuQuotaUs: 90_000 } });
    if (!hasCpu) {
      await expect(set).rejects.toMatchObject({ code: 'request.unsupported' });
      return;
    }
    expect(await set).toMatchObject({ vcpuQuotaUs: 90_000 });
    const uuid = (await call('domain.get', { domain: 'g' })).uuid;
    for (const { target, threadId } of threads)
      if (typeof target === 'object' && 'vcpu' in target)
        expect(groupOf(threadId)).toContain(`/vireo/${uuid}/vcpu${target.vcpu}\n`);
    // The guest's own group has its say without taking the threads out of theirs.
    await call('domain.set-limits', { domain: 'g', live: true, limits: { cpuShares: 300 } });
    expect(groupOf(threads[0]?.threadId)).toContain(`/vireo/${uuid}/vcpu0\n`);
    await call('domain.set-limits', {
      domain: 'g',
      live: true,
      limits: { vcpuQuotaUs: null, cpuShares: null },
    });
    expect(await call('domain.limits', { domain: 'g' })).toMatchObject({
      vcpuQuotaUs: null,
      cpuShares: null,
    });
  });
});
