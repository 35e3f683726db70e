import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readHostFacts } from '../../../src/kvm/host-facts.ts';
import { recordedFiles } from '../../support/recorded-files.ts';

/** Recorded in an emulated machine of two sockets and two cells by test/support/kvm-lab/record-host.ts. */
const twoCells = JSON.parse(readFileSync(new URL('trees/two-cells.json', import.meta.url), 'utf8')) as Record<
  string,
  string
>;

const facts = (files: Record<string, string>, settings: { hostname?: string; hostUuid?: string } = {}) =>
  readHostFacts({ files: recordedFiles({ files }), arch: 'x86_64', ...settings });

/** /sys of processors, each `[socket, die, core, siblings]`. */
function processors(rows: readonly (readonly [number, number, number, string])[]): Record<string, string> {
  const files = rows.flatMap(([socket, die, core, siblings], id) => {
    const directory = `/sys/devices/system/cpu/cpu${id}/topology`;
    return [
      [`${directory}/physical_package_id`, `${socket}\n`],
      [`${directory}/die_id`, `${die}\n`],
      [`${directory}/core_id`, `${core}\n`],
      [`${directory}/thread_siblings_list`, `${siblings}\n`],
    ];
  });
  return { ...Object.fromEntries(files), '/sys/devices/system/cpu/online': `0-${rows.length - 1}\n` };
}

describe('readHostFacts on a host with two cells', () => {
  it('knows who the host is', async () => {
    expect(await facts(twoCells)).toMatchObject({
      hostname: 'kvm-lab',
      kernel: { release: '6.1.0-56-amd64' },
      uuid: { value: '5f0d1c7e-2b4a-4c3d-9e8f-0a1b2c3d4e5f', source: 'smbios' },
      smbios: {
        bios: { vendor: 'SeaBIOS', date: '04/01/2014' },
        system: { manufacturer: 'QEMU', product: 'Standard PC (Q35 + ICH9, 2009)' },
        baseBoard: {},
        chassis: { manufacturer: 'QEMU' },
      },
    });
  });

  it('knows its processors', async () => {
    const { cpu, topology } = await facts(twoCells);
    expect(cpu).toMatchObject({ vendor: 'AuthenticAMD', family: 15, model: 107 });
    expect(cpu.flags).toContain('svm');
    expect(topology).toMatchObject({
      sockets: 2,
      diesPerSocket: 1,
      coresPerDie: 4,
      threadsPerCore: 1,
      onlineCpus: [0, 1, 2, 3, 4, 5, 6, 7],
    });
  });

  it('knows its cells: memory, processors, distances and pages', async () => {
    const { cells } = await facts(twoCells);
    expect(cells.map(({ id, memoryKiB, cpus }) => [id, memoryKiB, cpus.map((cpu) => cpu.id)])).toEqual([
      [0, 984716, [0, 1, 2, 3]],
      [1, 1030844, [4, 5, 6, 7]],
    ]);
    expect(cells[1]?.distances).toEqual([
      { cell: 0, value: 21 },
      { cell: 1, value: 10 },
    ]);
    expect(cells[0]?.pages).toEqual([
      { sizeKiB: 4, count: (984716 - 8 * 2048) / 4, free: 837068 / 4 },
      { sizeKiB: 2048, count: 8, free: 8 },
      { sizeKiB: 1048576, count: 0, free: 0 },
    ]);
  });

  it('knows its memory', async () => {
    const { memory, pages } = await facts(twoCells);
    expect(memory).toMatchObject({ totalKiB: 2015560, freeKiB: 1808528, availableKiB: 1741872 });
    expect(pages[1]).toEqual({ sizeKiB: 2048, count: 16, free: 16 });
  });
});

describe('readHostFacts', () => {
  it('counts threads and dies by their groups', async () => {
    const { topology } = await facts(
      processors([
        [0, 0, 0, '0,4'],
        [0, 0, 1, '1,5'],
        [0, 1, 0, '2,6'],
        [0, 1, 1, '3,7'],
        [0, 0, 0, '0,4'],
        [0, 0, 1, '1,5'],
        [0, 1, 0, '2,6'],
        [0, 1, 1, '3,7'],
      ]),
    );
    expect(topology).toMatchObject({ sockets: 1, diesPerSocket: 2, coresPerDie: 2, threadsPerCore: 2 });
  });

  it('takes one cell for a host without NUMA, and -1 of the kernel for socket 0', async () => {
    const { cells, topology } = await facts({
      ...processors([
        [-1, -1, 0, '0'],
        [-1, -1, 1, '1'],
      ]),
      '/proc/meminfo': 'MemTotal:  1000 kB\nMemFree:  400 kB\n',
    });
    expect(topology.sockets).toBe(1);
    expect(cells).toMatchObject([
      { id: 0, memoryKiB: 1000, freeKiB: 400, distances: [{ cell: 0, value: 10 }] },
    ]);
    expect(cells[0]?.cpus.map((cpu) => [cpu.id, cpu.socketId])).toEqual([
      [0, 0],
      [1, 0],
    ]);
  });

  it('counts processors by /proc/cpuinfo where there is no /sys', async () => {
    const { topology } = await facts({ '/proc/cpuinfo': 'processor : 0\n\nprocessor : 1\n' });
    expect(topology.onlineCpus).toEqual([0, 1]);
  });

  it('sorts IOMMU groups by number', async () => {
    const groups = [10, 2, 0].map((id) => [`/sys/kernel/iommu_groups/${id}/type`, 'DMA\n']);
    expect((await facts(Object.fromEntries(groups))).iommuGroups).toEqual([0, 2, 10]);
  });

  it('reads an ARM processor', async () => {
    const text = 'processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n';
    expect((await facts({ '/proc/cpuinfo': text })).cpu).toEqual({
      vendor: 'ARM',
      model: 0xd0c,
      flags: ['fp', 'asimd'],
    });
  });
});

describe("the host's uuid", () => {
  const machineId = { '/etc/machine-id': '3d1219c7c4c5404aaa1f6d2a48adfda4\n' };

  it.each([
    '00000000-0000-0000-0000-000000000000',
    'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF',
    '03000200-0400-0500-0006-000700080009',
  ])('is not the placeholder %s of a board', async (placeholder) => {
    const { uuid } = await facts({ '/sys/class/dmi/id/product_uuid': `${placeholder}\n`, ...machineId });
    expect(uuid.source).toBe('machine-id');
  });

  it('made from the machine id is stable, a version 8 uuid, and does not show the id', async () => {
    const [first, second] = [(await facts(machineId)).uuid, (await facts(machineId)).uuid];
    expect(first).toEqual(second);
    expect(first.value).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(first.value.replaceAll('-', '')).not.toContain('3d1219c7');
  });

  it('can be set, as can the name', async () => {
    const settings = { hostname: 'one', hostUuid: 'aaaaaaaa-0000-4000-8000-000000000001' };
    expect(await facts(twoCells, settings)).toMatchObject({
      hostname: 'one',
      uuid: { value: settings.hostUuid, source: 'configured' },
    });
  });
});
