/**
 * Returns and deletions of snapshots that are broken off: between two disks, by a QEMU that answers nothing or dies, by a full
 * disk, with the daemon dying too. Afterwards all disks are of one time, or become so by themselves.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, qemuProcesses, TestDaemon, withoutDefaultNetwork } from '../support/daemon.ts';
import { bootSector, writeImage } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

describeWith(
  ['root', 'qemu-system-x86_64', 'qemu-img', 'qemu-io', 'mount'],
  'snapshot work that is cut off',
  () => {
    const name = 'cut';
    let daemon: TestDaemon;
    let client: VireoClient;
    let uuid: string;
    /** The second disk's directory, which can be filled. */
    let small: string;
    let isMounted = false;
    let disks: [string, string];

    beforeAll(async () => {
      const root = mkdtempSync(join(tmpdir(), 'vireo-'));
      withoutDefaultNetwork(root);
      appendFileSync(join(root, 'etc/vireo/vireod.toml'), '\n[qemu]\ncommand_timeout_seconds = 2\n');
      daemon = await TestDaemon.start({ root });
      client = await daemon.connect();
      small = join(root, 'small');
      mkdirSync(small);
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=0755', 'vireo-test', small]);
      isMounted = true;
      disks = [join(root, 'one.qcow2'), join(small, 'two.qcow2')];
      writeImage(join(root, 'raw'), bootSector.writes);
      execFileSync('qemu-img', ['convert', '-O', 'qcow2', join(root, 'raw'), disks[0]]);
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', disks[1], '1M']);
      execFileSync('qemu-img', ['resize', '-q', '-f', 'qcow2', disks[0], '1M']);
      const disk = (path: string, target: string) => `<disk type='file'><driver name='qemu' type='qcow2'/>
      <source file='${path}'/><target dev='${target}' bus='ide'/></disk>`;
      const xml = `<domain type='qemu'><name>${name}</name><memory unit='MiB'>32</memory>
      <os><type machine='pc'>hvm</type></os>
      <devices>${disk(disks[0], 'hda')}${disk(disks[1], 'hdb')}<serial type='null'/></devices></domain>`;
      await client.call('domain.define', { xml });
      ({ uuid } = await client.call('domain.get', { domain: name }));
    });
    afterAll(async () => {
      await client?.close();
      await daemon?.end('SIGKILL');
      for (const pid of daemon === undefined ? [] : qemuProcesses(daemon.root)) process.kill(pid, 'SIGKILL');
      if (isMounted) execFileSync('umount', ['-l', small]);
      await daemon?.remove();
    });

    const qemuIo = (...args: string[]) => execFileSync('qemu-io', args, { encoding: 'utf8' });
    /** Writes that number to both disks, which nobody has open. */
    const mark = (number: number, images: readonly string[] = disks) => {
      for (const path of images) qemuIo('-f', 'qcow2', '-c', `write -q -P ${number} 64k 64k`, path);
    };
    /** The numbers on both disks. */
    const marks = (images: readonly string[] = disks) =>
      images.map((path) =>
        Number.parseInt(
          /^\w+: {2}(\w\w)/m.exec(qemuIo('-r', '-U', '-f', 'qcow2', '-c', 'read -v 64k 16', path))?.[1] ?? '',
          16,
        ),
      );
    const tags = (path: string) =>
      (
        JSON.parse(execFileSync('qemu-img', ['info', '-U', '--output=json', path], { encoding: 'utf8' })) as {
          snapshots?: { name: string }[];
        }
      ).snapshots?.map((one) => one.name) ?? [];
    /** Somebody else has the image open for writing: whoever wants it is told so. */
    async function hold(path: string): Promise<AsyncDisposable> {
      const child: ChildProcess = spawn('qemu-io', ['-f', 'qcow2', path], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      const gone = once(child, 'exit');
      child.stdin?.write('length\n');
      if (child.stdout) await once(child.stdout, 'data');
      return {
        async [Symbol.asyncDispose]() {
          child.kill('SIGKILL');
          await gone;
        },
      };
    }
    const state = async () => (await client.call('domain.get', { domain: name })).state;
    const pending = () =>
      (
        JSON.parse(
          readFileSync(join(daemon.root, 'var/lib/vireo/snapshots', uuid, 'state.json'), 'utf8'),
        ) as {
          pending?: unknown;
        }
      ).pending;
    const settled = () => eventually('it is at its end', () => pending() === undefined, 60_000);
    const create = (snapshot: string, diskOnly = false) =>
      client.call('snapshot.create', { domain: name, name: snapshot, diskOnly });
    const revert = (snapshot: string) => client.call('snapshot.revert', { domain: name, snapshot });
    const remove = (snapshot: string) => client.call('snapshot.delete', { domain: name, snapshot });
    const restart = async () => {
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
    };

    it('a return that ends between two disks is finished by itself, and no guest runs before', async () => {
      mark(1);
      await create('a');
      mark(2);
      const locked = await hold(disks[1]);
      await expect(revert('a')).rejects.toMatchObject({
        hint: expect.stringContaining('tried again') as string,
      });
      expect(marks()).toEqual([1, 2]);
      const refused = {
        code: 'domain.state',
        reason: expect.stringContaining("'a' is not at its end") as string,
      };
      await expect(client.call('domain.start', { domain: name })).rejects.toMatchObject(refused);
      await restart();
      await expect(client.call('domain.start', { domain: name })).rejects.toMatchObject(refused);
      await locked[Symbol.asyncDispose]();
      await settled();
      expect(marks()).toEqual([1, 1]);
      expect((await client.call('snapshot.list', { domain: name })).current).toBe('a');
      await client.call('domain.start', { domain: name });
      await client.call('domain.destroy', { domain: name });
    });

    it('a deletion that ends between two disks can be done again; nobody returns to half of it', async () => {
      mark(2);
      await create('b');
      {
        await using _locked = await hold(disks[1]);
        await expect(remove('b')).rejects.toThrow();
      }
      expect(disks.map(tags)).toEqual([['a'], ['a', 'b']]);
      await expect(revert('b')).rejects.toMatchObject({ code: 'file.not-found' });
      expect(marks()).toEqual([2, 2]);
      await remove('b');
      expect(disks.map(tags)).toEqual([['a'], ['a']]);
      await remove('a');
    });

    it('a merge that ends between two disks leaves all that was written, and can be done again', async () => {
      await create('c', true);
      const tops = disks.map((path) => path.replace('.qcow2', '.c'));
      mark(3, tops);
      {
        await using _locked = await hold(disks[1]);
        await expect(remove('c')).rejects.toThrow();
      }
      await restart();
      await remove('c').catch((error: unknown) =>
        expect(error).toMatchObject({ code: 'snapshot.not-found' }),
      );
      expect(marks()).toEqual([3, 3]);
      const { xml } = await client.call('domain.xml', { domain: name });
      for (const path of disks) expect(xml).toContain(`<source file='${path}'/>`);
    });

    it('a snapshot that does not fit is in no image; a full disk keeps nobody from deleting', async () => {
      await create('d');
      const filler = join(small, 'filler');
      execFileSync('sh', ['-c', `dd if=/dev/zero of=${filler} bs=4k 2>/dev/null || true`]);
      try {
        await expect(create('e')).rejects.toMatchObject({ code: 'file.no-space' });
        expect(disks.map(tags)).toEqual([['d'], ['d']]);
        expect(marks()).toEqual([3, 3]);
        await remove('d');
      } finally {
        rmSync(filler);
      }
      expect(disks.map(tags)).toEqual([[], []]);
      for (const path of disks) execFileSync('qemu-img', ['check', '-q', '-r', 'leaks', path]);
    });

    it('a QEMU that answers nothing is not returned, told in time, and goes on', async () => {
      await client.call('domain.start', { domain: name });
      await create('m');
      const [pid = 0] = qemuProcesses(daemon.root);
      process.kill(pid, 'SIGSTOP');
      try {
        await expect(revert('m')).rejects.toMatchObject({ code: 'qmp.timeout' });
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await eventually('it runs on', async () => (await state()) === 'running');
      expect(pending()).toBeUndefined();
      await revert('m');
      expect(qemuProcesses(daemon.root)).toEqual([pid]);
      await client.call('domain.destroy', { domain: name });
    });

    it('a QEMU that dies while it loads leaves disks of one time, and a domain that starts', async () => {
      mark(4);
      const returned = revert('m').then(
        () => true,
        () => false,
      );
      await eventually('QEMU is there', () => qemuProcesses(daemon.root).length > 0);
      for (const pid of qemuProcesses(daemon.root)) process.kill(pid, 'SIGKILL');
      await returned;
      await eventually('it is off', async () => (await state()) === 'shutoff');
      await settled();
      const [one, two] = marks();
      expect(one).toBe(two);
      expect([3, 4]).toContain(one);
      await client.call('domain.start', { domain: name });
    });

    it('a return while the daemon dies ends with a guest that runs', async () => {
      const returned = revert('m').catch((error: unknown) => error);
      await eventually('it has begun, or is over', async () => {
        if (pending() !== undefined) return true;
        const { current } = await client.call('snapshot.list', { domain: name });
        return current === 'm';
      });
      await restart();
      await returned;
      await settled();
      await eventually('it runs', async () => (await state()) === 'running');
      await client.call('domain.destroy', { domain: name });
      const [one, two] = marks();
      expect(one).toBe(two);
    });
  },
);
