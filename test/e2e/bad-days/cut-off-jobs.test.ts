/**
 * Saves, dumps, restores and jobs on images that are cut off in the middle: by a daemon or a QEMU that is killed, a QEMU
 * that a signal holds, a full disk, a program that hangs. What is left is the running guest or a whole file, and the truth.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { errnoOf } from '../../../src/base/errors.ts';
import { commandLine, eventually, qemuProcesses, TestDaemon } from '../../support/daemon.ts';
import { littleLinux, startScript } from '../../support/guest-image.ts';
import { describeWith } from '../../support/needs.ts';

/** The count lives in a shell variable: a guest that boots again begins at 1. */
const count = `#!/bin/busybox sh
(
  n=0
  boot=$(cat /proc/sys/kernel/random/boot_id | cut -c1-8)
  while :; do n=$((n+1)); echo "boot-$boot n=$n." >/dev/ttyS0; sleep 0.2; done
) &
`;

/** Commands of the monitor time out after 2 s, so that a QEMU that is held is told of soon. */
const configuration =
  '[qemu]\ncommand_timeout_seconds = 2\nstop_grace_seconds = 2\n[network]\ndefine_default = false\n';

async function startDaemon(): Promise<TestDaemon> {
  const root = mkdtempSync(join(tmpdir(), 'vireo-'));
  mkdirSync(join(root, 'etc/vireo'), { recursive: true, mode: 0o700 });
  writeFileSync(join(root, 'etc/vireo/vireod.toml'), configuration);
  return TestDaemon.start({ root });
}

/** The daemon's children that QEMU's bytes go through. */
function filters(daemon: TestDaemon, program: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => commandLine(pid)[0]?.endsWith(`/${program}`) && parentOf(pid) === daemon.child.pid);
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined; // gone
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error; // it has ended by itself
  }
}

/** How a call ends, looked at later. */
const outcome = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'done',
    (error: unknown) => error,
  );

const tools = ['root', 'busybox', 'qemu-system-x86_64', 'gzip', 'dd', 'mount'] as const;

