/** What is measured and tuned of a guest, without one: answers of QEMU, hung monitors, control groups in a directory. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { GuestGroups, isInGroup, LIFTED } from '../../../src/drivers/host-tuning/cgroups.ts';
import { deviceLines, deviceNumber } from '../../../src/drivers/host-tuning/device-limits.ts';
import { readDiskCounters } from '../../../src/drivers/qemu/tuning/disks.ts';
import { readImageCounters } from '../../../src/drivers/qemu/tuning/images.ts';
import { readBalloonStatistics } from '../../../src/drivers/qemu/tuning/memory.ts';
import { readAccelerator } from '../../../src/drivers/qemu/tuning/sample.ts';
import { QemuTuning } from '../../../src/drivers/qemu/tuning/tuning.ts';
import { FakeQmp } from './tuning-qmp.ts';

describe('answers of QEMU', () => {
  it('leave out what the guest does not tell', () => {
    const stats = { 'stat-free-memory': 4096, 'stat-swap-in': 2 ** 64, odd: 1 };
    expect(readBalloonStatistics({ 'last-update': 7, stats })).toEqual({
      lastUpdateSeconds: 7,
      freeBytes: 4096,
    });
    expect(readBalloonStatistics('nothing')).toBeUndefined();
  });

  it('give the counters of each disk by its alias, with the end of the lowest node', () => {
    const counts = {
      rd_operations: 1,
      rd_bytes: 512,
      rd_total_time_ns: 3,
      wr_operations: 0,
      wr_bytes: 0,
      wr_total_time_ns: 0,
      flush_operations: 0,
      flush_total_time_ns: 0,
    };
    const qdev = '/machine/peripheral/virtio-disk0/virtio-backend';
    const parent = { stats: { ...counts, wr_highest_offset: 9000 } };
    const found = readDiskCounters(
      [{ qdev, stats: { ...counts, wr_highest_offset: 10 }, parent }, { stats: 'broken' }],
      [{ qdev, inserted: { drv: 'qcow2', file: '/x', image: { 'virtual-size': 1024, 'actual-size': 200 } } }],
    );
    expect(found).toMatchObject([
      {
        alias: 'virtio-disk0',
        readBytes: 512,
        allocationBytes: 9000,
        capacityBytes: 1024,
        physicalBytes: 200,
      },
    ]);
  });

  it("name the accelerator's counters by kind, without histograms", () => {
    const types = [
      { name: 'exits', type: 'cumulative' },
      { name: 'pages', type: 'instant' },
      { name: 'waits', type: 'log2-histogram' },
    ];
    const stats = [
      { name: 'exits', value: 5 },
      { name: 'pages', value: true },
      { name: 'waits', value: [1, 2] },
      { name: 'unknown', value: 1 },
    ];
    expect(
      readAccelerator([{ provider: 'kvm', target: 'vm', stats: types }], [{ provider: 'kvm', stats }]),
    ).toEqual([
      { name: 'exits', kind: 'sum', value: 5 },
      { name: 'pages', kind: 'cur', value: true },
    ]);
  });
});

describe('a guest without IO threads', () => {
  it('is not asked for them', async () => {
    const qmp = new FakeQmp();
    const definition = { devices: {}, iothreadids: [] as readonly { id: number }[] };
    const tuning = new QemuTuning({
      qmp: () => qmp.client,
      definition: () => definition as never,
      directory: '/nowhere',
    });
    expect(await tuning.sample(['iothreads'], 1000)).toEqual({ iothreads: [] });
    expect(qmp.asked).toEqual([]);
    definition.iothreadids = [{ id: 3 }];
    const sample = tuning.sample(['iothreads'], 1000);
    await expect.poll(() => qmp.asked).toEqual(['query-iothreads']);
    qmp.answer([{ id: 'iothread3', 'thread-id': 77 }]);
    expect(await sample).toEqual({ iothreads: [{ id: 3, threadId: 77 }] });
  });
});

describe('a monitor that hangs', () => {
  it('is asked once, costs its limit once, and is asked again when it has answered', async () => {
    const qmp = new FakeQmp();
    const tuning = new QemuTuning({
      qmp: () => qmp.client,
      definition: () => ({ devices: {} }) as never,
      directory: '/nowhere',
    });
    const first = tuning.sample(['cpus'], 50);
    await expect(first).rejects.toMatchObject({ code: 'qmp.timeout', reason: 'no answer within 50 ms' });
    const start = performance.now();
    await expect(tuning.sample(['cpus'], 50)).rejects.toMatchObject({ code: 'qmp.timeout' });
    await expect(tuning.sample(['iothreads'], 50)).rejects.toMatchObject({ code: 'qmp.timeout' });
    expect(performance.now() - start).toBeLessThan(40);
    expect(qmp.asked).toEqual(['query-cpus-fast']);
    qmp.answer([{ 'cpu-index': 1, 'qom-path': '/x', 'thread-id': 77 }]);
    await new Promise((done) => setTimeout(done, 5));
    const again = tuning.sample(['cpus'], 1000);
    await new Promise((done) => setTimeout(done, 5));
    qmp.answer([{ 'cpu-index': 0, 'qom-path': '/y', 'thread-id': 78 }]);
    expect(await again).toEqual({ cpus: [{ index: 0, threadId: 78 }] });
  });
});

describe('control groups', () => {
  const tree = (files: readonly string[]): string => {
    const root = mkdtempSync(join(tmpdir(), 'vireo-cg-'));
    onTestFinished(() => rmSync(root, { recursive: true }));
    for (const file of files) {
      mkdirSync(join(root, file, '..'), { recursive: true });
      writeFileSync(join(root, file), '');
    }
    return root;
  };

  it('of version 1 keep the memory of a guest on nodes, and get what a new group needs before anybody is in it', async () => {
    const files = ['cpuset.cpus', 'cpuset.mems'];
    const own = [...files, 'cpuset.memory_migrate'].map((file) => `cpuset/vireo/u/${file}`);
    const root = tree([
      'cpuset/cgroup.procs',
      ...files.map((file) => `cpuset/${file}`),
      ...files.map((file) => `cpuset/vireo/${file}`),
      ...own,
    ]);
    const read = (file: string) => readFileSync(join(root, 'cpuset', file), 'utf8');
    writeFileSync(join(root, 'cpuset/cpuset.cpus'), '0-3\n');
    writeFileSync(join(root, 'cpuset/cpuset.mems'), '0-1\n');
    await new GuestGroups(root).confineMemory(42, 'u', '0,1');
    expect(read('vireo/cpuset.mems')).toBe('0-1');
    expect(
      ['cpuset.cpus', 'cpuset.mems', 'cpuset.memory_migrate', 'cgroup.procs'].map((file) =>
        read(`vireo/u/${file}`),
      ),
    ).toEqual(['0-3', '0,1', '1', '42']);
  });

  it('keep no memory anywhere where the host has no sets of processors, and version 2 counts by none', async () => {
    const none = new GuestGroups(tree(['cpu/cgroup.procs']));
    await expect(none.confineMemory(42, 'u', '0')).rejects.toMatchObject({ code: 'request.unsupported' });
    expect(await none.account(42, 'u')).toBe(false);
    const second = tree(['cgroup.controllers', 'cpuacct/cgroup.procs']);
    expect(await new GuestGroups(second).account(42, 'u')).toBe(false);
    expect(await new GuestGroups(second).processorTimes(42, 'u')).toBeUndefined();
  });

  it('of version 1 count the time of a guest by processor', async () => {
    const root = tree(['cpuacct/cgroup.procs', 'cpuacct/vireo/u/cpuacct.usage_percpu']);
    expect(await new GuestGroups(root).account(42, 'u')).toBe(true);
    expect(readFileSync(join(root, 'cpuacct/vireo/u/cgroup.procs'), 'utf8')).toBe('42');
    writeFileSync(join(root, 'cpuacct/vireo/u/cpuacct.usage_percpu'), '17 0 4000000000 \n');
    const inside = new GuestGroups(root, () => Promise.resolve('2:cpuacct:/vireo/u\n1:cpu:/\n'));
    expect(await inside.processorTimes(42, 'u')).toEqual([17, 0, 4_000_000_000]);
    const outside = new GuestGroups(root, () => Promise.resolve('2:cpuacct:/\n'));
    expect(await outside.processorTimes(42, 'u')).toBeUndefined();
  });

  it('of version 1 get the process and its limits, in the tree of each controller', async () => {
    const root = tree([
      'cpu/cgroup.procs',
      'memory/cgroup.procs',
      'cpu/vireo/u/cpu.shares',
      'memory/vireo/u/memory.limit_in_bytes',
    ]);
    const groups = new GuestGroups(root);
    await groups.limit(42, 'u', { 'cputune.shares': 512, 'memtune.hard_limit': 2048 });
    expect(readFileSync(join(root, 'cpu/vireo/u/cgroup.procs'), 'utf8')).toBe('42');
    expect(readFileSync(join(root, 'cpu/vireo/u/cpu.shares'), 'utf8')).toBe('512');
    expect(readFileSync(join(root, 'memory/vireo/u/memory.limit_in_bytes'), 'utf8')).toBe('2097152');
    await expect(groups.limit(42, 'u', { 'blkiotune.weight': 100 })).rejects.toMatchObject({
      code: 'request.unsupported',
      wanted: 'set blkiotune.weight',
    });
  });

  it('of version 2 have a quota and its period in one file', async () => {
    const root = tree(['cgroup.subtree_control', 'vireo/cgroup.subtree_control', 'vireo/u/cpu.max']);
    writeFileSync(join(root, 'cgroup.controllers'), 'cpu memory\n');
    const groups = new GuestGroups(root);
    await groups.limit(7, 'u', { 'cputune.global_quota': 50_000 });
    expect(readFileSync(join(root, 'vireo/u/cpu.max'), 'utf8')).toBe('50000 100000');
    expect(readFileSync(join(root, 'vireo/cgroup.subtree_control'), 'utf8')).toBe('+cpu');
    await expect(groups.limit(7, 'u', { 'blkiotune.weight': 100 })).rejects.toMatchObject({
      code: 'request.unsupported',
    });
  });

  it('of version 1 hold single threads below the guest, and go with it', async () => {
    const files = ['tasks', 'cpu.cfs_period_us', 'cpu.cfs_quota_us'];
    const root = tree([
      'cpu/cgroup.procs',
      ...['vcpu0', 'vcpu1', 'iothread1'].flatMap((name) =>
        files.map((file) => `cpu/vireo/u/${name}/${file}`),
      ),
    ]);
    const groups = new GuestGroups(root);
    const threads = {
      pid: 42,
      vcpus: [
        { index: 0, threadId: 43 },
        { index: 1, threadId: 44 },
      ],
      iothreads: [{ id: 1, threadId: 45 }],
    };
    await groups.limitThreads(threads, 'u', {
      vcpu: { periodUs: 50_000, quotaUs: 25_000 },
      iothread: { quotaUs: -1 },
    });
    const read = (path: string) => readFileSync(join(root, 'cpu/vireo/u', path), 'utf8');
    expect(read('vcpu1/tasks')).toBe('44');
    expect(read('vcpu0/cpu.cfs_period_us')).toBe('50000');
    expect(read('vcpu0/cpu.cfs_quota_us')).toBe('25000');
    expect(read('iothread1/tasks')).toBe('45');
    expect(read('iothread1/cpu.cfs_quota_us')).toBe('-1');
    expect(read('iothread1/cpu.cfs_period_us')).toBe('');
  });

  it('of version 2 are threaded for single threads, with the controller handed on after that', async () => {
    const root = tree([
      ...['', 'vireo/', 'vireo/u/'].map((path) => `${path}cgroup.subtree_control`),
      ...['cgroup.type', 'cgroup.threads', 'cpu.max'].map((file) => `vireo/u/vcpu0/${file}`),
    ]);
    writeFileSync(join(root, 'cgroup.controllers'), 'cpu\n');
    const threads = { pid: 42, vcpus: [{ index: 0, threadId: 43 }], iothreads: [] };
    await new GuestGroups(root).limitThreads(threads, 'u', { vcpu: { quotaUs: 20_000 } });
    const read = (path: string) => readFileSync(join(root, 'vireo/u', path), 'utf8');
    expect(read('vcpu0/cgroup.type')).toBe('threaded');
    expect(read('cgroup.subtree_control')).toBe('+cpu');
    expect(read('vcpu0/cgroup.threads')).toBe('43');
    expect(read('vcpu0/cpu.max')).toBe('20000 100000');
  });

  it('of version 2 are inside the scope of a guest, which is emptied first', async () => {
    const scope = 'machine.slice/machine-qemu\\x2d3\\x2dweb.scope';
    const root = tree([
      `${scope}/cgroup.subtree_control`,
      `${scope}/vireo/cgroup.subtree_control`,
      `${scope}/vireo/cpu.weight`,
      ...['cgroup.type', 'cgroup.threads', 'cpu.max'].map((file) => `${scope}/vireo/emulator/${file}`),
    ]);
    writeFileSync(join(root, 'cgroup.controllers'), 'cpu memory\n');
    writeFileSync(join(root, scope, 'cgroup.procs'), '42\n');
    const groups = new GuestGroups(root, () => Promise.resolve(`1:cpu:/x\n0::/${scope}\n`));
    await groups.limit(42, 'u', { 'cputune.shares': 200 });
    const read = (path: string) => readFileSync(join(root, scope, path), 'utf8');
    expect([read('vireo/cgroup.procs'), read('cgroup.subtree_control')]).toEqual(['42', '+cpu']);
    expect(read('vireo/cpu.weight')).toBe('200');
    expect(existsSync(join(root, 'vireo'))).toBe(false);
    const inside = new GuestGroups(root, () => Promise.resolve(`0::/${scope}/vireo\n`));
    writeFileSync(join(root, scope, 'vireo/cgroup.procs'), '');
    await inside.limitThreads({ pid: 42, vcpus: [], iothreads: [] }, 'u', { emulator: { quotaUs: 9000 } });
    expect(read('vireo/emulator/cpu.max')).toBe('9000 100000');
    expect(read('vireo/cgroup.procs')).toBe('');
  });

  it('know who is in them or below already', () => {
    const lines = '4:cpu,cpuacct:/vireo/u/vcpu0\n3:memory:/vireo/u2\n0::/vireo/u\n';
    expect(isInGroup(lines, 'cpu', '/vireo/u')).toBe(true);
    expect(isInGroup(lines, 'memory', '/vireo/u')).toBe(false);
    expect(isInGroup(lines, 'blkio', '/vireo/u')).toBe(false);
    expect(isInGroup(lines, '', '/vireo/u')).toBe(true);
    expect(isInGroup('', '', '/vireo/u')).toBe(false);
  });

  it('give back what is lifted', async () => {
    const root = tree(['memory/cgroup.procs', 'memory/vireo/u/memory.limit_in_bytes']);
    await new GuestGroups(root).limit(42, 'u', { 'memtune.hard_limit': LIFTED });
    expect(readFileSync(join(root, 'memory/vireo/u/memory.limit_in_bytes'), 'utf8')).toBe('-1');
  });

  it('take limits of devices by their numbers', () => {
    const limit = { path: '/dev/sda', weight: 200, readBytesSec: 1000, writeIopsSec: 0 };
    expect(deviceLines(limit, '8:0', false)).toEqual([
      { files: ['blkio.throttle.read_bps_device'], line: '8:0 1000' },
      { files: ['blkio.throttle.write_iops_device'], line: '8:0 0' },
      { files: ['blkio.weight_device', 'blkio.bfq.weight_device'], line: '8:0 200' },
    ]);
    expect(deviceLines(limit, '8:0', true)).toEqual([
      { files: ['io.max'], line: '8:0 rbps=1000 wiops=max' },
      { files: ['io.weight', 'io.bfq.weight'], line: '8:0 200' },
    ]);
  });

  it('limit block devices only', async () => {
    await expect(deviceNumber('/dev/null')).rejects.toMatchObject({ code: 'request.invalid' });
    await expect(deviceNumber('/dev/no-such-disk')).rejects.toMatchObject({ code: 'file.not-found' });
  });
});

it('images are told by their numbers; other nodes are none', () => {
  const nodes = [
    { 'node-name': 'libvirt-2-format', image: { 'virtual-size': 100, 'actual-size': 30 } },
    { 'node-name': 'libvirt-2-storage', write_threshold: 7 },
    { 'node-name': 'libvirt-1-format', image: { 'virtual-size': 100 } },
    { 'node-name': '#block7' },
    'nonsense',
  ];
  const statistics = [
    { 'node-name': 'libvirt-2-format', stats: { wr_highest_offset: 9 } },
    { 'node-name': 'libvirt-2-storage', stats: { wr_highest_offset: 77 } },
  ];
  expect(readImageCounters(nodes, statistics)).toEqual([
    { image: 2, allocationBytes: 9, capacityBytes: 100, physicalBytes: 30, thresholdBytes: 7 },
    { image: 1, allocationBytes: 0, capacityBytes: 100, physicalBytes: 100 },
  ]);
  expect(readImageCounters({}, null)).toEqual([]);
});
