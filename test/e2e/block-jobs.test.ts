/** Jobs on images under a guest that writes all the time: nothing is lost, whichever door, and whoever dies in between. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, project, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { WritingGuest } from '../support/writing-guest.ts';

describeWith(
  ['root', 'busybox', 'qemu-system-x86_64', 'qemu-img', 'virsh', 'losetup'],
  'jobs on images',
  () => {
    let daemon: TestDaemon;
    let client: VireoClient;

    beforeAll(async () => {
      daemon = await TestDaemon.start();
      client = await daemon.connect();
    });
    afterAll(async () => {
      await client?.close();
      await daemon?.remove();
    });

    const virsh = (...args: string[]) => {
      const uri = `qemu:///system?socket=${join(daemon.root, 'run/libvirt/libvirt-sock')}`;
      return execFileSync('virsh', ['-c', uri, ...args], { encoding: 'utf8', stdio: 'pipe' }).trim();
    };
    const sources = async (name: string, inactive = false) => {
      const { xml } = await client.call('domain.xml', { domain: name, inactive });
      return [...xml.matchAll(/<source file='([^']+)'/g)].map(([, path]) => path);
    };
    const nodes = async (name: string) => {
      const command = { domain: name, command: 'query-named-block-nodes', arguments: { flat: true } };
      const found = (await client.call('domain.monitor-command', command)).return as {
        'node-name': string;
      }[];
      return found.map((node) => node['node-name']).sort();
    };
    const guests: WritingGuest[] = [];
    const guest = (name: string) => {
      const made = new WritingGuest(client, daemon.root, name);
      guests.push(made);
      return made;
    };
    const vireo = (...args: string[]) =>
      execFileSync(join(project, 'bin/vireo'), ['--root', daemon.root, ...args], {
        encoding: 'utf8',
        stdio: 'pipe',
      });
    const end = (name: string) => client.call('domain.destroy', { domain: name });

    it('pull, merge and copy through virsh, and the guest goes on', async () => {
      const vm = guest('virsh');
      const [base = '', mid = '', low = '', top = ''] = vm.makeChain(4);
      await vm.start(top);
      const name = 'virsh';
      expect(await sources(name)).toEqual([top, low, mid, base]);

      const statistics = virsh('domstats', name, '--block', '--backing');
      expect(statistics).toContain('block.count=4');
      for (const [at, path] of [top, low, mid, base].entries()) {
        expect(statistics).toContain(`block.${at}.path=${path}\n`);
        expect(statistics).toContain(`block.${at}.backingIndex=${at + 1}\n`);
      }
      expect(virsh('domstats', name, '--block')).toContain('block.count=1');

      // An image in the middle, into the one below it.
      expect(virsh('blockcommit', name, 'vda', '--top', low, '--base', mid, '--wait', '--verbose')).toMatch(
        /Commit complete/,
      );
      expect(await sources(name)).toEqual([top, mid, base]);
      expect(execFileSync('qemu-img', ['info', '-U', top], { encoding: 'utf8' })).toContain(mid);
      await vm.expectGood();

      expect(virsh('blockpull', name, 'vda', '--base', base, '--wait', '--verbose')).toMatch(/Pull complete/);
      expect(await sources(name)).toEqual([top, base]);
      await vm.expectGood();

      // The topmost one.
      expect(virsh('blockcommit', name, 'vda', '--active', '--wait', '--verbose', '--pivot')).toMatch(
        /Successfully pivoted/,
      );
      expect(await sources(name)).toEqual([base]);
      expect(await sources(name, true)).toEqual([base]);
      await vm.expectGood();

      const copy = vm.path('copy.qcow2');
      const how = ['--granularity', '65536', '--buf-size', '1048576', '--synchronous-writes'];
      virsh('blkdeviotune', name, 'vda', '--total-iops-sec', '5000');
      expect(
        virsh('blockcopy', name, 'vda', copy, '--transient-job', ...how, '--wait', '--verbose', '--pivot'),
      ).toMatch(/Successfully pivoted/);
      expect(virsh('blkdeviotune', name, 'vda')).toMatch(/^total_iops_sec *: 5000$/m);
      expect(await sources(name)).toEqual([copy]);
      expect(await sources(name, true)).toEqual([copy]);
      await vm.expectGood();
      expect(await nodes(name)).toHaveLength(2);
      expect(virsh('blockjob', name, 'vda')).toBe(`No current block job for vda`);

      await end(name);
      vm.expectWhole(copy);
      // What is stored starts.
      await client.call('domain.start', { domain: name });
      await vm.expectGood();
      await end(name);
    }, 180_000);

    async function restart(): Promise<void> {
      await client.close();
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      for (const vm of guests) vm.use(client);
    }

    it('survive a daemon that is killed, and go on or end without one', async () => {
      const name = 'orphan';
      const vm = guest(name);
      const [base = '', , top = ''] = vm.makeChain(3);
      await vm.start(top);
      const copy = vm.path('copy.qcow2');
      await client.call('domain.disk.copy', {
        ...{ domain: name, disk: 'vda', destination: { file: copy } },
        bytesPerSecond: 1 << 20,
      });
      await restart();
      const [job] = (await client.call('domain.disk.jobs', { domain: name })).jobs;
      expect(job).toMatchObject({ disk: 'vda', kind: 'copy', ready: false, destination: copy });
      expect((await client.call('job.list', {})).jobs.map((one) => one.job)).toContain('block copy');
      const told: string[] = [];
      const stream = await client.subscribe({ events: ['domain.block-job'] });
      const listening = (async () => {
        for await (const event of stream)
          if (event.event === 'domain.block-job') told.push(`${event.job} ${event.status} ${event.path}`);
      })();
      await client.call('domain.disk.set-job-speed', { domain: name, disk: 'vda', bytesPerSecond: 0 });
      await client.call('domain.disk.wait-job', { domain: name, disk: 'vda', until: 'ready' });
      expect((await client.call('domain.xml', { domain: name })).xml).toMatch(/<mirror .*ready='yes'/);
      vireo('domain', 'disk', 'pivot', name, 'vda');
      await eventually('the events', () => told.length === 2);
      expect(told).toEqual([`copy ready ${top}`, `copy completed ${copy}`]);
      await stream.close();
      await listening;
      await vm.expectGood();
      expect(await nodes(name)).toHaveLength(2);

      // Another that ends while no daemon is there.
      await end(name);
      vm.expectWhole(copy);
      await vm.start(top);
      await client.call('domain.disk.pull', { domain: name, disk: 'vda', base, bytesPerSecond: 8 << 20 });
      await client.close();
      await daemon.end('SIGKILL');
      await new Promise((done) => setTimeout(done, 3500));
      daemon = await TestDaemon.start({ root: daemon.root });
      client = await daemon.connect();
      for (const one of guests) one.use(client);
      await eventually('a shorter chain', async () => (await sources(name)).join() === `${top},${base}`);
      await eventually('no nodes left over', async () => (await nodes(name)).length === 4);
      await vm.expectGood();
      await end(name);
    }, 180_000);

    it('switch a disk without losing a write when the daemon is killed right then', async () => {
      const name = 'switch';
      const vm = guest(name);
      const [top = ''] = vm.makeChain(1);
      await vm.start(top);
      for (const delayMs of [1, 6, 12]) {
        const copy = vm.path(`copy-${delayMs}.qcow2`);
        vireo('domain', 'disk', 'copy', name, 'vda', copy, '--wait');
        const ending = client.call('domain.disk.end-job', { domain: name, disk: 'vda', pivot: true });
        ending.catch(() => undefined);
        await new Promise((done) => setTimeout(done, delayMs));
        await restart();
        // Whatever was done of it: the guest's writes go on, and both definitions name the image that has them.
        await vm.expectGood();
        await eventually('no job is left', async () => {
          const { jobs } = await client.call('domain.disk.jobs', { domain: name });
          // One that was asked to switch ends by itself, at any moment; another is called off.
          if (jobs.length > 0)
            await client.call('domain.disk.end-job', { domain: name, disk: 'vda' }).catch(() => undefined);
          return jobs.length === 0;
        });
        const [now = ''] = await sources(name);
        expect(await sources(name, true)).toEqual([now]);
        await eventually('no nodes left over', async () => (await nodes(name)).length === 2);
      }
      const [last = ''] = await sources(name);
      await end(name);
      vm.expectWhole(last);
    }, 180_000);

    it('leave a whole image when QEMU is killed, before the switch and right after it', async () => {
      const name = 'killed';
      const vm = guest(name);
      const [base = '', top = ''] = vm.makeChain(2);
      const kill = async () => {
        for (const pid of qemuProcesses(daemon.root)) process.kill(pid, 'SIGKILL');
        await eventually(
          'an end',
          async () => (await client.call('domain.get', { domain: name })).state === 'shutoff',
        );
      };
      await vm.start(top);
      vireo('domain', 'disk', 'commit', name, 'vda', '--wait');
      await kill();
      expect(await sources(name, true)).toEqual([top]);
      vm.expectWhole(top);
      expect((await client.call('job.list', {})).jobs).toEqual([]);
      await client.call('domain.start', { domain: name });
      await vm.expectGood();
      vireo('domain', 'disk', 'commit', name, 'vda', '--pivot', '--delete');
      await kill();
      expect(await sources(name, true)).toEqual([base]);
      expect(existsSync(top)).toBe(false);
      vm.expectWhole(base);
    }, 180_000);

    it('say clearly when there is no room, no server, or no such image; a copy that is called off is whole', async () => {
      const name = 'errors';
      const vm = guest(name);
      const [base = '', top = ''] = vm.makeChain(2);
      await vm.start(top);
      const small = join(daemon.root, 'small');
      mkdirSync(small);
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'small', small]);
      try {
        await client.call('domain.disk.copy', {
          ...{ domain: name, disk: 'vda', destination: { file: join(small, 'copy.qcow2') } },
        });
        await expect(client.call('domain.disk.wait-job', { domain: name, disk: 'vda' })).rejects.toThrow(
          /No space left on device/,
        );
        await eventually('no nodes left over', async () => (await nodes(name)).length === 4);
      } finally {
        execFileSync('umount', [small]);
      }
      await vm.expectGood();
      const refused = (args: object) =>
        expect(client.call('domain.disk.copy', { domain: name, disk: 'vda', ...args } as never)).rejects;
      await refused({ destination: { file: top } }).toThrow(/already exists/);
      await refused({ destination: { file: '/nowhere/x' } }).toThrow(/no such file/);
      await refused({ destination: { nbd: { host: '127.0.0.1', port: 1 } }, format: 'raw' }).toThrow(
        /refused/,
      );
      await refused({ destination: { file: vm.path('x') }, format: 'raw', shallow: true }).toThrow(/shallow/);
      // A device of no size is no empty file that would make room.
      execFileSync('mknod', [vm.path('null'), 'c', '1', '3']);
      await refused({ destination: { file: vm.path('null') } }).toThrow(/already exists/);
      expect(existsSync(vm.path('null'))).toBe(true);
      expect(existsSync(vm.path('x'))).toBe(false);
      execFileSync('truncate', ['-s', '32M', vm.path('larger')]);
      const device = execFileSync('losetup', ['-f', '--show', vm.path('larger')], {
        encoding: 'utf8',
      }).trim();
      try {
        await refused({ destination: { device }, format: 'raw' }).toThrow(/has 33554432 bytes, and the disk/);
      } finally {
        execFileSync('losetup', ['-d', device]);
      }
      await expect(
        client.call('domain.disk.pull', { domain: name, disk: 'vda', base: '/nowhere' }),
      ).rejects.toThrow(/could not find image/);
      await expect(
        client.call('domain.disk.pull', { domain: name, disk: 'vda', base: top }),
      ).rejects.toMatchObject({ code: 'request.invalid', reason: expect.stringMatching(/beneath/) });
      expect(() => virsh('blockjob', name, 'vdz')).toThrow(/invalid argument: disk 'vdz' not found/);
      // An image below has a number; one that is not there is told.
      expect(virsh('domblkthreshold', name, 'vda[2]', '1')).toBe('');
      expect(() => virsh('domblkthreshold', name, 'vda[77]', '1')).toThrow(/failed to find disk 'vda\[77\]'/);
      const heard = await client.subscribe({ events: ['domain.block-threshold'] });
      vireo('domain', 'disk', 'threshold', name, 'vda', '64KiB');
      for await (const event of heard)
        if (event.event === 'domain.block-threshold') {
          expect(event).toMatchObject({ device: 'vda', path: top, image: 1, topmost: true });
          break;
        }
      await heard.close();
      await expect(client.call('domain.disk.end-job', { domain: name, disk: 'vda' })).rejects.toThrow(
        /does not have an active block job/,
      );

      const copy = vm.path('shallow.qcow2');
      await client.call('domain.disk.copy', {
        domain: name,
        disk: 'vda',
        destination: { file: copy },
        shallow: true,
      });
      await expect(client.call('domain.disk.pull', { domain: name, disk: 'vda' })).rejects.toThrow(
        /already in active/,
      );
      expect(() => virsh('detach-disk', name, 'vda')).toThrow(/block copy still active: disk 'vda'/);
      await client.call('domain.disk.wait-job', { domain: name, disk: 'vda', until: 'ready' });
      await client.call('domain.disk.end-job', { domain: name, disk: 'vda' });
      expect(execFileSync('qemu-img', ['info', copy], { encoding: 'utf8' })).toContain(base);
      expect(await sources(name)).toEqual([top, base]);
      expect((await client.call('domain.xml', { domain: name })).xml).not.toContain('<mirror');

      // To a server, as raw bytes, on a socket that QEMU's user may not reach.
      const raw = vm.path('served.raw');
      execFileSync('qemu-img', ['create', '-q', '-f', 'raw', raw, '24M']);
      const socket = vm.path('nbd');
      const server = spawn('qemu-nbd', ['-f', 'raw', '-k', socket, '-t', raw]);
      try {
        await eventually('a server', () => isListening(socket));
        vireo('domain', 'disk', 'copy', name, 'vda', socket, '--nbd', '--format', 'raw', '--wait');
        vireo('domain', 'disk', 'cancel', name, 'vda');
      } finally {
        server.kill('SIGTERM');
      }
      await vm.expectGood();
      await end(name);
      expect(
        readFileSync(raw)
          .subarray(0, 16 << 20)
          .toString('latin1')
          .startsWith(`${name} image 0 `),
      ).toBe(true);
    }, 180_000);
  },
);

function isListening(path: string): Promise<boolean> {
  return new Promise((answer) => {
    const socket = connect({ path }, () => {
      socket.destroy();
      answer(true);
    });
    socket.once('error', () => answer(false));
  });
}
