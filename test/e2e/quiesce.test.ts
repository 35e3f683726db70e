/**
 * Moments with frozen file systems, by the real agent in a guest with an ext4 that is written to all the time: the image is one
 * of a file system at rest, the guest writes again afterwards, whatever came of the moment and whoever died.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { file } from '../../scripts/guest-image/cpio.ts';
import type { VireoClient } from '../../src/api/client.ts';
import type { ParamsInput } from '../../src/api/index.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { agentCommand, agentFiles } from '../support/guest-agent.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

/** Tells what the agent is about to do; with a file `slow`, the next freeze takes its time. */
const hook = `#!/bin/busybox sh
echo "hook $1 ." >/dev/ttyS0
if [ "$1" = freeze ] && [ -e /slow ]; then rm /slow; sleep 2; fi
`;

/** Writes numbers, and tells each when it is on the disk. */
const script = `#!/bin/busybox sh
mkdir -p /data
mount -t ext4 /dev/vda /data
${agentCommand.replace(' -d\n', ' -F/etc/fsfreeze-hook -d')}
(
  n=0
  while :; do
    n=$((n + 1))
    echo $n >/data/number
    sync
    echo "wrote $n ." >/dev/ttyS0
    sleep 0.05
  done
) &
`;

const programs = ['busybox', 'qemu-system-x86_64', 'qemu-img', 'qemu-ga', 'ldd', 'mkfs.ext4', 'dumpe2fs'];

