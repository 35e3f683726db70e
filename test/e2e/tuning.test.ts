/**
 * Memory, CPUs, disks' limits, statistics and the guest agent, with a real guest that notices: through JSON-RPC, the
 * command line and an unmodified virsh.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, project, TestDaemon, withoutDefaultNetwork } from '../support/daemon.ts';
import { agentCommand, agentFiles } from '../support/guest-agent.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;

describeWith(['root', 'qemu-system-x86_64', 'virsh', 'busybox', 'qemu-ga', 'ldd'], 'a running guest', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let directory: string;
  let uri: string;
  const call: VireoClient['call'] = (...args) => client.call(...args);
  const virsh = async (...args: string[]) => {
    const options = { timeout: 30_000, env: { ...process.env, LC_ALL: 'C' } };
    const { stdout, stderr } = await run('virsh', ['-c', uri, ...args], options).catch(
      (error: unknown) => error as { stdout: string; stderr: string },
    );
    return (stdout + stderr).trim();
  };
  const vireo = (...args: string[]) =>
    run(join(project, 'bin/vireo'), ['--root', daemon.root, ...args], { timeout: 30_000 }).then(
      ({ stdout }) => stdout,
    );
  /** What a shell inside the guest prints. */
  const inside = async (script: string) => {
    // On a busy host the guest may take longer than its agent has for an answer.
    await call('domain.wait', { domain: 'g', until: 'agent', timeoutMs: 60_000 }, { timeoutMs: 65_000 });
    const { stdoutBase64 } = await call('domain.guest.exec', {
      domain: 'g',
      path: 'sh',
      args: ['-c', script],
    });
    return Buffer.from(stdoutBase64, 'base64').toString('utf8').trim();
  };

  /** Older ones crash, without KVM, after a CPU was taken away. */
  const refusedUntilQemu10 = async () => {
    const { stdout } = await run('qemu-system-x86_64', ['--version']);
    if (Number(/version (\d+)/.exec(stdout)?.[1]) >= 10) return;
    expect(await virsh('setvcpu', 'g', '2', '--disable', '--live')).toMatch(/keeps using a CPU that is gone/);
  };

  beforeAll(async () => {
    const root = mkdtempSync(join(tmpdir(), 'vireo-tune-'));
    directory = mkdtempSync(join(tmpdir(), 'vireo-tunex-'));
    withoutDefaultNetwork(root);
    daemon = await TestDaemon.start({ root });
    client = await daemon.connect();
    uri = `qemu:///system?socket=${root}/run/libvirt/libvirt-sock`;
    const { kernel, initrd } = await littleLinux(directory, [
      ...agentFiles(),
      startScript(`#!/bin/sh\n${agentCommand}`),
    ]);
    const image = join(directory, 'disk.raw');
    writeFileSync(image, '');
    truncateSync(image, 64 * MIB);
    // QEMU's own APIC (up to 8.1) leaves CPUs behind a gap out unless the guest, as with more than eight, names each.
    await call('domain.define', {
      xml: `<domain type='qemu'><name>g</name><memory unit='MiB'>256</memory><vcpu current='1'>9</vcpu>
      <iothreads>1</iothreads><cputune><vcpupin vcpu='0' cpuset='0'/></cputune>
      <os><type machine='pc'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd>
      <cmdline>console=ttyS0 quiet no_timer_check</cmdline></os><features><acpi/></features><devices>
      <disk type='file'><driver name='qemu' type='raw'/><source file='${image}'/><target dev='vda' bus='virtio'/></disk>
      <interface type='user'><model type='virtio'/></interface><serial type='pty'/>
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
      <memballoon model='virtio'><stats period='1'/></memballoon></devices></domain>`,
    });
    const channels = await client.subscribe({ events: ['domain.agent'] });
    await call('domain.start', { domain: 'g' });
    await call('domain.wait', { domain: 'g', until: 'agent', timeoutMs: 240_000 }, { timeoutMs: 245_000 });
    expect((await channels.next()).value).toMatchObject({ event: 'domain.agent', connected: true });
    await channels.close();
  }, 300_000);
  afterAll(async () => {
    // Killed from outside it would leave its control groups behind.
    await client?.call('domain.destroy', { domain: 'g' }).catch(() => undefined);
    await client?.close();
    await daemon?.remove();
    rmSync(directory, { recursive: true, force: true });
  });

  it('gives memory back and takes it again', async () => {
    const total = async () => Number(/MemTotal: +(\d+)/.exec(await inside('cat /proc/meminfo'))?.[1]);
    const before = await total();
    const events = await client.subscribe({ events: ['domain.balloon-changed'] });
    await call('domain.set-memory', { domain: 'g', memoryBytes: 160 * MIB, live: true });
    for await (const event of events)
      if (event.event === 'domain.balloon-changed' && event.memoryBytes === 160 * MIB) break;
    expect(before - (await total())).toBeGreaterThan(90 * 1024);
    expect(await virsh('dominfo', 'g')).toMatch(/Used memory: +163840 KiB/);
    await eventually('the guest tells its memory', async () =>
      /actual 163840[^]*unused \d+[^]*rss \d+/.test(await virsh('dommemstat', 'g')),
    );
    expect(await virsh('setmem', 'g', '900M')).toMatch(/cannot set memory higher than max memory/);
    expect(await virsh('setmaxmem', 'g', '512M', '--live')).toMatch(
      /cannot resize the maximum memory on an active domain/,
    );
    expect(await virsh('setmaxmem', 'g', '512M', '--config')).toBe('');
    expect(await virsh('dumpxml', 'g', '--inactive')).toMatch(/<memory unit='KiB'>524288</);
    expect(await vireo('domain', 'set-memory', 'g', '256MiB', '--live')).toBe(
      "Domain 'g' may use 256 MiB.\n",
    );
    await eventually('it has its memory again', async () => (await total()) === before);
  });

  it('goes to sleep and wakes up, and says so', async () => {
    const events = await client.subscribe({ events: ['domain.sleeping', 'domain.woke-up'] });
    expect(await virsh('dompmsuspend', 'g', 'mem')).toMatch(/successfully suspended/);
    await call('domain.wait', { domain: 'g', until: 'pmsuspended', timeoutMs: 20_000 });
    expect(await virsh('domstate', 'g')).toBe('pmsuspended');
    expect(await vireo('domain', 'guest', 'wake-up', 'g')).toBe("Domain 'g' wakes up.\n");
    const seen: string[] = [];
    for await (const event of events) if (seen.push(event.event) === 2) break;
    expect(seen).toEqual(['domain.sleeping', 'domain.woke-up']);
    await call('domain.wait', { domain: 'g', until: 'agent', timeoutMs: 30_000 }, { timeoutMs: 35_000 });
    expect(await inside('echo awake')).toBe('awake');
  });

  it('gives its network card another address, and says so', async () => {
    const before = (await inside('cat /sys/class/net/eth0/address')).trim();
    const events = await client.subscribe({ events: ['domain.mac-changed'] });
    const change = (mac: string) =>
      inside(
        `ip link set eth0 address ${mac} || { ip link set eth0 down; ip link set eth0 address ${mac}; ip link set eth0 up; }`,
      );
    await change('52:54:00:0a:0b:0c');
    expect((await events.next()).value).toMatchObject({
      alias: 'net0',
      previousMac: before,
      mac: '52:54:00:0a:0b:0c',
    });
    await change(before);
    expect((await events.next()).value).toMatchObject({ previousMac: '52:54:00:0a:0b:0c', mac: before });
    await events.close();
  });

  it('gets a CPU behind a gap, and has it there in its definition, when it is saved, and at a start', async () => {
    // Linux counts its CPUs as they come; which they are, their APIC ids say.
    const present = (ids: string) =>
      eventually(
        `the guest has CPUs ${ids}`,
        async () => {
          // A guest on a busy host may be silent for a while, and take a CPU online at the second time only.
          const found = await inside(
            "for c in /sys/devices/system/cpu/cpu[1-9]*; do echo 1 >$c/online; done 2>/dev/null; echo $(sed -n 's/^apicid.*: //p' /proc/cpuinfo)",
          ).catch(() => '');
          return found === ids;
        },
        120_000,
      );
    expect(await virsh('setvcpu', 'g', '2', '--enable', '--live')).toBe('');
    await present('0 2');
    const gap =
      /<vcpu id='0' enabled='yes' hotpluggable='no' order='1'\/>\s*<vcpu id='1' enabled='no' hotpluggable='yes'\/>\s*<vcpu id='2' enabled='yes' hotpluggable='yes' order='2'\/>/;
    expect(await virsh('dumpxml', 'g')).toMatch(gap);
    expect(await virsh('vcpucount', 'g', '--live', '--active')).toBe('2');
    expect(await virsh('vcpuinfo', 'g')).toMatch(/VCPU: +0\n[^]*VCPU: +2\n/);
    expect(await virsh('domstats', 'g', '--vcpu')).toMatch(/current=2\n[^]*vcpu.0.time[^]*vcpu.2.time/);
    expect(await virsh('vcpupin', 'g', '2', '0', '--live')).toBe('');
    const { threads } = await call('domain.threads', { domain: 'g' });
    expect(threads.slice(0, 2)).toMatchObject([{ target: { vcpu: 0 } }, { target: { vcpu: 2 }, cpus: '0' }]);
    for (const [cpu, way, why] of [
      ['0', '--disable', /vCPU '0' can't be modified/],
      ['2', '--enable', /already in requested state/],
      ['9', '--enable', /is not one of the 9/],
    ] as const)
      expect(await virsh('setvcpu', 'g', cpu, way, '--live')).toMatch(why);
    await refusedUntilQemu10();
    expect(await virsh('managedsave', 'g')).toMatch(/saved/);
    expect(await virsh('start', 'g')).toMatch(/started/);
    await present('0 2');
    expect(await virsh('dumpxml', 'g')).toMatch(gap);
    // As the stored definition has it: only what is hotpluggable may be behind a gap.
    expect(await virsh('setvcpus', 'g', '2', '--config')).toBe('');
    expect(await virsh('setvcpu', 'g', '2', '--enable', '--config')).toBe('');
    expect(await virsh('setvcpus', 'g', '4', '--config')).toBe('');
    expect(await virsh('setvcpu', 'g', '1', '--disable', '--config')).toBe('');
    const stored = await virsh('dumpxml', 'g', '--inactive');
    expect(stored).toMatch(/current='3'>9<[^]*id='1' enabled='no' hotpluggable='yes'\/>/);
    expect(await vireo('domain', 'set-vcpu', 'g', '1', '--enable', '--stored')).toBe(
      "CPU 1 of 'g' is enabled.\n",
    );
  }, 300_000);

  it('gets CPUs plugged in, which it can use', async () => {
    await call('domain.set-vcpus', { domain: 'g', count: 3 });
    // The guest hears of a new one by an interrupt, and takes its time.
    await eventually('three processors', async () => {
      await inside('for c in /sys/devices/system/cpu/cpu[1-9]*; do echo 1 >$c/online; done 2>/dev/null');
      return (await inside('nproc')) === '3';
    });
    expect(await virsh('vcpucount', 'g')).toMatch(/current +config +3\ncurrent +live +3/);
    expect(await virsh('setvcpus', 'g', '10', '--live')).toMatch(/greater than max allowable vcpus/);
    expect(await virsh('setvcpus', 'g', '2', '--guest')).toBe('');
    expect(await inside('nproc')).toBe('2');
    expect(await virsh('vcpucount', 'g', '--guest')).toBe('2');
    expect(await virsh('guestvcpus', 'g')).toMatch(/vcpus +: 0-2\nonline +: 0-1\nofflinable +: 1-2/);
  });

  it('runs where its pins say, from the start and when they change', async () => {
    const { threads } = await call('domain.threads', { domain: 'g' });
    const allowed = (id: number | null | undefined) =>
      /Cpus_allowed_list:\s*(\S+)/.exec(readFileSync(`/proc/${id}/status`, 'utf8'))?.[1];
    const [first, second] = threads;
    expect(first).toMatchObject({ target: { vcpu: 0 }, cpus: '0' });
    expect(allowed(first?.threadId)).toBe('0');
    expect(await virsh('vcpupin', 'g', '1', '0', '--live')).toBe('');
    expect(allowed(second?.threadId)).toBe('0');
    expect(await virsh('vcpupin', 'g')).toMatch(/0 +0\n 1 +0/);
    expect(await virsh('emulatorpin', 'g', '0', '--config')).toBe('');
    expect(await virsh('dumpxml', 'g', '--inactive')).toContain("<emulatorpin cpuset='0'/>");
    expect(await virsh('iothreadadd', 'g', '2', '--live')).toBe('');
    expect(await virsh('iothreadinfo', 'g')).toMatch(/\n 1 +\S+\n 2 +\S+/);
    expect(await virsh('iothreaddel', 'g', '2', '--live')).toBe('');
  });

  it('has disks that grow, are limited, and tell when they are written', async () => {
    expect(await virsh('blockresize', 'g', 'vda', '100M')).toBe("Block device 'vda' is resized");
    expect(await inside('cat /sys/block/vda/size')).toBe(String((100 * MIB) / 512));
    expect(await virsh('domblkinfo', 'g', 'vda')).toMatch(/Capacity: +104857600/);
    const events = await client.subscribe({ events: ['domain.block-threshold', 'domain.tunable'] });
    expect(await virsh('domblkthreshold', 'g', 'vda', String(MIB))).toBe('');
    expect(await virsh('blkdeviotune', 'g', 'vda', '--write-bytes-sec', String(2 * MIB))).toBe('');
    const seconds = Number(
      await inside(
        's=$(date +%s); dd if=/dev/zero of=/dev/vda bs=1M count=12 conv=fsync 2>/dev/null; echo $(($(date +%s)-s))',
      ),
    );
    expect(seconds).toBeGreaterThanOrEqual(3);
    const seen = new Map<string, object>();
    for await (const event of events) {
      seen.set(event.event, event);
      if (seen.size === 2) break;
    }
    expect(seen.get('domain.block-threshold')).toMatchObject({
      ...{ device: 'vda', image: expect.any(Number), topmost: true, thresholdBytes: MIB },
    });
    expect(seen.get('domain.tunable')).toMatchObject({ parameters: { 'blkdeviotune.disk': 'vda' } });
    const { limits } = await call('domain.disk.info', { domain: 'g', disk: 'vda' });
    expect(limits).toEqual({ writeBytesSec: 2 * MIB });
    expect(await vireo('domain', 'disk', 'limit', 'g', 'vda', '--write-bytes', '0')).toBe(
      'The limits of vda are set.\n',
    );
    expect((await call('domain.disk.info', { domain: 'g', disk: 'vda' })).limits).toEqual({});
    expect(await virsh('domblkerror', 'g')).toBe('No errors found');
    expect(await virsh('domblkstat', 'g', 'vda')).toMatch(/vda wr_bytes 1\d{7}/);
  });

  it('is measured in all groups, and a QEMU that hangs costs two seconds', async () => {
    const stats = await virsh('domstats', 'g');
    for (const line of [
      'state.state=1',
      'cpu.time=',
      'balloon.unused=',
      'vcpu.0.delay=',
      'net.count=1',
      'block.0.capacity=104857600',
      'iothread.1.poll-max-ns=',
      'dirtyrate.calc_status=0',
    ])
      expect(stats).toContain(line);
    const { pid } = await call('domain.get', { domain: 'g' });
    const times: number[] = [];
    const timed = async () => {
      const start = performance.now();
      const { samples } = await call('domain.stats', {});
      times.push(performance.now() - start);
      return samples[0];
    };
    process.kill(pid ?? 0, 'SIGSTOP');
    try {
      expect(await timed()).toMatchObject({
        silence: 'no answer within 2000 ms',
        disks: [{ counters: null }],
      });
      expect((await timed())?.cpu?.totalNs).toBeGreaterThan(0);
    } finally {
      process.kill(pid ?? 0, 'SIGCONT');
    }
    // The first waits for QEMU, two seconds; the second no more. The rest is what a busy machine may add.
    expect(times[0]).toBeLessThan(8000);
    expect(times[1]).toBeLessThan(2000);
    await eventually('it answers again', async () => (await timed())?.silence === null);
  });

  it('has events counted that this host counts, and others refused by name', async () => {
    const events = async () => (await call('domain.perf', { domain: 'g' })).events;
    const found = async (name: string) => (await events()).find((event) => event.name === name);
    const clock = await found('task_clock');
    if (clock?.problem !== null)
      return expect(await virsh('perf', 'g', '--enable', 'task_clock')).toMatch(/task_clock.*not supported/);
    expect(await virsh('perf', 'g', '--enable', 'task_clock,context_switches')).toMatch(
      /task_clock +: enabled/,
    );
    await eventually('a count', async () => Number((await found('task_clock'))?.count) > 0);
    expect(await virsh('domstats', 'g', '--perf')).toMatch(/perf\.task_clock=\d+/);
    expect(await virsh('dumpxml', 'g')).toContain("<event name='task_clock' enabled='yes'/>");
    expect(await virsh('perf', 'g', '--enable', 'cmt')).toMatch(/'cmt' is not counted/);
    for (const { name } of (await events()).filter(({ problem }) => problem !== null).slice(0, 4))
      await expect(call('domain.set-perf', { domain: 'g', events: { [name]: true } })).rejects.toThrow(name);
    expect(await vireo('domain', 'perf', 'g', '--disable', 'task_clock,context_switches')).toMatch(/are set/);
    expect(await virsh('domstats', 'g', '--perf')).not.toContain('perf.');
  });

  it('is asked how fast it writes to its memory', async () => {
    expect(await vireo('domain', 'dirty-rate', 'g')).toMatch(/'g' writes to \d+ MiB/);
    expect(await virsh('domstats', 'g', '--dirtyrate')).toMatch(/calc_status=2[^]*megabytes_per_second=\d+/);
    const byBitmap = call('domain.dirty-rate.start', { domain: 'g', mode: 'dirty-bitmap' });
    await expect(byBitmap).rejects.toMatchObject({
      code: 'request.unsupported',
      reason: expect.stringMatching(/KVM/),
    });
    expect(await virsh('domdirtyrate-calc', 'g', '--mode', 'dirty-ring')).toMatch(/needs KVM/);
  });

  it('is followed by a stream of samples', async () => {
    const { stream } = await client.upgrade('domain.stats-stream', {
      domains: ['g'],
      groups: ['cpu', 'block'],
      intervalMs: 100,
      count: 3,
    });
    let text = '';
    for await (const chunk of stream) text += String(chunk);
    const lines = text.trim().split('\n');
    expect(lines).toHaveLength(3);
    for (const line of lines)
      expect(JSON.parse(line)).toMatchObject({ samples: [{ domain: { name: 'g' }, memory: null }] });
    const shown = await vireo('domain', 'stats', 'g');
    expect(shown).toMatch(/^NAME +STATE +CPU +VCPUS +MEMORY[^]*\ng +running +\d+ %/);
  });

  it('tells of itself, runs programs, and takes files, while another job holds it', async () => {
    const info = await call('domain.guest.info', { domain: 'g' });
    expect(info).toMatchObject({
      hostname: 'welcome',
      timezone: { name: 'UTC', offsetSeconds: 0 },
      disks: [{ name: '/dev/vda', place: { target: 'vda' } }],
    });
    expect(await vireo('domain', 'exec', 'g', '--', 'echo', 'a b', 'c')).toBe('a b c\n');
    await expect(vireo('domain', 'exec', 'g', '--', 'sh', '-c', 'echo no >&2; exit 7')).rejects.toMatchObject(
      {
        code: 7,
        stderr: 'no\n',
      },
    );
    const late = call('domain.guest.exec', { domain: 'g', path: 'sleep', args: ['5'], timeoutMs: 300 });
    await expect(late).rejects.toMatchObject({ code: 'operation.timeout' });
    const bytes = Buffer.alloc(700_000, 'x7');
    await call('domain.guest.write-file', { domain: 'g', path: '/tmp/f', base64: bytes.toString('base64') });
    const read = await call('domain.guest.read-file', { domain: 'g', path: '/tmp/f' });
    expect(Buffer.from(read.base64, 'base64').equals(bytes)).toBe(true);
    const big = call('domain.guest.read-file', { domain: 'g', path: '/tmp/f', maxBytes: 1000 });
    await expect(big).rejects.toMatchObject({ code: 'request.too-large' });
    await expect(call('domain.guest.read-file', { domain: 'g', path: '/none' })).rejects.toMatchObject({
      code: 'operation.failed',
    });
    const slow = inside('sleep 2; echo done');
    expect((await call('domain.job', { domain: 'g' })).job).toBeNull();
    await call('domain.set-title', { domain: 'g', title: 'while the guest is asked' });
    expect(await slow).toBe('done');
  });

  it("answers virsh's questions to its agent", async () => {
    expect(await virsh('guestinfo', 'g')).toMatch(/hostname +: welcome[^]*disk\.0\.alias +: vda/);
    expect(await virsh('domhostname', 'g')).toBe('welcome');
    expect(await virsh('domtime', 'g')).toMatch(/^Time: \d{10}$/);
    expect(await virsh('domfsfreeze', 'g')).toBe('Froze 0 filesystem(s)');
    expect(await virsh('domfsthaw', 'g')).toBe('Thawed 0 filesystem(s)');
    expect(await virsh('domifaddr', 'g', '--source', 'agent')).toMatch(
      /eth0 +52:54:\S+ +ipv4 +10\.0\.2\.15\/24/,
    );
    expect(await virsh('qemu-agent-command', 'g', '{"execute":"guest-ping"}')).toBe('{"return":{}}');
    expect(await virsh('qemu-agent-command', 'g', '{"execute":"guest-no"}')).toMatch(
      /guest-no has not been found/,
    );
  });
});
