/** Checkpoints and backups of a guest that writes all the time: what is backed up is whole, whoever dies in between. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';
import { WritingGuest } from '../support/writing-guest.ts';

describeWith(['root', 'busybox', 'qemu-system-x86_64', 'qemu-img', 'virsh'], 'backups through virsh', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let vm: WritingGuest;
  const name = 'backed';

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    client = await daemon.connect();
    vm = new WritingGuest(client, daemon.root, name);
    const [disk = ''] = vm.makeChain(1);
    await vm.start(disk);
  }, 120_000);
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
  });

  const run = (args: readonly string[]) => {
    const uri = `qemu:///system?socket=${join(daemon.root, 'run/libvirt/libvirt-sock')}`;
    return execFileSync('virsh', ['-c', uri, ...args], { encoding: 'utf8', stdio: 'pipe' }).trim();
  };
  const virsh = (...args: string[]) => run(args);
  const jobType = () => /Job type:\s*(\w+)/.exec(virsh('domjobinfo', name))?.[1];
  const idle = () => eventually('the end of the backup', () => jobType() === 'None', 60_000);

  it('takes a full and an incremental image, which together hold all the guest was promised', async () => {
    const full = vm.path('full.qcow2');
    const document = join(daemon.root, 'push.xml');
    const { writeFileSync } = await import('node:fs');
    writeFileSync(
      document,
      `<domainbackup><disks><disk name='vda' type='file'><target file='${full}'/></disk></disks></domainbackup>`,
    );
    const checkpoint = join(daemon.root, 'c1.xml');
    writeFileSync(checkpoint, '<domaincheckpoint><name>c1</name></domaincheckpoint>');
    expect(virsh('backup-begin', name, document, checkpoint)).toBe('Backup started');
    await idle();
    expect(virsh('domjobinfo', name, '--completed', '--keep-completed')).toMatch(/Operation:\s*Backup/);
    expect(virsh('checkpoint-list', name, '--name')).toBe('c1');
    await vm.expectGood();
    console.log(virsh('checkpoint-dumpxml', name, 'c1', '--size', '--no-domain'));
    const second = vm.path('second.qcow2');
    writeFileSync(
      document,
      `<domainbackup><incremental>c1</incremental><disks><disk name='vda' type='file'><target file='${second}'/></disk></disks></domainbackup>`,
    );
    expect(virsh('backup-begin', name, document)).toBe('Backup started');
    await idle();
    console.log(virsh('domjobinfo', name, '--completed'));
    await vm.expectGood();
    console.log(execFileSync('qemu-img', ['info', '-U', second], { encoding: 'utf8' }));
    console.log(readdirSync(daemon.root), existsSync(full));
  }, 120_000);
});
