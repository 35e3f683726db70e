/** Disks behind filters: limits of their own, and groups of limits that they share; images come and go below them. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../src/api/client.ts';
import { project, TestDaemon, withoutDefaultNetwork } from '../support/daemon.ts';
import { describeWith } from '../support/needs.ts';

const disk = (path: string, target: string, limits: string) =>
  `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${path}'/>
    <target dev='${target}' bus='virtio'/>${limits}</disk>`;

describeWith(['root', 'qemu-system-x86_64', 'virsh'], 'disks with limits', () => {
  let daemon: TestDaemon;
  let client: VireoClient;
  let directory: string;

  const virsh = (...args: string[]) =>
    execFileSync(
      'virsh',
      ['-q', '-c', `qemu:///system?socket=${daemon.root}/run/libvirt/libvirt-sock`, ...args],
      {
        encoding: 'utf8',
        stdio: 'pipe',
      },
    ).trim();
  const nodes = async () => {
    const command = { domain: 'limited', command: 'query-named-block-nodes', arguments: { flat: true } };
    const found = (await client.call('domain.monitor-command', command)).return as { 'node-name': string }[];
    return found.map((node) => node['node-name']).sort();
  };

  beforeAll(async () => {
    const root = mkdtempSync('/tmp/vireo-lim-');
    directory = mkdtempSync('/tmp/vireo-limx-');
    withoutDefaultNetwork(root);
    daemon = await TestDaemon.start({ root });
    client = await daemon.connect();
    for (const name of ['a', 'b']) {
      writeFileSync(join(directory, name), '');
      truncateSync(join(directory, name), 1 << 20);
    }
    const xml = `<domain type='qemu'><name>limited</name><memory unit='MiB'>32</memory>
      <throttlegroups><throttlegroup><total_iops_sec>9000</total_iops_sec><group_name>few</group_name></throttlegroup>
      <throttlegroup><total_bytes_sec>90000000</total_bytes_sec><group_name>slow</group_name></throttlegroup></throttlegroups>
      <os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
      ${disk(join(directory, 'a'), 'vda', "<throttlefilters><throttlefilter group='few'/><throttlefilter group='slow'/></throttlefilters>")}
      ${disk(join(directory, 'b'), 'vdb', '<iotune><total_iops_sec>9000</total_iops_sec></iotune>')}
      </devices></domain>`;
    await client.call('domain.define', { xml });
    await client.call('domain.start', { domain: 'limited', paused: true });
  });
  afterAll(async () => {
    await client?.close();
    await daemon?.remove();
    rmSync(directory, { recursive: true });
  });

  it.each(['vda', 'vdb'])(
    'take snapshots, merges and copies under %s, and its filters stay',
    async (target) => {
      const before = await nodes();
      expect(before.filter((node) => node.startsWith('throttle-'))).toEqual([
        'throttle-vda-0',
        'throttle-vda-1',
        'throttle-vdb',
      ]);
      const other = target === 'vda' ? 'vdb' : 'vda';
      const over = ['--diskspec', `${target},file=${join(directory, `${target}.over`)}`];
      const specs = [...over, '--diskspec', `${other},snapshot=no`];
      virsh('snapshot-create-as', 'limited', '--disk-only', '--no-metadata', ...specs);
      virsh('blockcommit', 'limited', target, '--active', '--wait', '--pivot');
      expect(await nodes()).toEqual(before);
      const copy = join(directory, `${target}.copy`);
      virsh('blockcopy', 'limited', target, copy, '--format', 'raw', '--transient-job', '--wait', '--pivot');
      expect(await nodes()).toHaveLength(before.length);
      expect(virsh('domblklist', 'limited')).toContain(copy);
    },
  );

  it('have their groups in QEMU, and refuse limits of a disk beside those of its groups', async () => {
    expect(() => virsh('blkdeviotune', 'limited', 'vda', '--total-iops-sec', '4')).toThrow(
      'its limits are those of its throttle groups',
    );
    const limits = async () => {
      const asked = { path: '/objects/throttlegroup-few', property: 'limits' };
      const command = { domain: 'limited', command: 'qom-get', arguments: asked };
      return (await client.call('domain.monitor-command', command)).return;
    };
    expect(await limits()).toMatchObject({ 'iops-total': 9000, 'bps-total': 0 });
    const vireo = (...args: string[]) =>
      execFileSync(join(project, 'bin/vireo'), ['--root', daemon.root, 'domain', 'throttle-group', ...args], {
        encoding: 'utf8',
      });
    expect(vireo('set', 'limited', 'few', '--iops', '8000', '--live')).toBe(
      "Group 'few' of 'limited': totalIopsSec=8000.\n",
    );
    expect(await limits()).toMatchObject({ 'iops-total': 8000 });
    expect(vireo('list', 'limited')).toMatch(/few +vda +totalIopsSec=8000\n/);
    vireo('set', 'limited', 'spare', '--read-bytes', '1MiB', '--live');
    vireo('remove', 'limited', 'spare', '--live');
    expect(vireo('list', 'limited')).not.toContain('spare');
  });
});
