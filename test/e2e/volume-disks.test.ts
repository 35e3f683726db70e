/** Volumes as disks of a guest that runs: plugged in and out, put into drives; one guest, which boots nothing. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { TestDaemon } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

describeWith(
  ['root', 'qemu-img', 'qemu-system-x86_64', 'virsh'],
  'volumes as disks of a running guest',
  () => {
    let daemon: TestDaemon;
    let client: VireoClient;
    const guest = (name: string, disks = '') => `<domain type='qemu'><name>${name}</name>
    <memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type machine='pc'>hvm</type></os>
    <devices><controller type='scsi' model='virtio-scsi'/>
      <disk type='file' device='cdrom'><target dev='hda' bus='ide'/></disk>${disks}</devices></domain>`;
    const disk = (volume: string, dev: string, inside = '') =>
      `<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='default' volume='${volume}'/><target dev='${dev}' bus='scsi'/>${inside}</disk>`;

    beforeAll(async () => {
      daemon = await TestDaemon.start();
      client = await daemon.connect();
      for (const name of ['cold.qcow2', 'one.qcow2', 'two.qcow2'])
        await client.call('volume.create', { pool: 'default', name, capacityBytes: 2 ** 20 });
      await client.call('volume.create', {
        pool: 'default',
        name: 'a.img',
        format: 'raw',
        capacityBytes: 2 ** 20,
      });
      await client.call('domain.define', { xml: guest('web', disk('cold.qcow2', 'sda')) });
      await client.call('domain.start', { domain: 'web' });
    });
    afterAll(async () => {
      await client?.close();
      await daemon?.remove();
    });

    const virsh = (...args: string[]) => {
      const uri = `qemu:///system?socket=${join(daemon.root, 'run/libvirt/libvirt-sock')}`;
      return execFileSync('virsh', ['-c', uri, ...args], { encoding: 'utf8', stdio: 'pipe' }).trim();
    };
    const xmlOf = async () => (await client.call('domain.xml', { domain: 'web' })).xml;
    const nodes = async () => {
      const { return: found } = await client.call('domain.monitor-command', {
        domain: 'web',
        command: 'query-named-block-nodes',
        arguments: { flat: true },
      });
      return (found as { readonly 'node-name': string; readonly drv: string }[]).map(
        ({ 'node-name': name, drv }) => `${name.replace(/\d+/, 'N')} ${drv}`,
      );
    };
    const users = async (volume: string) =>
      (await client.call('volume.get', { pool: 'default', volume })).usedBy;

    it('are plugged in by virsh and by our own words, keep their names, and go without a trace', async () => {
      const before = await nodes();
      const file = join(daemon.root, 'disk.xml');
      writeFileSync(file, disk('one.qcow2', 'sdb'));
      virsh('attach-device', 'web', file, '--live');
      const { alias } = await client.call('domain.attach-device', {
        domain: 'web',
        disk: { pool: 'default', volume: 'two.qcow2', bus: 'scsi' },
        live: true,
      });
      expect(alias).toMatch(/^scsi/);
      const xml = await xmlOf();
      for (const volume of ['cold.qcow2', 'one.qcow2', 'two.qcow2'])
        expect(xml).toMatch(new RegExp(`<source pool='default' volume='${volume}' index='\\d+'/>`));
      expect(await users('one.qcow2')).toMatchObject([{ type: 'domain', name: 'web' }]);
      await expect(
        client.call('volume.delete', { pool: 'default', volume: 'one.qcow2' }),
      ).rejects.toMatchObject({
        code: 'volume.in-use',
      });
      virsh('detach-device', 'web', file, '--live');
      await client.call('domain.detach-device', { domain: 'web', device: 'sdc', live: true });
      expect(await nodes()).toEqual(before);
      expect(await users('one.qcow2')).toEqual([]);
    });

    it('that came with the start go without a trace, too', async () => {
      await client.call('domain.detach-device', { domain: 'web', device: 'sda', live: true });
      expect(await nodes()).toEqual([]);
      await client.call('domain.attach-device', {
        domain: 'web',
        xml: disk('cold.qcow2', 'sda'),
        live: true,
      });
      expect(await nodes()).toHaveLength(2);
    });

    it('are put into a drive, changed and taken out again', async () => {
      const before = await nodes();
      await client.call('domain.change-media', {
        domain: 'web',
        device: 'hda',
        volume: { pool: 'default', name: 'a.img' },
      });
      expect(await xmlOf()).toMatch(/<source pool='default' volume='a.img' index='\d+'\/>/);
      expect(await nodes()).toContain('libvirt-N-format raw');
      const file = join(daemon.root, 'cdrom.xml');
      writeFileSync(
        file,
        "<disk type='volume' device='cdrom'><driver name='qemu' type='qcow2'/><source pool='default' volume='one.qcow2'/><target dev='hda' bus='ide'/><readonly/></disk>",
      );
      virsh('update-device', 'web', file, '--live');
      expect(await xmlOf()).toMatch(/<source pool='default' volume='one.qcow2' index='\d+'\/>/);
      expect(await users('a.img')).toMatchObject([{ name: 'web' }]); // The definition has it, for the next start.
      virsh('change-media', 'web', 'hda', '--eject', '--live');
      expect(await nodes()).toEqual(before);
    });

    it('that are not there, or that another guest has, are told by name', async () => {
      const attach = (xml: string) => client.call('domain.attach-device', { domain: 'web', xml, live: true });
      await expect(attach(disk('none.qcow2', 'sdd'))).rejects.toMatchObject({
        code: 'volume.not-found',
        message: expect.stringMatching(/attach a <disk> to domain 'web'.*default\/none\.qcow2/) as string,
      });
      await client.call('domain.define', { xml: guest('other', disk('two.qcow2', 'sda')) });
      await client.call('domain.start', { domain: 'other' });
      const before = await nodes();
      await expect(attach(disk('two.qcow2', 'sdd'))).rejects.toMatchObject({
        code: 'domain.state',
        message: expect.stringContaining("domain 'other' runs and uses") as string,
      });
      expect(await nodes()).toEqual(before);
      await client.call('domain.destroy', { domain: 'other' });
      await attach(disk('two.qcow2', 'sdd'));
      daemon = await daemon.crashAndRestart();
      client = await daemon.connect();
      expect(await xmlOf()).toContain("volume='two.qcow2'");
      await client.call('domain.detach-device', { domain: 'web', device: 'sdd', live: true });
      expect(await nodes()).toEqual(before);
    });
  },
);