describeWith(['root', ...programs, 'debugfs', 'e2fsck'], 'moments with frozen file systems', () => {
  const name = 'still';
  let daemon: TestDaemon;
  let client: VireoClient;
  const at = (path: string) => join(daemon.root, path);
  const log = () => readFileSync(at('serial.log'), 'latin1');
  const numbers = () => [...log().matchAll(/wrote (\d+) \./g)].map(([, number]) => Number(number));
  const told = (text: string) => log().split(text).length - 1;
  const inside = (text: string) =>
    client.call('domain.guest.exec', { domain: name, path: 'sh', args: ['-c', text] });
  let count = 0;
  const snapshot = (more: Omit<ParamsInput<'snapshot.create'>, 'domain'> = {}) =>
    client.call('snapshot.create', {
      domain: name,
      name: `s${++count}`,
      diskOnly: true,
      metadata: false,
      ...more,
    });
  const writesAgain = async () => {
    const before = numbers().length;
    await eventually('the guest writes again', () => numbers().length > before + 1);
  };
  const isFrozen = () => readFileSync(statusFile(), 'utf8').includes('"isFrozen":true');
  const statusFile = () => {
    const [status = ''] = readdirSync(at('run/vireo/status')).filter((one) => one.endsWith('.json'));
    return at(`run/vireo/status/${status}`);
  };

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    execFileSync('truncate', ['-s', '16M', at('raw')]);
    execFileSync('mkfs.ext4', ['-q', at('raw')]);
    execFileSync('qemu-img', ['convert', '-O', 'qcow2', at('raw'), at('base.qcow2')]);
    const hooks = [file('etc/fsfreeze-hook', hook, 0o755)];
    const { kernel, initrd } = await littleLinux(
      at('linux'),
      [...agentFiles(), ...hooks, startScript(script)],
      { hasExt4: true },
    );
    const xml = `<domain type='qemu'><name>${name}</name><memory unit='MiB'>192</memory>
      <os><type machine='pc'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd>
        <cmdline>console=ttyS0 quiet no_timer_check</cmdline></os><features><acpi/></features><devices>
      <disk type='file'><driver name='qemu' type='qcow2'/><source file='${at('base.qcow2')}'/>
        <target dev='vda' bus='virtio'/></disk>
      <serial type='pty'><log file='${at('serial.log')}' append='on'/></serial>
      <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>`;
    client = await daemon.connect();
    await client.call('domain.define', { xml });
    await client.call('domain.start', { domain: name });
    const awake = { domain: name, until: 'agent', timeoutMs: 240_000 } as const;
    await client.call('domain.wait', awake, { timeoutMs: 245_000 });
    await eventually('the guest writes', () => numbers().length > 1);
  }, 300_000);
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  /** The image that the guest writes to now. */
  const top = async () =>
    /<source file='([^']+)'/.exec((await client.call('domain.xml', { domain: name })).xml)?.[1] ?? '';
  /** What an image tells of its file system: whether its journal has to be played back, and the last number in it. */
  const seenIn = (image: string) => {
    const raw = at('seen.raw');
    execFileSync('qemu-img', ['convert', '-U', '-O', 'raw', image, raw]);
    const run = (program: string, ...args: string[]) =>
      execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    const features = /^Filesystem features:(.*)$/m.exec(run('dumpe2fs', '-h', raw))?.[1] ?? '';
    const needsRecovery = features.includes('needs_recovery');
    if (!needsRecovery) run('e2fsck', '-fn', raw);
    const number = Number(run('debugfs', '-R', 'cat /number', raw));
    rmSync(raw);
    return { needsRecovery, number };
  };

  it('a snapshot holds a file system at rest, with all that was written; one without it does not', async () => {
    const base = await top();
    const before = numbers().at(-1) ?? 0;
    await snapshot({ quiesce: true });
    const after = numbers().at(-1) ?? 0;
    await writesAgain();
    expect([told('hook freeze .'), told('hook thaw .')]).toEqual([1, 1]);
    const quiet = seenIn(base);
    expect(quiet.needsRecovery).toBe(false);
    expect(quiet.number).toBeGreaterThanOrEqual(before);
    expect(quiet.number).toBeLessThanOrEqual(after + 1);
    const second = await top();
    await snapshot();
    expect(seenIn(second).needsRecovery).toBe(true);
    expect(told('hook freeze .')).toBe(1);
  });

  it('a backup too', async () => {
    const { path, guest } = await client.call('backup.create', {
      ...{ domain: name, directory: at('store'), quiesce: true },
    });
    expect(guest).toBe('frozen');
    expect(seenIn(join(path, 'vda.qcow2')).needsRecovery).toBe(false);
    await writesAgain();
    expect(isFrozen()).toBe(false);
  });

  it('that fail let the guest write again, and leave nothing', async () => {
    const base = await top();
    mkdirSync(at('broken'));
    const overlay = at('broken/overlay.qcow2');
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', overlay]);
    // Its table of clusters does not begin with a cluster (QEMU, docs/interop/qcow2: l1_table_offset): QEMU alone looks.
    const bytes = readFileSync(overlay);
    bytes.writeBigUInt64BE(bytes.readBigUInt64BE(40) + 1n, 40);
    writeFileSync(overlay, bytes);
    const freezes = told('hook freeze .');
    const disks = [{ target: 'vda', location: 'external', path: overlay }] as const;
    await expect(snapshot({ quiesce: true, reuse: true, disks: [...disks] })).rejects.toMatchObject({
      reason: expect.stringMatching(/L1/) as string,
    });
    expect(told('hook freeze .')).toBe(freezes + 1);
    await writesAgain();
    expect(told('hook thaw .')).toBe(told('hook freeze .'));
    expect(await top()).toBe(base);
  });

  it('let the guest write again when the daemon is killed while it freezes', async () => {
    const [base, freezes, thaws] = [await top(), told('hook freeze .'), told('hook thaw .')];
    await inside('touch /slow');
    const cutOff = snapshot({ quiesce: true }).catch((error: unknown) => error);
    await eventually('the freeze', () => told('hook freeze .') > freezes);
    expect(isFrozen()).toBe(true);
    daemon = await daemon.crashAndRestart();
    await cutOff;
    client = await daemon.connect();
    await eventually('the thaw', () => told('hook thaw .') > thaws, 60_000);
    await writesAgain();
    await eventually('nothing noted any more', () => !isFrozen());
    expect(await top()).toBe(base);
  });

  it('are refused by an agent that says nothing, and nothing is frozen', async () => {
    const freezes = told('hook freeze .');
    const hold =
      '(sleep 2; kill -STOP $(pidof qemu-ga); echo "agent stopped ." >/dev/ttyS0) >/dev/null 2>&1 &';
    // It may be stopped before it has told how that command went.
    await inside(hold).catch(() => undefined);
    await eventually('the agent stops', () => told('agent stopped .') === 1);
    await expect(snapshot({ quiesce: true })).rejects.toMatchObject({
      code: 'agent.unresponsive',
      hint: expect.stringMatching(/qemu-guest-agent runs inside the guest/) as string,
    });
    await writesAgain();
    expect(told('hook freeze .')).toBe(freezes);
    expect(isFrozen()).toBe(false);
  });
});
