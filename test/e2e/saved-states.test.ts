/**
 * Guests that are saved and go on: a little Linux counts in its memory and on its disk, and says so on its serial line.
 * After a restore it must count on from where it was.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

/** The count lives in a shell variable: a guest that boots begins at 1. The disk gets it too. */
const count = `#!/bin/busybox sh
(
  n=0
  boot=$(cat /proc/sys/kernel/random/boot_id | cut -c1-8)
  while :; do
    n=$((n+1))
    echo "boot-$boot n=$n." >/dev/ttyS0
    echo "count $n." | dd of=/dev/vda bs=512 conv=sync,notrunc 2>/dev/null
    sleep 0.2
  done
) &
`;

describeWith(['root', 'busybox', 'qemu-system-x86_64', 'virsh', 'zstd', 'xz'], 'saved states', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let serial = '';

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    const { kernel, initrd } = await littleLinux(join(daemon.root, 'linux'), [startScript(count)]);
    serial = join(daemon.root, 'serial');
    writeFileSync(join(daemon.root, 'disk.img'), Buffer.alloc(1 << 20));
    const xml = `<domain type='qemu'><name>counter</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
      <os><type machine='q35'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd>
        <cmdline>console=ttyS0 quiet no_timer_check</cmdline></os><features><acpi/><apic/></features>
      <devices>${"<controller type='pci' model='pcie-root-port'/>".repeat(6)}
        <disk type='file'><driver name='qemu' type='raw'/><source file='${join(daemon.root, 'disk.img')}'/><target dev='vda' bus='virtio'/></disk>
        <interface type='user'><model type='virtio'/></interface>
        <serial type='pty'><log file='${serial}' append='on'/></serial>
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
        <graphics type='vnc' port='-1' autoport='yes' passwd='geheim'/><video><model type='virtio'/></video>
      </devices></domain>`;
    await client.call('domain.define', { xml });
    await client.call('domain.start', { domain: 'counter' });
    await eventually(`a boot: ${said()}`, () => counts().length > 2, 100_000);
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const path = (name: string) => join(daemon.root, name);
  const said = () => (existsSync(serial) ? readFileSync(serial, 'latin1') : '');
  const counts = () =>
    [...said().matchAll(/boot-(\w+) n=(\d+)\./g)].map(([, boot, n]) => ({ boot, n: Number(n) }));
  const virsh = (...args: string[]) => {
    const uri = `qemu:///system?socket=${path('run/libvirt/libvirt-sock')}`;
    return execFileSync('virsh', ['-c', uri, ...args], { encoding: 'utf8', stdio: 'pipe' }).trim();
  };
  const state = async () => {
    const { state, reason, saved } = await client.call('domain.get', { domain: 'counter' });
    return { state, reason, saved };
  };
  /** What the guest has written to its disk last. */
  const onDisk = () => {
    const fd = openSync(path('disk.img'), 'r');
    const bytes = Buffer.alloc(32);
    readSync(fd, bytes, 0, 32, 0);
    closeSync(fd);
    return Number(/count (\d+)\./.exec(bytes.toString('latin1'))?.[1]);
  };
  /** The guest counts on, in the same boot, and its disk with it. */
  async function countsOn(work: () => Promise<unknown>): Promise<void> {
    const before = counts().at(-1);
    await work();
    await eventually('the guest to count on', () => (counts().at(-1)?.n ?? 0) > (before?.n ?? 0) + 2);
    const after = counts();
    expect(after.at(-1)?.boot).toBe(before?.boot);
    const numbers = after.filter(({ boot }) => boot === before?.boot).map(({ n }) => n);
    expect(new Set(numbers).size).toBe(numbers.length);
    await eventually('its disk', () => onDisk() > (before?.n ?? 0));
  }
  const leftovers = () => readdirSync(daemon.root).filter((name) => name.endsWith('.vireo-tmp'));

  it.each(['raw', 'zstd'] as const)('go on from a file that is %s', async (format) => {
    const file = path(`state.${format}`);
    await countsOn(async () => {
      const saved = await client.call('domain.save', { domain: 'counter', path: file, format });
      expect(saved).toMatchObject({ state: 'shutoff', reason: 'saved', active: false });
      expect(qemuProcesses(daemon.root)).toEqual([]);
      const image = await client.call('save-image.get', { path: file });
      expect(image).toMatchObject({ name: 'counter', state: 'running', format });
      expect(image.xml).not.toContain('geheim');
      const restored = await client.call('domain.restore', { path: file });
      expect(restored).toMatchObject({ state: 'running', reason: 'restored', persistent: true });
    });
    expect(leftovers()).toEqual([]);
    expect((await client.call('domain.xml', { domain: 'counter', secure: true })).xml).toContain('geheim');
  });

  it('go on from a sparse file, or are told that this QEMU is too old for it', async () => {
    const request = { domain: 'counter', path: path('sparse'), format: 'sparse', channels: 2 } as const;
    await countsOn(async () => {
      const refused = await client.call('domain.save', request).then(() => undefined, String);
      // QEMU 9.0 brought it; an older one says so, and its guest never stood still.
      if (refused !== undefined) return expect(refused).toContain('QEMU 9.0');
      await client.call('domain.restore', { path: path('sparse'), channels: 3 });
    });
    expect(leftovers()).toEqual([]);
  });

  it('bypass the page cache on both ways', async () => {
    await countsOn(async () => {
      await client.call('domain.save', { domain: 'counter', path: path('direct'), bypassCache: true });
      await client.call('domain.restore', { path: path('direct'), bypassCache: true });
    });
  });

  it('are kept by the daemon, and the next start goes on from there, once', async () => {
    const seen: string[] = [];
    const events = await client.subscribe({ events: ['domain.stopped', 'job.ended'] });
    const listen = async () => {
      for await (const event of events) {
        if (event.event === 'domain.stopped') seen.push(`stopped ${event.reason}`);
        if (event.event === 'job.ended' && event.job === 'save')
          seen.push(`save ${event.error === null ? 'whole' : event.error.code}`);
      }
    };
    const heard = listen().catch(() => undefined); // the connection is closed below
    await countsOn(async () => {
      await client.call('domain.managed-save', { domain: 'counter' });
      expect(await state()).toEqual({ state: 'shutoff', reason: 'saved', saved: true });
      expect(virsh('list', '--with-managed-save', '--all', '--name')).toBe('counter');
      await expect(client.call('domain.undefine', { domain: 'counter' })).rejects.toMatchObject({
        code: 'saved-state.exists',
      });
      await expect(client.call('domain.rename', { domain: 'counter', name: 'x' })).rejects.toThrow(/saved/);
      await eventually('events', () => seen.length === 2);
      await client.close();
      await heard;
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      await client.call('domain.start', { domain: 'counter' });
    });
    expect(seen.toSorted()).toEqual(['save whole', 'stopped saved']);
    expect(await state()).toMatchObject({ state: 'running', saved: false });
    expect(readdirSync(path('var/lib/vireo/saves'))).toEqual([]);
  });

  it('may leave the guest paused, and have another definition where the guest does not see it', async () => {
    const file = path('edited');
    await countsOn(async () => {
      await client.call('domain.save', { domain: 'counter', path: file, state: 'paused' });
      const { xml } = await client.call('save-image.get', { path: file, secure: true });
      await client.call('save-image.edit', { path: file, xml: xml.replace('geheim', 'anders') });
      const other = xml.replace("<vcpu placement='static'>1<", "<vcpu placement='static'>2<");
      await expect(client.call('save-image.edit', { path: file, xml: other })).rejects.toThrow(/vcpu/);
      const { state } = await client.call('domain.restore', { path: file });
      expect(state).toBe('paused');
      const live = await client.call('domain.xml', { domain: 'counter', secure: true });
      expect(live.xml).toContain('anders');
      await client.call('domain.resume', { domain: 'counter' });
    });
  });

  it("are virsh's, too", async () => {
    await countsOn(async () => {
      expect(virsh('save', 'counter', path('virsh'), '--paused')).toContain('saved to');
      expect(virsh('save-image-dumpxml', path('virsh'))).toContain('<name>counter</name>');
      virsh('restore', path('virsh'), '--running');
      virsh('managedsave', 'counter');
      expect(virsh('dominfo', 'counter')).toMatch(/Managed save:\s+yes/);
      expect(virsh('managedsave-dumpxml', 'counter')).toContain('<name>counter</name>');
      expect(virsh('domjobinfo', 'counter', '--completed')).toMatch(/Operation:\s+Save/);
      virsh('start', 'counter');
    });
    expect(virsh('list', '--with-managed-save', '--all', '--name')).toBe('');
  });

  it('are called off, and the guest runs on', async () => {
    await countsOn(async () => {
      // xz is slow enough to be caught at it.
      const saving = client.call('domain.save', { domain: 'counter', path: path('never'), format: 'xz' });
      const settled = expect(saving).rejects.toMatchObject({ code: 'operation.aborted' });
      await eventually('the save', async () => {
        const { jobs } = await client.call('job.list', {});
        const job = jobs.find((one) => one.job === 'save' && one.step === 'writing memory');
        if (job) await client.call('job.cancel', { id: job.id });
        return job !== undefined;
      });
      await settled;
    });
    expect(await state()).toMatchObject({ state: 'running', reason: 'save canceled' });
    expect(existsSync(path('never'))).toBe(false);
    expect(leftovers()).toEqual([]);
  });

  it('are called off by a daemon that finds them cut off', async () => {
    await countsOn(async () => {
      client
        .call('domain.save', { domain: 'counter', path: path('cut'), format: 'xz' })
        .catch(() => undefined);
      await eventually('the save', () => leftovers().length === 1);
      await eventually('the guest to stand still', async () => (await state()).state === 'paused');
      await client.close();
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      await eventually('the guest to run', async () => (await state()).state === 'running');
    });
    expect(existsSync(path('cut'))).toBe(false);
    expect(leftovers()).toEqual([]);
  });

  it('leave the guest running where the file cannot be written', async () => {
    await countsOn(async () => {
      await expect(
        client.call('domain.save', { domain: 'counter', path: path('none/there') }),
      ).rejects.toMatchObject({ code: 'file.not-found' });
      await expect(
        client.call('domain.save', { domain: 'counter', path: '/dev/null' }),
      ).rejects.toMatchObject({
        code: 'file.exists',
      });
    });
  });

  it('are given up by a forced boot', async () => {
    const before = counts().at(-1);
    await client.call('domain.managed-save', { domain: 'counter' });
    await client.call('domain.start', { domain: 'counter', forceBoot: true });
    await eventually('another boot', () => counts().at(-1)?.boot !== before?.boot, 100_000);
    expect(await state()).toMatchObject({ state: 'running', reason: 'booted', saved: false });
  });

  it('do not load from what is none', async () => {
    writeFileSync(path('junk'), Buffer.alloc(200, 'x'));
    await expect(client.call('domain.restore', { path: path('junk') })).rejects.toMatchObject({
      code: 'saved-state.invalid',
    });
  });

  it('as dumps show the memory of the guest', async () => {
    const marks: Record<string, string> = { elf: '\x7fELF', 'kdump-zlib': 'makedump', state: 'QEVM' };
    await countsOn(async () => {
      for (const [format, mark] of Object.entries(marks)) {
        const file = path(`dump.${format}`);
        const dumped = await client.call('domain.dump', {
          domain: 'counter',
          path: file,
          format: format as 'elf',
        });
        expect(dumped.state).toBe('running');
        const head = readFileSync(file).subarray(0, 8).toString('latin1');
        expect(head.startsWith(mark), head).toBe(true);
      }
      // A guest that is not Windows has told QEMU nothing that such a dump needs: it goes on without one.
      const windows = { domain: 'counter', path: path('dump.windows'), format: 'win-dmp' } as const;
      await expect(client.call('domain.dump', windows)).rejects.toThrow(/win-du?mp/);
      expect(existsSync(windows.path)).toBe(false);
      virsh('dump', 'counter', path('dump.virsh'), '--memory-only', '--format', 'kdump-zlib');
      expect(readFileSync(path('dump.virsh')).subarray(0, 12).toString()).toBe('makedumpfile');
    });
  });
});
