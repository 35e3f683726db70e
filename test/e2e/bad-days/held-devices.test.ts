/**
 * A QEMU that a signal holds while something is done to it that takes no time: devices, sizes, checkpoints, backups. An error in
 * time; when it goes on, the definition says what QEMU has, and the same can be done again. Meanwhile the daemon may be killed,
 * or QEMU itself.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VireoClient } from '../../../src/api/client.ts';
import { eventually, qemuProcesses, TestDaemon } from '../../support/daemon.ts';
import { describeWith } from '../../support/needs.ts';
import { outcome, signal, startImpatient } from './impatient.ts';

const works = ['attach', 'detach', 'resize', 'checkpoint', 'forget', 'backup'] as const;
type Work = (typeof works)[number];
const rounds = [0, 1, 2] as const;

describeWith(['root', 'qemu-system-x86_64', 'qemu-img'], 'a QEMU that is held', () => {
  let daemon: TestDaemon;
  let client: VireoClient;

  beforeAll(async () => {
    daemon = await startImpatient();
    client = await daemon.connect();
    for (const work of works) {
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path(`${work}.qcow2`), '1M']);
      for (const round of rounds) writeFileSync(path(`${work}${round}.raw`), Buffer.alloc(1 << 20));
      const xml = `<domain type='qemu'><name>${work}</name><memory unit='MiB'>16</memory><os><type machine='pc'>hvm</type></os>
        <features><acpi/></features><devices><disk type='file'><driver name='qemu' type='qcow2'/>
        <source file='${path(`${work}.qcow2`)}'/><target dev='vda' bus='virtio'/></disk></devices></domain>`;
      await client.call('domain.define', { xml });
      await client.call('domain.start', { domain: work });
    }
    for (const round of rounds) {
      await client.call('domain.attach-device', { domain: 'detach', xml: disk('detach', round) });
      await client.call('checkpoint.create', { domain: 'forget', name: `c${round}` });
    }
  });
  afterAll(async () => {
    for (const pid of qemuProcesses(daemon.root)) signal(pid, 'SIGCONT');
    await client?.close();
    await daemon?.remove();
  });

  const path = (name: string) => join(daemon.root, name);
  const targetOf = (round: number) => `vd${'bcd'[round]}`;
  const disk = (name: string, round: number) =>
    `<disk type='file'><source file='${path(`${name}${round}.raw`)}'/><target dev='${targetOf(round)}' bus='virtio'/></disk>`;
  const disks = async (domain: Work, inactive: boolean) =>
    [...(await client.call('domain.xml', { domain, inactive })).xml.matchAll(/<target dev='(vd[b-d])'/g)].map(
      ([, dev]) => dev,
    );
  const qmp = async (domain: Work, command: string, args: Record<string, unknown> = {}) =>
    (await client.call('domain.monitor-command', { domain, command, arguments: args })).return;
  const checkpoints = async (domain: Work) =>
    (await client.call('checkpoint.list', { domain })).checkpoints.map(({ name }) => name);

  const calls: Readonly<Record<Work, (round: number) => Promise<unknown>>> = {
    attach: (n) => client.call('domain.attach-device', { domain: 'attach', xml: disk('attach', n) }),
    detach: (n) => client.call('domain.detach-device', { domain: 'detach', device: targetOf(n) }),
    resize: (n) =>
      client.call('domain.disk.resize', { domain: 'resize', disk: 'vda', sizeBytes: (n + 2) << 20 }),
    checkpoint: (n) => client.call('checkpoint.create', { domain: 'checkpoint', name: `c${n}` }),
    forget: (n) => client.call('checkpoint.delete', { domain: 'forget', checkpoint: `c${n}` }),
    backup: () => client.call('backup.create', { domain: 'backup', directory: path('store'), mode: 'full' }),
  };
  /** All of it, on QEMUs that are held; each has begun, and ends later. */
  async function begin(round: number) {
    const pids = qemuProcesses(daemon.root);
    expect(pids).toHaveLength(works.length);
    for (const pid of pids) signal(pid, 'SIGSTOP');
    const begun = new Set<Work>();
    const ending = works.map(async (work) => {
      const end = await outcome(calls[work](round));
      begun.add(work);
      return { work, end };
    });
    await eventually('all to begin', async () => {
      for (const work of works)
        if ((await client.call('domain.get', { domain: work })).job !== null) begun.add(work);
      return begun.size === works.length;
    });
    const all = (name: NodeJS.Signals) => {
      for (const pid of pids) signal(pid, name);
    };
    return { ends: Promise.all(ending), all };
  }
  const code = (one: string) => works.map((work) => ({ work, end: { code: one } }));

  /** What QEMU has of disks, checkpoints and jobs is what we say. */
  async function expectTrue(domain: Work): Promise<void> {
    const inQemu = async () => {
      const devices = (await qmp(domain, 'qom-list', { path: '/machine/peripheral' })) as { name: string }[];
      const nodes = (await qmp(domain, 'query-named-block-nodes', { flat: true })) as {
        'dirty-bitmaps'?: { name: string }[];
      }[];
      return {
        disks: devices.filter(({ name }) => name.startsWith('virtio-disk')).length,
        nodes: nodes.length,
        bitmaps: nodes.flatMap((node) => (node['dirty-bitmaps'] ?? []).map(({ name }) => name)).toSorted(),
        jobs: ((await qmp(domain, 'query-jobs')) as unknown[]).length,
      };
    };
    const said = async () => {
      const count = 1 + (await disks(domain, false)).length;
      return { disks: count, nodes: 2 * count, bitmaps: (await checkpoints(domain)).toSorted(), jobs: 0 };
    };
    await eventually(
      `the truth of ${domain}`,
      async () => JSON.stringify(await inQemu()) === JSON.stringify(await said()),
      15_000,
    ).catch(async () => expect({ domain, ...(await inQemu()) }).toEqual({ domain, ...(await said()) }));
  }

  const backups = async () => (await client.call('backup.list', { directory: path('store') })).backups.length;
  const litter = () => readdirSync(path('store/backup')).filter((name) => name.startsWith('.'));

  it('is told of in time; what it has when it goes on is what is said, and the same can be done again', async () => {
    const { ends, all } = await begin(0);
    expect(await ends).toMatchObject(code('qmp.timeout'));
    all('SIGCONT');
    for (const work of works) await expectTrue(work);
    // What is stored is as it was.
    expect([await disks('attach', true), await disks('detach', true)]).toEqual([[], ['vdb', 'vdc', 'vdd']]);
    expect([await checkpoints('checkpoint'), await backups()]).toEqual([[], 0]);
    for (const work of works.filter((one) => one !== 'detach')) await calls[work](0);
    for (const work of works) await expectTrue(work);
    expect([await disks('attach', false), await disks('attach', true)]).toEqual([['vdb'], ['vdb']]);
    expect(await backups()).toBe(1);
    const image = execFileSync('qemu-img', ['info', '-U', '--output=json', path('resize.qcow2')]);
    expect(JSON.parse(image.toString())).toMatchObject({ 'virtual-size': 2 << 20 });
  });

  it('is found again by a daemon after the one that was killed: what it has is what is said', async () => {
    const { ends, all } = await begin(1);
    await daemon.end('SIGKILL');
    await ends;
    await client.close();
    all('SIGCONT');
    daemon = await TestDaemon.start({ root: daemon.root });
    client = await daemon.connect();
    for (const work of works) await expectTrue(work);
    expect([await backups(), litter()]).toEqual([1, []]);
  });

  it('that dies then is off; what is stored is as it was, and starts', async () => {
    const before = await Promise.all(
      works.map((work) => client.call('domain.xml', { domain: work, inactive: true })),
    );
    const { ends, all } = await begin(2);
    all('SIGKILL');
    // On a slow machine it may have been given up before.
    const ended = expect.stringMatching(/^qmp\.(closed|timeout)$/) as string;
    expect(await ends).toMatchObject(code(ended));
    for (const [at, domain] of works.entries()) {
      await eventually(
        'its end',
        async () => (await client.call('domain.get', { domain })).state === 'shutoff',
      );
      expect(await client.call('domain.get', { domain })).toMatchObject({ reason: 'crashed', job: null });
      expect(await client.call('domain.xml', { domain, inactive: true })).toEqual(before[at]);
    }
    expect([await backups(), litter()]).toEqual([1, []]);
    await Promise.all(works.map((domain) => client.call('domain.start', { domain })));
  });
});
