/** No space, no right to write, no descriptors: a clear error, the old state stays and is served, and it passes. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { qemuProcesses, TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { collect, idleXml, leftovers } from './domains.ts';

const noSpace = { code: 'file.no-space' };

describeWith(
  ['root', 'qemu-system-x86_64', 'qemu-img', 'qemu-io', 'mount'],
  'a full or read-only disk',
  () => {
    let daemon: TestDaemon;
    let client: VireoClient;
    let mounts: string[];
    beforeEach(async () => {
      mounts = [];
      daemon = await TestDaemon.start();
      client = await daemon.connect();
      await client.call('domain.define', {
        xml: idleXml('web', { domain: '<title>first</title><features><acpi/></features>' }),
      });
    });
    afterEach(async () => {
      await daemon.end('SIGKILL');
      for (const pid of qemuProcesses(daemon.root)) process.kill(pid, 'SIGKILL');
      for (const path of mounts) execFileSync('umount', ['-l', path]);
      await daemon.remove();
    });

    /** Puts a file system of 64 KiB in the place of a directory, with the same files. */
    function mountTiny(path: string): void {
      const files = readdirSync(path, { withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map(({ name }) => [name, readFileSync(join(path, name))] as const);
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=0711', 'tmpfs', path]);
      mounts.push(path);
      for (const [name, bytes] of files) writeFileSync(join(path, name), bytes, { mode: 0o600 });
    }

    /** Writes until nothing more goes in. */
    function fill(path: string): void {
      const ballast = join(path, 'ballast');
      for (const size of [32768, 4096, 1])
        try {
          for (;;) writeFileSync(ballast, Buffer.alloc(size), { flag: 'a' });
        } catch {
          // no more of that size
        }
    }

    const at = (path: string) => join(daemon.root, path);

    it('keeps the old definition and its title, says no-space, leaves no litter, and goes on when space returns', async () => {
      const domains = at('etc/vireo/domains');
      mountTiny(domains);
      fill(domains);
      const before = readdirSync(domains).sort();
      const seen = await collect(client);
      const bigger = idleXml('web', {
        domain: `<title>second</title><description>${'x'.repeat(9000)}</description>`,
      });
      const calls = [
        () => client.call('domain.define', { xml: bigger }),
        () => client.call('domain.define', { xml: idleXml('fresh') }),
        () => client.call('domain.set-title', { domain: 'web', title: 'third' }),
        () => client.call('domain.set-autostart', { domain: 'web', autostart: true }),
        () => client.call('domain.rename', { domain: 'web', name: 'wob' }),
      ];
      for (const call of calls) await expect(call()).rejects.toMatchObject(noSpace);
      expect(readdirSync(domains).sort()).toEqual(before);
      expect(
        (await client.call('domain.list')).domains.map(({ name, title, autostart }) => [
          name,
          title,
          autostart,
        ]),
      ).toEqual([['web', 'first', false]]);
      expect(seen.filter(({ event }) => event.startsWith('domain.'))).toEqual([]);
      await client.call('domain.start', { domain: 'web', paused: true });
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      expect(await client.call('domain.get', { domain: 'web' })).toMatchObject({
        title: 'first',
        state: 'paused',
      });
      // A change that is meant for both is made to neither.
      const disk = at('extra.img');
      writeFileSync(disk, Buffer.alloc(1 << 20));
      const xml = `<disk type='file'><source file='${disk}'/><target dev='vdb' bus='virtio'/></disk>`;
      const attach = () => client.call('domain.attach-device', { domain: 'web', xml });
      const pin = () => client.call('domain.pin', { domain: 'web', target: { vcpu: 0 }, cpus: '0' });
      for (const call of [attach, pin]) await expect(call()).rejects.toMatchObject(noSpace);
      for (const inactive of [false, true]) {
        const shown = await client.call('domain.xml', { domain: 'web', inactive });
        expect(shown.xml).not.toMatch(/vdb|vcpupin/);
      }
      rmSync(join(domains, 'ballast'));
      await attach();
      for (const inactive of [false, true])
        expect((await client.call('domain.xml', { domain: 'web', inactive })).xml).toContain('vdb');
      await client.call('domain.set-title', { domain: 'web', title: 'third' });
      await client.call('domain.define', { xml: idleXml('fresh') });
      await client.call('domain.undefine', { domain: 'fresh' });
    });

    it.each([2, 3, 4, 5])('leaves nothing when the file system of guests takes %i files', async (files) => {
      const guests = at('run/vireo/g');
      // One of them is the root directory.
      execFileSync('mount', ['-t', 'tmpfs', '-o', `nr_inodes=${files},mode=0711`, 'tmpfs', guests]);
      mounts.push(guests);
      const channel = "<channel type='unix'><target type='virtio' name='c'/></channel>";
      await client.call('domain.define', { xml: idleXml('web', { devices: channel }) });
      await expect(client.call('domain.start', { domain: 'web' })).rejects.toMatchObject(noSpace);
      expect(leftovers(daemon.root)).toEqual([]);
      expect(qemuProcesses(daemon.root)).toEqual([]);
      execFileSync('mount', ['-o', 'remount,nr_inodes=100', guests]);
      await client.call('domain.start', { domain: 'web', paused: true });
    });

    it.each(['run/vireo/status', 'var/log/vireo/qemu'])(
      'starts nothing while %s is full, and everything when space is back',
      async (directory) => {
        mkdirSync(at(directory), { recursive: true });
        mountTiny(at(directory));
        fill(at(directory));
        await expect(client.call('domain.start', { domain: 'web' })).rejects.toMatchObject(noSpace);
        await expect(client.call('domain.create-xml', { xml: idleXml('once') })).rejects.toMatchObject(
          noSpace,
        );
        expect(qemuProcesses(daemon.root)).toEqual([]);
        expect(leftovers(daemon.root).filter((path) => !path.endsWith('ballast'))).toEqual([]);
        expect(await client.call('domain.get', { domain: 'web' })).toMatchObject({
          state: 'shutoff',
          reason: 'failed',
        });
        expect((await client.call('domain.list')).domains).toHaveLength(1);
        rmSync(join(at(directory), 'ballast'));
        await client.call('domain.start', { domain: 'web' });
        expect(qemuProcesses(daemon.root)).toHaveLength(1);
        await client.call('domain.destroy', { domain: 'web' });
      },
    );

    it('can still end a guest whose directories have become read-only, and undefine says why it can not', async () => {
      await client.call('domain.start', { domain: 'web' });
      for (const directory of ['etc/vireo/domains', 'run/vireo/status']) {
        execFileSync('mount', ['--bind', at(directory), at(directory)]);
        mounts.push(at(directory));
        execFileSync('mount', ['-o', 'remount,bind,ro', at(directory)]);
      }
      for (const call of [
        () => client.call('domain.undefine', { domain: 'web' }),
        () => client.call('domain.set-title', { domain: 'web', title: 'third' }),
      ])
        await expect(call()).rejects.toMatchObject({
          code: 'file.denied',
          message: expect.stringContaining('read-only'),
        });
      await client.call('domain.destroy', { domain: 'web' });
      expect(qemuProcesses(daemon.root)).toEqual([]);
      expect(await client.call('domain.get', { domain: 'web' })).toMatchObject({
        state: 'shutoff',
        title: 'first',
      });
      await expect(client.call('domain.start', { domain: 'web' })).rejects.toMatchObject({
        code: 'file.denied',
      });
      for (const path of mounts.splice(0)) execFileSync('umount', [path]);
      await client.call('domain.start', { domain: 'web', paused: true });
    });

    it('lets no disk grow whose image finds no room for its tables, and all is as it was', async () => {
      const images = at('images');
      mkdirSync(images);
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', images]);
      mounts.push(images);
      const [image, raw] = [join(images, 'vda.qcow2'), join(images, 'vdb.raw')];
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '64M']);
      execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -q -P 7 1M 64k', image]);
      execFileSync('truncate', ['-s', '1M', raw]);
      const disk = (path: string, type: string, dev: string) =>
        `<disk type='file'><driver name='qemu' type='${type}'/><source file='${path}'/><target dev='${dev}' bus='virtio'/></disk>`;
      const devices = disk(image, 'qcow2', 'vda') + disk(raw, 'raw', 'vdb');
      await client.call('domain.define', { xml: idleXml('web', { devices }) });
      await client.call('domain.start', { domain: 'web' });
      fill(images);
      const resize = (name: string, sizeBytes: number) =>
        client.call('domain.disk.resize', { domain: 'web', disk: name, sizeBytes });
      await expect(resize('vda', 2 ** 40)).rejects.toMatchObject(noSpace);
      // A raw file needs none: it grows by a hole.
      await resize('vdb', 2 << 20);
      expect(await client.call('domain.get', { domain: 'web' })).toMatchObject({
        state: 'running',
        job: null,
      });
      const sizeOf = async (name: string) =>
        (await client.call('domain.disk.info', { domain: 'web', disk: name })).capacityBytes;
      expect([await sizeOf('vda'), await sizeOf('vdb')]).toEqual([64 << 20, 2 << 20]);
      rmSync(join(images, 'ballast'));
      await resize('vda', 2 ** 40);
      await client.call('domain.destroy', { domain: 'web' });
      execFileSync('qemu-img', ['check', '-q', image]);
      const read = execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'read -P 7 1M 64k', image]).toString();
      expect(read).not.toContain('failed');
    });

    it('survives having no descriptor left, with an error that says so, and recovers', async () => {
      await client.call('domain.start', { domain: 'web', paused: true });
      await client.call('domain.destroy', { domain: 'web' });
      const { pid } = await client.call('daemon.info');
      const open = readdirSync(`/proc/${pid}/fd`).length;
      execFileSync('prlimit', ['--pid', String(pid), '--nofile=12:4096']);
      const failure = await client.call('domain.start', { domain: 'web' }).then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(failure).toMatchObject({
        code: 'file.failed',
        message: expect.stringMatching(/EMFILE|open files/),
      });
      await expect(client.call('domain.define', { xml: idleXml('fresh') })).rejects.toMatchObject({
        code: 'file.failed',
      });
      expect((await client.call('domain.list')).domains).toHaveLength(1);
      execFileSync('prlimit', ['--pid', String(pid), '--nofile=4096:4096']);
      expect(qemuProcesses(daemon.root)).toEqual([]);
      await client.call('domain.start', { domain: 'web', paused: true });
      expect(leftovers(daemon.root)).toHaveLength(2);
      expect(readdirSync(`/proc/${pid}/fd`).length).toBeLessThan(open + 15);
    });
  },
);
