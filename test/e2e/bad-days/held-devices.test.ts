/**
 * A QEMU that a signal holds while something is done to it that takes no time: devices, sizes, checkpoints, backups. An error in
 * time; when it goes on, the definition says what QEMU has, and the same can be done again.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { eventually, qemuProcesses, type TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { outcome, signal, startImpatient } from './impatient.ts';

const works = ['attach', 'detach', 'resize', 'checkpoint', 'forget', 'backup'] as const;
type Work = (typeof works)[number];

describeWith(['root', 'qemu-system-x86_64', 'qemu-img'], 'a QEMU that is held', () => {
  let daemon: TestDaemon;
  let client: VireoClient;

  beforeAll(async () => {
    daemon = await startImpatient();
    client = await daemon.connect();
    for (const work of works) {
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path(`${work}.qcow2`), '1M']);
      writeFileSync(path(`${work}.raw`), Buffer.alloc(1 << 20));
      const xml = `<domain type='qemu'><name>${work}</name><memory unit='MiB'>16</memory><os><type machine='pc'>hvm</type></os>
        <features><acpi/></features><devices><disk type='file'><driver name='qemu' type='qcow2'/>
        <source file='${path(`${work}.qcow2`)}'/><target dev='vda' bus='virtio'/></disk></devices></domain>`;
      await client.call('domain.define', { xml });
      await client.call('domain.start', { domain: work });
    }
    await client.call('domain.attach-device', { domain: 'detach', xml: disk('detach') });
    await client.call('checkpoint.create', { domain: 'forget', name: 'c' });
  });
  afterAll(async () => {
    for (const pid of qemuProcesses(daemon.root)) signal(pid, 'SIGCONT');
    await client?.close();
    await daemon?.remove();
  });

  const path = (name: string) => join(daemon.root, name);
  const disk = (name: string) =>
    `<disk type='file'><source file='${path(`${name}.raw`)}'/><target dev='vdb' bus='virtio'/></disk>`;
  const has = async (domain: Work, inactive: boolean) =>
    (await client.call('domain.xml', { domain, inactive })).xml.includes("dev='vdb'");
  const qmp = async (domain: Work, command: string, args: Record<string, unknown> = {}) =>
    (await client.call('domain.monitor-command', { domain, command, arguments: args })).return;
  const checkpoints = async (domain: Work) =>
    (await client.call('checkpoint.list', { domain })).checkpoints.map(({ name }) => name);

  const calls: Readonly<Record<Work, () => Promise<unknown>>> = {
    attach: () => client.call('domain.attach-device', { domain: 'attach', xml: disk('attach') }),
    detach: () => client.call('domain.detach-device', { domain: 'detach', device: 'vdb' }),
    resize: () => client.call('domain.disk.resize', { domain: 'resize', disk: 'vda', sizeBytes: 2 << 20 }),
    checkpoint: () => client.call('checkpoint.create', { domain: 'checkpoint', name: 'c' }),
    forget: () => client.call('checkpoint.delete', { domain: 'forget', checkpoint: 'c' }),
    backup: () => client.call('backup.create', { domain: 'backup', directory: path('store') }),
  };

  /** What QEMU has of disks, checkpoints and jobs is what we say. */
  async function expectTrue(domain: Work): Promise<void> {
    const inQemu = async () => {
      const devices = (await qmp(domain, 'qom-list', { path: '/machine/peripheral' })) as { name: string }[];
      const nodes = (await qmp(domain, 'query-named-block-nodes', { flat: true })) as {
        'dirty-bitmaps'?: { name: string }[];
      }[];
      const isThere = devices.some(({ name }) => name === 'virtio-disk1');
      return {
        isThere,
        nodes: nodes.length,
        bitmaps: nodes.flatMap((node) => (node['dirty-bitmaps'] ?? []).map(({ name }) => name)),
        jobs: ((await qmp(domain, 'query-jobs')) as unknown[]).length,
      };
    };
    const said = async () => {
      const isThere = await has(domain, false);
      return { isThere, nodes: isThere ? 4 : 2, bitmaps: await checkpoints(domain), jobs: 0 };
    };
    await eventually(
      `the truth of ${domain}`,
      async () => JSON.stringify(await inQemu()) === JSON.stringify(await said()),
      15_000,
    ).catch(async () => expect({ domain, ...(await inQemu()) }).toEqual({ domain, ...(await said()) }));
  }

  it('is told of in time; what it has when it goes on is what is said, and the same can be done again', async () => {
    const pids = qemuProcesses(daemon.root);
    for (const pid of pids) signal(pid, 'SIGSTOP');
    const ends = await Promise.all(works.map(async (work) => ({ work, end: await outcome(calls[work]()) })));
    expect(ends).toMatchObject(works.map((work) => ({ work, end: { code: 'qmp.timeout' } })));
    for (const pid of pids) signal(pid, 'SIGCONT');
    for (const work of works) await expectTrue(work);
    // What is stored is as it was.
    expect([await has('attach', true), await has('detach', true)]).toEqual([false, true]);
    expect(await checkpoints('checkpoint')).toEqual([]);
    expect((await client.call('backup.list', { directory: path('store') })).backups).toEqual([]);
    for (const work of works.filter((one) => one !== 'detach')) await calls[work]();
    for (const work of works) await expectTrue(work);
    expect([await has('attach', false), await has('attach', true)]).toEqual([true, true]);
    expect((await client.call('backup.list', { directory: path('store') })).backups).toHaveLength(1);
    const image = execFileSync('qemu-img', ['info', '-U', '--output=json', path('resize.qcow2')]);
    expect(JSON.parse(image.toString())).toMatchObject({ 'virtual-size': 2 << 20 });
  });
});
