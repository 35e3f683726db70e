/** A disk that another program serves over vhost-user (qemu-storage-daemon): the guest reads and writes it, whoever restarts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { eventually, TestDaemon } from '../support/daemon.ts';
import { littleLinux, startScript } from '../support/guest-image.ts';
import { describeWith } from '../support/needs.ts';

/** Tells what is at the beginning of the disk, then writes a number behind it again and again. */
const script = `#!/bin/busybox sh
(
  echo "read $(dd if=/dev/vda bs=64k count=1 iflag=direct 2>/dev/null | sha256sum | cut -c1-16) ." >/dev/ttyS0
  n=0
  while :; do
    n=$((n + 1))
    printf 'tick %06d\\n' $n | dd of=/dev/vda bs=512 seek=2048 conv=notrunc,sync,fsync 2>/dev/null && echo "wrote $n ." >/dev/ttyS0
    sleep 0.1
  done
) &
`;

describeWith(
  ['root', 'busybox', 'qemu-system-x86_64', 'qemu-storage-daemon'],
  'a disk that is served over vhost-user',
  () => {
    const name = 'served';
    let daemon: TestDaemon;
    let client: VireoClient;
    let backend: ChildProcess | undefined;
    let xml: string;
    const at = (path: string) => join(daemon.root, path);
    const log = () => (existsSync(at('serial.log')) ? readFileSync(at('serial.log'), 'latin1') : '');
    const written = () => Number([...log().matchAll(/wrote (\d+) \./g)].at(-1)?.[1] ?? 0);
    const onDisk = () =>
      Number(
        readFileSync(at('disk.raw'))
          .toString('latin1', 1 << 20, (1 << 20) + 11)
          .replace('tick ', ''),
      );
    const goesOn = async () => {
      const before = written();
      await eventually('the guest writes', () => written() > before + 1);
      expect(onDisk()).toBeGreaterThan(before);
    };

    beforeAll(async () => {
      daemon = await TestDaemon.start();
      writeFileSync(at('disk.raw'), Buffer.concat([randomBytes(65_536), Buffer.alloc((16 << 20) - 65_536)]));
      const { kernel, initrd } = await littleLinux(at('linux'), [startScript(script)]);
      xml = `<domain type='qemu'><name>${name}</name><memory unit='MiB'>128</memory>
        <os><type machine='pc'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd>
          <cmdline>console=ttyS0 quiet no_timer_check</cmdline></os><features><acpi/></features><devices>
        <disk type='vhostuser'><driver name='qemu' type='raw'/><source type='unix' path='${at('blk.sock')}'/>
          <target dev='vda' bus='virtio'/></disk>
        <serial type='pty'><log file='${at('serial.log')}' append='on'/></serial></devices></domain>`;
      client = await daemon.connect();
      await client.call('domain.define', { xml });
    });
    afterAll(async () => {
      await client?.close();
      await daemon?.remove();
      backend?.kill('SIGKILL');
    });

    it('is not there: the error names the socket, and nothing is left', async () => {
      await expect(client.call('domain.start', { domain: name })).rejects.toMatchObject({
        reason: expect.stringContaining(at('blk.sock')) as string,
      });
      expect((await client.call('domain.get', { domain: name })).state).toBe('shutoff');
    });

    it('is read and written by the guest, whose memory is shared', async () => {
      const exported = `type=vhost-user-blk,id=e,node-name=f,addr.type=unix,addr.path=${at('blk.sock')},writable=on`;
      backend = spawn(
        'qemu-storage-daemon',
        ['--blockdev', `driver=file,node-name=f,filename=${at('disk.raw')}`, '--export', exported],
        { stdio: 'ignore' },
      );
      await eventually('the socket', () => existsSync(at('blk.sock')));
      const head = createHash('sha256')
        .update(readFileSync(at('disk.raw')).subarray(0, 65_536))
        .digest('hex');
      await client.call('domain.start', { domain: name });
      expect((await client.call('domain.xml', { domain: name })).xml).toMatch(/<access mode='shared'\/>/);
      await eventually('the guest reads', () => /read \w{16} \./.test(log()), 240_000);
      expect(log()).toContain(`read ${head.slice(0, 16)} .`);
      await goesOn();
    }, 300_000);

    it('goes on when the daemon is killed, and started again', async () => {
      await client.close();
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      expect((await client.call('domain.get', { domain: name })).state).toBe('running');
      await goesOn();
      await client.call('domain.destroy', { domain: name });
      expect(onDisk()).toBeGreaterThanOrEqual(written());
    });
  },
);