describeWith(tools, 'memory on its way into a file, and back', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let held: number[] = [];
  const domain = 'counter';

  beforeAll(async () => {
    daemon = await startDaemon();
    client = await daemon.connect();
    const { kernel, initrd } = await littleLinux(join(daemon.root, 'linux'), [startScript(count)]);
    const xml = `<domain type='qemu'><name>${domain}</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
      <os><type machine='pc'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd>
        <cmdline>console=ttyS0 quiet no_timer_check</cmdline></os><features><acpi/></features>
      <devices><serial type='pty'><log file='${path('serial')}' append='on'/></serial></devices></domain>`;
    await client.call('domain.define', { xml });
    await client.call('domain.start', { domain });
    await eventually('a boot', () => counts().length > 2, 100_000);
  });
  afterEach(() => {
    for (const pid of held) signal(pid, 'SIGCONT');
    held = [];
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const path = (name: string) => join(daemon.root, name);
  const counts = () => {
    const said = existsSync(path('serial')) ? readFileSync(path('serial'), 'latin1') : '';
    return [...said.matchAll(/boot-(\w+) n=(\d+)\./g)].map(([, boot, n]) => ({ boot, n: Number(n) }));
  };
  const get = () => client.call('domain.get', { domain });
  const pid = async () => (await get()).pid ?? 0;
  /** Files that nobody asked for, or that are not whole. */
  const litter = () =>
    [daemon.root, path('var/lib/vireo/saves')].flatMap((directory) =>
      existsSync(directory) ? readdirSync(directory).filter((name) => name.endsWith('.vireo-tmp')) : [],
    );

  /** The guest goes on from where it was: the same boot, and each number once. */
  async function countsOn(): Promise<void> {
    const length = counts().length;
    await eventually('the guest to count on', () => counts().length > length + 1, 60_000);
    const all = counts();
    expect(new Set(all.map(({ boot }) => boot)).size).toBe(1);
    expect(new Set(all.map(({ n }) => n)).size).toBe(all.length);
    expect(await get()).toMatchObject({ state: 'running', job: null });
    expect(litter()).toEqual([]);
  }

  function hold(...pids: number[]): void {
    for (const one of pids) process.kill(one, 'SIGSTOP');
    held.push(...pids);
  }

  /** Stops the program that the bytes go through, so that QEMU is in the middle for as long as it takes. */
  async function inTheMiddle(program: 'gzip' | 'dd'): Promise<number> {
    let found: number[] = [];
    await eventually(`${program} at work`, () => {
      found = filters(daemon, program);
      return found.length > 0;
    });
    hold(...found);
    return found[0] ?? 0;
  }

  /** QEMU has stopped the guest, for a program that does not take its bytes. */
  const standingStill = () =>
    eventually('the guest to stand still', async () => (await get()).state === 'paused');

  const saving = async () => {
    const save = outcome(client.call('domain.save', { domain, path: path('state'), format: 'gzip' }));
    const filter = await inTheMiddle('gzip');
    await standingStill();
    return { call: save, filter };
  };
  const dumping = async () => {
    const dump = outcome(
      client.call('domain.dump', { domain, path: path('core'), format: 'elf', bypassCache: true }),
    );
    const filter = await inTheMiddle('dd');
    await standingStill();
    return { call: dump, filter };
  };

  it('a save whose packer hangs is called off at once, and the guest runs on', async () => {
    const { call: save } = await saving();
    const { jobs } = await client.call('job.list', {});
    const job = jobs.find((one) => one.job === 'save');
    await client.call('job.cancel', { id: job?.id ?? '' });
    expect(await save).toMatchObject({ code: 'operation.aborted' });
    await countsOn();
    expect(existsSync(path('state'))).toBe(false);
  });

  it('a QEMU that is held is told of, and the guest runs on when it goes on', async () => {
    const qemu = await pid();
    const begin = { save: saving, dump: dumping };
    for (const verb of ['save', 'dump'] as const) {
      const { filter, call } = await begin[verb]();
      hold(qemu);
      signal(filter, 'SIGCONT');
      expect(await call).toMatchObject({ code: 'qmp.timeout' });
      expect(await get()).toMatchObject({ state: 'paused', reason: verb === 'save' ? 'saving' : 'dumping' });
      signal(qemu, 'SIGCONT');
      await eventually('the guest to run', async () => (await get()).state === 'running');
      await countsOn();
    }
    expect([existsSync(path('state')), existsSync(path('core'))]).toEqual([false, false]);
  });

  it('a full disk is told of, and the guest runs on', async () => {
    const small = path('small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'small', small]);
    try {
      const file = { domain, path: join(small, 'file') };
      const full = { code: 'file.no-space' };
      await expect(client.call('domain.save', file)).rejects.toMatchObject(full);
      await expect(client.call('domain.dump', { ...file, format: 'elf' })).rejects.toMatchObject(full);
      await expect(client.call('domain.dump', { ...file, format: 'state' })).rejects.toMatchObject(full);
      expect(readdirSync(small)).toEqual([]);
    } finally {
      execFileSync('umount', ['-l', small]);
    }
    await countsOn();
  });

  it('a daemon that is killed in a dump or a save leaves a guest that the next has run on', async () => {
    const { filter } = await dumping();
    await restart();
    signal(filter, 'SIGCONT');
    await eventually('the guest to run', async () => (await get()).state === 'running');
    await countsOn();

    void outcome(client.call('domain.managed-save', { domain, format: 'gzip' }));
    const packer = await inTheMiddle('gzip');
    await standingStill();
    await restart();
    signal(packer, 'SIGCONT');
    await eventually('the guest to run', async () => (await get()).state === 'running');
    expect((await get()).saved).toBe(false);
    await countsOn();
  });

  async function restart(): Promise<void> {
    await client.close();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
  }

  it('a restore that is cut off leaves its file, from which the guest goes on', async () => {
    await client.call('domain.managed-save', { domain, format: 'gzip' });
    const loading = async () => {
      const call = outcome(client.call('domain.start', { domain }));
      const filter = await inTheMiddle('gzip');
      await eventually('QEMU to load', async () =>
        (await client.call('job.list', {})).jobs.some(({ step }) => step === 'loading the state'),
      );
      return { call, filter };
    };
    const { call: killed } = await loading();
    for (const qemu of qemuProcesses(daemon.root)) process.kill(qemu, 'SIGKILL');
    expect(await killed).toMatchObject({ code: 'domain.start-failed' });
    expect(await get()).toMatchObject({ state: 'shutoff', saved: true, job: null });

    const { call: stopped, filter } = await loading();
    hold(...qemuProcesses(daemon.root));
    signal(filter, 'SIGCONT');
    // By then it may have answered the command to load, or not.
    expect(await stopped).toMatchObject({
      code: 'domain.start-failed',
      message: expect.stringMatching(/stopped by a signal|did not answer/),
    });
    expect(await get()).toMatchObject({ state: 'shutoff', saved: true, job: null });

    const { filter: orphan } = await loading();
    await restart();
    signal(orphan, 'SIGCONT');
    await eventually('no QEMU', () => qemuProcesses(daemon.root).length === 0);
    expect(await get()).toMatchObject({ state: 'shutoff', saved: true });

    await client.call('domain.start', { domain });
    await countsOn();
    expect((await get()).saved).toBe(false);
  });

  it('a save whose QEMU is killed leaves no file, and a domain that has crashed', async () => {
    const { call: save } = await saving();
    process.kill(await pid(), 'SIGKILL');
    expect(await save).toMatchObject({ code: 'qmp.closed' });
    await eventually('its end', async () => (await get()).state === 'shutoff');
    expect(await get()).toMatchObject({ state: 'shutoff', reason: 'crashed', saved: false, job: null });
    expect([existsSync(path('state')), litter()]).toEqual([false, []]);
  });
});

/** Bytes a second, so few that a job is in the middle for as long as it takes. */
const SLOW = 64 << 10;
const kinds = ['pull', 'commit', 'active', 'copy'] as const;
type Kind = (typeof kinds)[number];
const isSwitching = (kind: Kind) => kind === 'active' || kind === 'copy';

describeWith(['root', 'qemu-system-x86_64', 'qemu-img', 'mount'], 'jobs on images', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let disks = '';
  let content = '';

  beforeAll(async () => {
    daemon = await startDaemon();
    client = await daemon.connect();
    disks = join(daemon.root, 'disks');
    mkdirSync(disks);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128m', 'disks', disks]);
    makeChain('pull');
    for (const kind of kinds.slice(1))
      for (const layer of layers) {
        execFileSync('cp', [image('pull', layer), image(kind, layer)]);
        if (layer !== 'base')
          execFileSync('qemu-img', [
            ...['rebase', '-u', '-f', 'qcow2', '-F', 'qcow2'],
            ...['-b', image(kind, layer === 'top' ? 'mid' : 'base'), image(kind, layer)],
          ]);
      }
    content = hashOf(image('pull', 'top'));
    for (const kind of kinds) {
      const xml = `<domain type='qemu'><name>${kind}</name><memory unit='MiB'>16</memory><os><type machine='pc'>hvm</type></os>
        <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${image(kind, 'top')}'/>
        <target dev='vda' bus='virtio'/></disk></devices></domain>`;
      await client.call('domain.define', { xml });
      await start(kind);
    }
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.end('SIGKILL');
    for (const pid of qemuProcesses(daemon.root)) signal(pid, 'SIGKILL');
    execFileSync('umount', ['-l', disks]);
    await daemon?.remove();
  });

  const layers = ['base', 'mid', 'top'] as const;
  const image = (kind: Kind, layer: string) => join(disks, `${kind}-${layer}`);

  function makeChain(kind: Kind): void {
    for (const [at, layer] of layers.entries()) {
      const below = at === 0 ? [] : ['-b', image(kind, layers[at - 1] ?? ''), '-F', 'qcow2'];
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...below, image(kind, layer), '16M']);
      execFileSync('qemu-io', ['-c', `write -q -P ${65 + at} ${at * 3}M 6M`, image(kind, layer)]);
    }
  }

  /** Of what a guest reads; the image is of one that does not run. */
  function hashOf(file: string): string {
    const raw = join(daemon.root, 'raw');
    execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', file, raw]);
    const hash = createHash('sha256').update(readFileSync(raw)).digest('hex');
    rmSync(raw);
    return hash;
  }

  // They run: under a guest that is paused QEMU 7.2 keeps its lock on the base of a merge that was called off.
  const start = (kind: Kind) => client.call('domain.start', { domain: kind });
  const onAll = <T>(work: (kind: Kind) => Promise<T>) => Promise.all(kinds.map(work));
  const pidOf = async (kind: Kind) => (await client.call('domain.get', { domain: kind })).pid ?? 0;
  const jobsOf = async (kind: Kind) => (await client.call('domain.disk.jobs', { domain: kind })).jobs;
  const sources = async (kind: Kind, inactive: boolean) => {
    const { xml } = await client.call('domain.xml', { domain: kind, inactive });
    return [...xml.matchAll(/<source file='([^']+)'/g)].map(([, file]) => file);
  };
  const whole = (kind: Kind) => layers.map((layer) => image(kind, layer)).toReversed();

  function begin(kind: Kind, bytesPerSecond: number, copy = 'copy'): Promise<unknown> {
    const disk = { domain: kind, disk: 'vda', bytesPerSecond };
    switch (kind) {
      case 'pull':
        return client.call('domain.disk.pull', disk);
      case 'commit':
        return client.call('domain.disk.commit', {
          ...{ ...disk, top: image(kind, 'mid'), base: image(kind, 'base') },
        });
      case 'active':
        return client.call('domain.disk.commit', disk);
      case 'copy':
        return client.call('domain.disk.copy', { ...disk, destination: { file: image(kind, copy) } });
    }
  }
  const untilReady = (kind: Kind) =>
    client.call('domain.disk.wait-job', { domain: kind, disk: 'vda', until: 'ready' });

  /** Each disk is on its own images, and says so; there is no job. */
  async function nothingHasChanged(): Promise<void> {
    await eventually('no jobs', async () => (await client.call('job.list', {})).jobs.length === 0);
    for (const kind of kinds) {
      expect(await jobsOf(kind)).toEqual([]);
      expect(await sources(kind, false)).toEqual(whole(kind));
      expect(await sources(kind, true)).toEqual([image(kind, 'top')]);
    }
  }

  it('without room fail clearly, and can be begun again', async () => {
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${join(disks, 'ballast')} bs=4k 2>/dev/null || true`]);
    await onAll(async (kind) => {
      const failed = outcome(begin(kind, 0).then(() => untilReady(kind)));
      expect(String(await failed)).toMatch(/no space left/i);
    });
    rmSync(join(disks, 'ballast'));
    await nothingHasChanged();
  });

  it('go with a QEMU that is killed: its images are as good as before', async () => {
    await onAll((kind) => begin(kind, SLOW, 'lost'));
    for (const kind of kinds) signal(await pidOf(kind), 'SIGKILL');
    await onAll((kind) =>
      eventually(
        'its end',
        async () => (await client.call('domain.get', { domain: kind })).state === 'shutoff',
      ),
    );
    for (const kind of kinds) {
      expect(await sources(kind, true)).toEqual([image(kind, 'top')]);
      expect(hashOf(image(kind, 'top'))).toBe(content);
    }
    await onAll(start);
    await nothingHasChanged();
  });

  it('of a QEMU that is held: calls say so in time, and it obeys when it goes on', async () => {
    // Copies that are ready end without an error when they are called off: that is no switch.
    await onAll(async (kind) => {
      await begin(kind, isSwitching(kind) ? 0 : SLOW, 'held');
      if (isSwitching(kind)) await untilReady(kind);
    });
    for (const kind of kinds) signal(await pidOf(kind), 'SIGSTOP');
    await onAll(async (kind) => {
      const cancel = client.call('domain.disk.end-job', { domain: kind, disk: 'vda' });
      expect(await outcome(cancel)).toMatchObject({ code: 'qmp.timeout' });
    });
    for (const kind of kinds) signal(await pidOf(kind), 'SIGCONT');
    await nothingHasChanged();
  });

  it('are found again by another daemon, and end as they should', async () => {
    await onAll((kind) => begin(kind, SLOW, 'other'));
    await client.close();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    await onAll(async (kind) => {
      expect(await jobsOf(kind)).toHaveLength(1);
      await client.call('domain.disk.set-job-speed', { domain: kind, disk: 'vda', bytesPerSecond: 0 });
      await untilReady(kind);
      if (isSwitching(kind))
        await client.call('domain.disk.end-job', { domain: kind, disk: 'vda', pivot: true });
    });
    const left: Readonly<Record<Kind, readonly string[]>> = {
      pull: ['top'],
      commit: ['top', 'base'],
      active: ['base'],
      copy: ['other'],
    };
    for (const kind of kinds) {
      const images = left[kind].map((layer) => image(kind, layer));
      await eventually(
        `the images of ${kind}`,
        async () => (await sources(kind, false)).join() === images.join(),
      );
      await client.call('domain.destroy', { domain: kind });
      const [top = ''] = images;
      expect(await sources(kind, true)).toEqual([top]);
      expect(hashOf(top)).toBe(content);
    }
    await eventually('no jobs', async () => (await client.call('job.list', {})).jobs.length === 0);
  });
});
