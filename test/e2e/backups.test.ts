/** Checkpoints and backups of a guest that writes all the time: what is backed up is whole, whoever dies in between. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, project, qemuProcesses, TestDaemon } from '../support/daemon.ts';
import { freePort } from '../support/free-port.ts';
import { makeNbdCertificates } from '../support/nbd-certificates.ts';
import { describeWith } from '../support/needs.ts';
import { WritingGuest } from '../support/writing-guest.ts';

const programs = ['busybox', 'qemu-system-x86_64', 'qemu-img', 'virsh', 'virtnbdbackup', 'openssl'];

describeWith(['root', ...programs], 'backups through virsh', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let vm: WritingGuest;
  let disk = '';
  const name = 'backed';

  beforeAll(async () => {
    const root = mkdtempSync(join(tmpdir(), 'vireo-'));
    makeNbdCertificates(join(root, 'pki'));
    mkdirSync(join(root, 'etc/vireo'), { recursive: true, mode: 0o700 });
    writeFileSync(
      join(root, 'etc/vireo/vireod.toml'),
      `[network]\ndefine_default = false\n[backup]\ntls_directory = "${join(root, 'pki/server')}"\n`,
    );
    daemon = await TestDaemon.start({ root });
    client = await daemon.connect();
    vm = new WritingGuest(client, daemon.root, name);
    [disk = ''] = vm.makeChain(1);
    await vm.start(disk);
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const uri = () => `qemu:///system?socket=${join(daemon.root, 'run/libvirt/libvirt-sock')}`;
  const virsh = (...args: string[]) =>
    execFileSync('virsh', ['-c', uri(), ...args], { encoding: 'utf8', stdio: 'pipe' }).trim();
  const jobType = () => /Job type:\s*(\w+)/.exec(virsh('domjobinfo', name))?.[1];
  const idle = () => eventually('the end of the backup', () => jobType() === 'None', 60_000);
  const lastJob = () => virsh('domjobinfo', name, '--completed');
  const file = (title: string, text: string) => {
    const path = join(daemon.root, title);
    writeFileSync(path, text);
    return path;
  };
  /** Begins a backup; the answer is the last sector that must be in it. */
  const begin = (document: string, checkpoint?: string): number => {
    const promised = vm.lastWritten();
    const more =
      checkpoint === undefined
        ? []
        : [file('checkpoint.xml', `<domaincheckpoint><name>${checkpoint}</name></domaincheckpoint>`)];
    expect(virsh('backup-begin', name, file('backup.xml', document), ...more)).toBe('Backup started');
    return promised;
  };
  const push = (path: string, since = '') =>
    `<domainbackup>${since && `<incremental>${since}</incremental>`}<disks>
      <disk name='vda' type='file'><target file='${path}'/></disk></disks></domainbackup>`;
  const socket = () => join(daemon.root, 'nbd.sock');
  const scratch = () => vm.path('scratch.qcow2');
  const pull = (since = '') =>
    `<domainbackup mode='pull'>${since && `<incremental>${since}</incremental>`}
      <server transport='unix' socket='${socket()}'/>
      <disks><disk name='vda' type='file'><scratch file='${scratch()}'/></disk></disks></domainbackup>`;

  const bitmapsOf = (image: string) => {
    const told = execFileSync('qemu-img', ['info', '-U', '--output=json', image], { encoding: 'utf8' });
    const format = (JSON.parse(told) as { 'format-specific': { data: { bitmaps?: { name: string }[] } } })[
      'format-specific'
    ];
    return (format.data.bitmaps ?? []).map((bitmap) => bitmap.name);
  };

  it('is backed up in full and since then by virtnbdbackup, and restored', async () => {
    const run = (program: string, ...args: string[]) =>
      execFileSync(program, ['-U', uri(), ...args], { encoding: 'utf8', stdio: 'pipe' });
    const [set, again] = [join(daemon.root, 'set'), join(daemon.root, 'restored')];
    run('virtnbdbackup', '-d', name, '-l', 'full', '--compress', '-o', set);
    await vm.expectGood();
    const promised = vm.lastWritten();
    run('virtnbdbackup', '-d', name, '-l', 'inc', '--compress', '-o', set);
    await vm.expectGood();
    mkdirSync(again);
    run('virtnbdrestore', '-a', 'restore', '-i', set, '-o', again);
    // virtnbdrestore does not wait for its qemu-nbd, which has yet to write its tables, and locks the image until then.
    await eventually('the end of qemu-nbd', () => isFree(join(again, basename(disk))));
    vm.expectWhole(join(again, basename(disk)), promised);
    expect(virsh('checkpoint-list', name, '--name').split('\n')).toHaveLength(2);
    virsh('checkpoint-delete', name, 'virtnbdbackup.0', '--children');
  });

  it('pushes a full and an incremental image, which together hold all that was promised', async () => {
    const [full, second] = [vm.path('full.qcow2'), vm.path('second.qcow2')];
    const first = begin(push(full), 'c1');
    await idle();
    expect(virsh('domjobinfo', name, '--completed', '--keep-completed')).toMatch(/Operation:\s*Backup/);
    expect(lastJob()).toMatch(/File remaining:\s*0.000 B/);
    vm.expectWhole(full, first);
    expect(virsh('checkpoint-list', name, '--name')).toBe('c1');
    await vm.expectGood();
    expect(virsh('checkpoint-dumpxml', name, 'c1', '--size', '--no-domain')).toMatch(
      /<disk name='vda' checkpoint='bitmap' bitmap='c1' size='\d+'\/>/,
    );
    const promised = begin(push(second, 'c1'), 'c2');
    await idle();
    await vm.expectGood();
    expect(virsh('checkpoint-parent', name, 'c2')).toBe('c1');
    execFileSync('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-b', full, '-F', 'qcow2', second]);
    vm.expectWhole(second, promised);
    // The name is taken, and nothing is written over.
    expect(() => begin(push(full), 'c1')).toThrow(/domain moment c1 already exists/);
    expect(() => begin(push(full))).toThrow(/store '.*full.qcow2' for backup of 'vda' exists/);
  });

  it('serves a moment over NBD with what has changed, also after a daemon that was killed', async () => {
    const promised = begin(pull('c1'));
    expect(virsh('backup-dumpxml', name)).toContain("exportname='vda' exportbitmap='backup-vda'");
    expect(jobType()).toBe('Unbounded');
    await client.close();
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    vm.use(client);
    // A client that says nothing is cut off.
    expect((await client.call('job.list', {})).jobs).toContainEqual(
      expect.objectContaining({ job: 'backup', cancellable: true }),
    );
    await vm.expectGood();
    const copy = vm.path('pulled.qcow2');
    const url = `nbd+unix:///vda?socket=${socket()}`;
    execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', url, copy]);
    vm.expectWhole(copy, promised);
    const bitmap = `driver=nbd,export=vda,server.type=unix,server.path=${socket()},x-dirty-bitmap=qemu:dirty-bitmap:backup-vda`;
    const map = execFileSync('qemu-img', ['map', '--output=json', '--image-opts', bitmap], {
      encoding: 'utf8',
    });
    // What was written since is told as "no data" (QEMU, docs/interop/qemu-nbd).
    const changed = (JSON.parse(map) as { data: boolean; length: number }[]).filter(({ data }) => !data);
    expect(changed.length).toBeGreaterThan(0);
    expect(changed.reduce((sum, { length }) => sum + length, 0)).toBeLessThan(4 << 20);
    const busy = /another backup job is already running/;
    expect(() => begin(push(vm.path('other.qcow2')))).toThrow(busy);
    expect(() => virsh('snapshot-create-as', name, '--disk-only')).toThrow(/active block job/);
    const jobsToo = ['blockcopy', name, 'vda', vm.path('no.qcow2'), '--transient-job'];
    expect(() => virsh(...jobsToo)).toThrow(
      /Operation not supported: disk 'vda' already in active block job/,
    );
    virsh('domjobabort', name);
    await idle();
    expect(lastJob()).toMatch(/Job type:\s*Completed/);
    expect([existsSync(scratch()), existsSync(socket())]).toEqual([false, false]);
    await vm.expectGood();
  });

  it('serves a moment over TLS, to those with a certificate alone', async () => {
    const port = await freePort();
    const server = `<server transport='tcp' tls='yes' name='127.0.0.1' port='${port}'/>`;
    const promised = begin(pull().replace(/<server [^>]*>/, server));
    const qemuImg = (verb: string, who: string, ...args: string[]) => {
      const credentials = `tls-creds-x509,id=tls,dir=${join(daemon.root, 'pki', who)},endpoint=client`;
      const source = `driver=nbd,host=127.0.0.1,port=${port},export=vda,tls-creds=tls`;
      const given = [verb, '--object', credentials, '--image-opts', ...args.slice(0, -1), source];
      return execFileSync('qemu-img', [...given, ...args.slice(-1)], { encoding: 'utf8', stdio: 'pipe' });
    };
    const copy = vm.path('secret.qcow2');
    expect(() => qemuImg('convert', 'stranger', '-O', 'qcow2', copy)).toThrow(/TLS/);
    const openly = ['info', `nbd://127.0.0.1:${port}/vda`];
    expect(() => execFileSync('qemu-img', openly, { stdio: 'pipe' })).toThrow(/nbd|TLS/i);
    qemuImg('convert', 'client', '-O', 'qcow2', copy);
    vm.expectWhole(copy, promised);
    virsh('domjobabort', name);
    await idle();
  });

  it('goes on through a snapshot, and tells when it is not known what was written', async () => {
    virsh('snapshot-create-as', name, 'top', '--disk-only', '--no-metadata');
    await vm.expectGood();
    const [incremental, full] = [vm.path('third.qcow2'), vm.path('full.qcow2')];
    const promised = begin(push(incremental, 'c1'));
    await idle();
    execFileSync('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-b', full, '-F', 'qcow2', incremental]);
    vm.expectWhole(incremental, promised);
    // From the image below too, which QEMU only reads.
    virsh('checkpoint-delete', name, 'c1');
    expect(virsh('checkpoint-list', name, '--name')).toBe('c2');
    expect(bitmapsOf(disk)).toEqual(['c2']);
    expect(() => begin(push(vm.path('none.qcow2'), 'c1'))).toThrow(/Checkpoint 'c1' .* not found/);
    // A copy takes the checkpoints along when the disk switches to it.
    const copy = vm.path('copied.qcow2');
    virsh('blockcopy', name, 'vda', copy, '--transient-job', '--wait', '--pivot');
    await vm.expectGood();
    const fourth = vm.path('fourth.qcow2');
    const written = begin(push(fourth, 'c2'));
    await idle();
    const second = vm.path('second.qcow2');
    execFileSync('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-b', second, '-F', 'qcow2', fourth]);
    vm.expectWhole(fourth, written);
    // QEMU's end in the middle takes the backup and the bitmaps with it, and leaves nothing.
    begin(pull('c2'));
    for (const pid of qemuProcesses(daemon.root)) process.kill(pid, 'SIGKILL');
    await eventually('the end of the guest', () => virsh('domstate', name) === 'shut off');
    await eventually('nothing left', () => !existsSync(scratch()) && !existsSync(socket()));
    expect(lastJob()).toMatch(/Job type:\s*Failed/);
    virsh('start', name);
    expect(() => begin(push(vm.path('none.qcow2'), 'c2'))).toThrow(/missing or broken bitmap 'c2'/);
    expect(existsSync(vm.path('none.qcow2'))).toBe(false);
  });

  const store = () => join(daemon.root, 'store');
  const vireo = (...args: string[]) =>
    execFileSync(join(project, 'bin/vireo'), ['--root', daemon.root, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    }).trim();
  const backups = async () => (await client.call('backup.list', { directory: store() })).backups;
  const litter = () => readdirSync(join(store(), name)).filter((file) => file.startsWith('.'));
  const create = (more: { mode?: 'full'; bytesPerSecond?: number } = {}) =>
    client.call('backup.create', { domain: name, directory: store(), ...more });

  it('keeps backups in a directory: in full, then what was written, and makes a domain of them', async () => {
    const first = await create();
    expect(first).toMatchObject({ kind: 'full', whyFull: 'there is no backup yet' });
    await vm.expectGood();
    const promised = vm.lastWritten();
    const second = vireo('backup', 'create', name, '--dir', store()).split(' ')[0] ?? '';
    expect((await backups()).map(({ kind, parent }) => [kind, parent])).toEqual([
      ['full', null],
      ['incremental', first.id],
    ]);
    expect(vireo('backup', 'verify', second)).toBe('It is good.');
    expect(virsh('checkpoint-list', name, '--name').split('\n')).toHaveLength(2);
    const disks = join(daemon.root, 'again');
    expect(vireo('backup', 'restore', second, '--name', 'again', '--to', disks)).toMatch(
      /'again' is restored/,
    );
    vm.expectWhole(join(disks, 'again-vda.qcow2'), promised);
    expect(virsh('domuuid', 'again')).not.toBe(virsh('domuuid', name));
    vireo('undefine', 'again');
    // A parent stays as long as something lies on it, and bytes that changed are told.
    await expect(client.call('backup.delete', { path: first.path })).rejects.toMatchObject({
      code: 'backup.needed',
    });
    writeFileSync(join(first.path, 'vda.qcow2'), 'x', { flag: 'r+' });
    expect(await client.call('backup.verify', { path: second })).toMatchObject({
      good: false,
      findings: [
        { path: join(first.path, 'vda.qcow2'), problem: 'its bytes are not those that were written' },
      ],
    });
    await expect(client.call('backup.restore', { path: second, name: 'never' })).rejects.toMatchObject({
      code: 'backup.damaged',
    });
    expect(vireo('backup', 'delete', '-y', '--dependents', first.path).split('\n')).toHaveLength(2);
    expect(await backups()).toEqual([]);
  });

  async function restart(): Promise<void> {
    daemon = await daemon.crashAndRestart();
    client = await daemon.connect();
    vm.use(client);
  }

  it('leaves nothing of a backup that is called off, and ends one whose daemon was killed', async () => {
    const slow = { mode: 'full', bytesPerSecond: 1 << 20 } as const;
    const isInWork = async () =>
      (await client.call('job.list', {})).jobs.some(({ job, done }) => job === 'backup' && (done ?? 0) > 0);
    const before = virsh('checkpoint-list', name, '--name');
    const off = create(slow).catch((error: unknown) => error);
    await eventually('a backup in work', isInWork);
    vireo('backup', 'cancel', name);
    expect(await off).toMatchObject({ code: 'operation.aborted' });
    expect(litter()).toEqual([]);
    expect(virsh('checkpoint-list', name, '--name')).toBe(before);
    const cutOff = create(slow).catch((error: unknown) => error);
    await eventually('a backup in work', isInWork);
    await restart();
    await cutOff;
    await eventually('the backup', async () => (await backups()).length === 1, 60_000);
    expect(litter()).toEqual([]);
    const [made] = await backups();
    expect((await client.call('backup.verify', { path: made?.path ?? '' })).good).toBe(true);
    // Its checkpoint serves the next one, which a plan makes; the plan keeps only its own newest.
    vireo(
      'backup',
      'plan',
      'set',
      'nightly',
      name,
      '--dir',
      store(),
      '--every',
      'day@02:30',
      '--keep-last',
      '1',
    );
    vireo('backup', 'plan', 'run', 'nightly');
    expect((await backups()).map(({ kind, plan }) => [kind, plan])).toEqual([
      ['full', null],
      ['incremental', 'nightly'],
    ]);
    // Back to where it was, over the disks that are there.
    const last = (await backups()).at(-1)?.path ?? '';
    await expect(client.call('backup.restore', { path: last, over: true })).rejects.toMatchObject({
      code: 'domain.active',
    });
    const promised = vm.lastWritten();
    await client.call('domain.destroy', { domain: name });
    const known = (await backups()).length;
    const lost = create().catch(() => undefined);
    await eventually('one begins', async () => litter().length > 0 || (await backups()).length > known);
    await restart();
    await lost;
    await eventually('no part of it', () => litter().length === 0);
    // It may have been whole by then.
    for (const { path } of (await backups()).slice(known)) await client.call('backup.delete', { path });
    const { whyFull, guest } = await create();
    expect([guest, whyFull]).toEqual(['off', expect.stringMatching(/guest is off/)]);
    const [, , offline] = await backups();
    await client.call('backup.restore', { path: offline?.path ?? '', over: true });
    expect(virsh('checkpoint-list', name, '--name')).toBe('');
    vm.expectWhole(
      virsh('domblklist', name)
        .split(/\s+/)
        .find((word) => word.startsWith('/')) ?? '',
      promised,
    );
    await client.call('domain.start', { domain: name });
  }, 180_000);

  it('fails on a full disk with the reason, and leaves nothing there', async () => {
    const small = join(daemon.root, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'vireo-test', small]);
    try {
      const stream = await client.subscribe({ events: ['job.ended'] });
      begin(push(join(small, 'full.qcow2')));
      for await (const event of stream)
        if (event.event === 'job.ended' && event.job === 'backup') {
          expect(event.error).toMatchObject({ code: 'operation.failed', reason: 'No space left on device' });
          break;
        }
      await stream.close();
      expect(lastJob()).toMatch(/Job type:\s*Failed/);
      expect(existsSync(join(small, 'full.qcow2'))).toBe(false);
      // Of a pull that is where the guest's old bytes go to, before it may write: it stands still, and loses nothing.
      const promised = begin(pull().replace(scratch(), join(small, 'scratch')));
      spawnSync('dd', ['if=/dev/zero', `of=${join(small, 'ballast')}`, 'bs=4k'], { stdio: 'ignore' });
      const state = async () => await client.call('domain.get', { domain: name });
      await eventually('the guest to stand still', async () => (await state()).state === 'paused', 60_000);
      expect(await state()).toMatchObject({ reason: 'I/O error' });
      expect(virsh('domblkerror', name)).toMatch(/vda: no space/);
      rmSync(join(small, 'ballast'));
      await client.call('domain.resume', { domain: name });
      await vm.expectGood();
      const copy = vm.path('pulled-on.qcow2');
      execFileSync('qemu-img', [
        ...['convert', '-f', 'raw', '-O', 'qcow2'],
        `nbd+unix:///vda?socket=${socket()}`,
        copy,
      ]);
      vm.expectWhole(copy, promised);
      virsh('domjobabort', name);
      await idle();
    } finally {
      execFileSync('umount', ['-l', small]);
      rmSync(small, { recursive: true });
    }
    for (const last of ['last', 'later']) virsh('checkpoint-create-as', name, last);
    await client.call('domain.destroy', { domain: name });
    const image = / (\/.*)$/m.exec(virsh('domblklist', name))?.[1] ?? '';
    vireo('checkpoint', 'delete', '--yes', name, 'later');
    expect(bitmapsOf(image)).toEqual(['last']);
    expect(() => virsh('undefine', name)).toThrow(/cannot delete inactive domain with \d+ checkpoints/);
    virsh('undefine', name, '--checkpoints-metadata');
  });
});

/** True for an image that nobody has open. */
function isFree(image: string): boolean {
  return spawnSync('qemu-img', ['check', '-q', image], { stdio: 'ignore' }).status === 0;
}
