/**
 * Saves, dumps and restores that are cut off in the middle: by a daemon or a QEMU that is killed, a QEMU that a signal holds, a
 * full disk, a program that hangs. What is left is the running guest or a whole file, and the truth.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { commandLine, eventually, qemuProcesses, type TestDaemon } from '../../support/daemon.ts';
import { littleLinux, startScript } from '../../support/guest-image.ts';
import { describeWith } from '../../support/needs.ts';
import { outcome, signal, startImpatient } from './impatient.ts';

/** The count lives in a shell variable: a guest that boots again begins at 1. */
const count = `#!/bin/busybox sh
(
  n=0
  boot=$(cat /proc/sys/kernel/random/boot_id | cut -c1-8)
  while :; do n=$((n+1)); echo "boot-$boot n=$n." >/dev/ttyS0; sleep 0.2; done
) &
`;

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

const tools = ['root', 'busybox', 'qemu-system-x86_64', 'gzip', 'dd', 'mount'] as const;

describeWith(tools, 'memory on its way into a file, and back', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let held: number[] = [];
  const domain = 'counter';

  beforeAll(async () => {
    daemon = await startImpatient();
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

  it('a restore whose daemon dies when the state is loaded is not done again: the guest goes on', async () => {
    await client.call('domain.managed-save', { domain });
    const { uuid } = await get();
    const kept = path(`var/lib/vireo/saves/${uuid}.save`);
    linkSync(kept, path('kept'));
    await client.call('domain.start', { domain, paused: true });
    // As it stands between the notes of a start and its guest's first step.
    await client.close();
    await daemon.end('SIGKILL');
    linkSync(path('kept'), kept);
    changeRecord(uuid, { loaded: { runs: true, isKept: true } });
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    await countsOn();
    expect(await get()).toMatchObject({ state: 'running', reason: 'restored', saved: false });
    expect(existsSync(kept)).toBe(false);
  });

  it('a save whose QEMU is killed leaves no file, and a domain that has crashed', async () => {
    const { call: save } = await saving();
    process.kill(await pid(), 'SIGKILL');
    expect(await save).toMatchObject({ code: 'qmp.closed' });
    await eventually('its end', async () => (await get()).state === 'shutoff');
    expect(await get()).toMatchObject({ state: 'shutoff', reason: 'crashed', saved: false, job: null });
    expect([existsSync(path('state')), litter()]).toEqual([false, []]);
  });

  it('a dump whose QEMU is killed leaves no file', async () => {
    await client.call('domain.start', { domain, paused: true });
    const { call: dump } = await dumping();
    process.kill(await pid(), 'SIGKILL');
    expect(await dump).toMatchObject({ code: 'qmp.closed' });
    await eventually('its end', async () => (await get()).state === 'shutoff');
    expect(await get()).toMatchObject({ reason: 'crashed', job: null });
    expect([existsSync(path('core')), litter()]).toEqual([false, []]);
  });

  it('a guest that was saved, and whose daemon died before it could say so, is saved', async () => {
    const { uuid } = await get();
    await client.call('domain.start', { domain, paused: true });
    await client.close();
    await daemon.end('SIGKILL');
    writeFileSync(path('whole'), 'a state');
    const saving = {
      ...{ temporary: path('whole.vireo-tmp'), path: path('whole'), wasRunning: true },
      inode: statSync(path('whole')).ino,
    };
    changeRecord(uuid, { saving });
    for (const qemu of qemuProcesses(daemon.root)) process.kill(qemu, 'SIGKILL');
    await eventually('no QEMU', () => qemuProcesses(daemon.root).length === 0);
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    expect(await get()).toMatchObject({ state: 'shutoff', reason: 'saved' });
  });

  /** Something else stands in the notes of the daemon, which does not run. */
  function changeRecord(uuid: string, change: object): void {
    const file = path(`run/vireo/status/${uuid}.json`);
    const status = JSON.parse(readFileSync(file, 'utf8')) as { record: object };
    writeFileSync(file, JSON.stringify({ ...status, record: { ...status.record, ...change } }));
  }
});
