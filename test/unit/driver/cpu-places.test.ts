/** Places for virtual CPUs: which are filled and emptied, and what is asked of QEMU, without one. */
import { describe, expect, it } from 'vitest';
import { changeForCount, changeForCpus, withCpuPlaces } from '../../../src/drivers/cpu-places.ts';
import type { CpuPlace } from '../../../src/drivers/live-tuning.ts';
import {
  cpuPlaces,
  plugCpus,
  refuseEmulatedUnplug,
  unplugCpus,
} from '../../../src/drivers/qemu/tuning/cpus.ts';
import { withPluggedCpus } from '../../../src/drivers/qemu/tuning/start-cpus.ts';
import { QemuTuning } from '../../../src/drivers/qemu/tuning/tuning.ts';

/** `N` there from the beginning, `p` plugged in, `-` free. */
const places = (text: string, count = 1): CpuPlace[] =>
  Array.from(text, (one, index) => ({
    first: index * count,
    count,
    isPresent: one !== '-',
    ...(one === 'p' && { alias: `vcpu${index * count}` }),
    ...(one !== '-' && { order: index + 1 }),
  }));
const refused = (reason: RegExp) =>
  expect.objectContaining({ code: 'request.invalid', reason: expect.stringMatching(reason) });

describe('places for CPUs', () => {
  it('are filled from below and emptied from above, those of the beginning last', () => {
    const change = (text: string, count: number) => changeForCount(places(text), count, 'w');
    expect(change('N-p-', 4)).toEqual({ plug: [1, 3], unplug: [] });
    expect(change('NN-p', 2)).toEqual({ plug: [], unplug: [3] });
    expect(change('NpNp', 1)).toEqual({ plug: [], unplug: [3, 1, 2] });
    expect(change('NN', 2)).toEqual({ plug: [], unplug: [] });
    expect(() => changeForCount(places('N-', 2), 3, 'w')).toThrow(refused(/groups of several/));
    expect(changeForCount(places('N-', 2), 4, 'w')).toEqual({ plug: [2], unplug: [] });
  });

  it('are chosen one by one, whatever is there above', () => {
    const change = (ids: number[], enabled: boolean) => changeForCpus(places('N-pp'), ids, enabled, 'w');
    expect(change([1], true)).toEqual({ plug: [1], unplug: [] });
    expect(change([2, 3], false)).toEqual({ plug: [], unplug: [3, 2] });
    expect(() => change([2], true)).toThrow(refused(/vcpu '2' is already in requested state/));
    expect(() => change([0], false)).toThrow(refused(/vCPU '0' can't be modified/));
    const core = () => changeForCpus(places('Np', 2), [3], false, 'w');
    expect(core).toThrow(refused(/vcpu '2' was not selected, but it comes and goes together/));
  });

  it('are named in the running definition as soon as one was plugged in, or there is a gap', () => {
    const after = (text: string) => withCpuPlaces({ vcpu: { count: 4 }, vcpus: [] } as never, places(text));
    expect(after('NN--')).toEqual({ vcpu: { count: 4, current: 2 }, vcpus: [] });
    expect(after('NNNN')).toEqual({ vcpu: { count: 4 }, vcpus: [] });
    expect(after('N-p-').vcpus).toEqual([
      { id: 0, enabled: true, hotpluggable: false, order: 1 },
      { id: 1, enabled: false, hotpluggable: true },
      { id: 2, enabled: true, hotpluggable: true, order: 3 },
      { id: 3, enabled: false, hotpluggable: true },
    ]);
    // A state that is saved now must find its CPUs again: -smp gives none behind a gap.
    expect(after('N-NN').vcpus.map(({ hotpluggable }) => hotpluggable)).toEqual([false, true, true, true]);
  });
});

describe('what QEMU is asked', () => {
  const qmp = (present: Record<number, string>, cores = 1) => {
    const asked: [string, object | undefined][] = [];
    const execute = async (command: string, args?: Record<string, unknown>) => {
      asked.push([command, args]);
      if (command === 'device_add')
        present[Number(args?.['core-id'])] = `/machine/peripheral/${String(args?.['id'])}`;
      if (command === 'device_del')
        for (const [core, path] of Object.entries(present))
          if (path.endsWith(String(args?.['id']))) delete present[Number(core)];
      if (command === 'query-cpus-fast')
        return Object.entries(present).flatMap(([core, path]) =>
          Array.from({ length: cores }, (_, thread) => ({
            'cpu-index': Number(core) * cores + thread,
            'thread-id': 100 + Number(core),
            'qom-path': cores === 1 ? path : `${path}/thread[${thread}]`,
          })),
        );
      if (command !== 'query-hotpluggable-cpus') return {};
      return [3, 2, 1, 0].map((core) => ({
        type: 'some-cpu',
        'vcpus-count': cores,
        props: { 'core-id': core },
        ...(present[core] !== undefined && { 'qom-path': present[core] }),
      }));
    };
    return { client: { execute } as never, asked };
  };
  const boot = { 0: '/machine/unattached/device[0]' };

  it('where its CPUs are, in the order in which they came', async () => {
    const { client } = qmp({ ...boot, 2: '/machine/peripheral/vcpu4' }, 2);
    expect(await cpuPlaces(client)).toEqual([
      { first: 0, count: 2, isPresent: true, order: 1 },
      { first: 2, count: 2, isPresent: false },
      { first: 4, count: 2, isPresent: true, alias: 'vcpu4', order: 2 },
      { first: 6, count: 2, isPresent: false },
    ]);
  });

  it('to plug and unplug by number, those of the beginning by their path', async () => {
    const { client, asked } = qmp({ ...boot, 1: '/machine/unattached/device[1]' });
    await plugCpus(client, [3]);
    await unplugCpus(client, [3, 1]);
    expect(asked.filter(([command]) => command.startsWith('device'))).toEqual([
      ['device_add', { driver: 'some-cpu', id: 'vcpu3', 'core-id': 3 }],
      ['device_del', { id: 'vcpu3' }],
      ['device_del', { id: '/machine/unattached/device[1]' }],
    ]);
  });

  it('to take no CPU from an emulated guest while it would crash of that', async () => {
    const version = (major: number) => ({ version: { major, minor: 2, micro: 0, package: '' } });
    expect(() => refuseEmulatedUnplug(version(7))).toThrow(/QEMU 7.2 keeps using a CPU that is gone/);
    expect(() => refuseEmulatedUnplug(version(10))).not.toThrow();
  });

  it('to take CPUs away by their numbers alone where the guest has an accelerator, or QEMU is new enough', async () => {
    const tuning = (type: string, major: number) => {
      const rig = qmp({ ...boot, 2: '/machine/peripheral/vcpu2' });
      Object.assign(rig.client, { version: { major, minor: 2, micro: 0, package: '' } });
      const definition = () => ({ type }) as never;
      return { ...rig, tuning: new QemuTuning({ qmp: () => rig.client, definition, directory: '/d' }) };
    };
    for (const [type, major] of [
      ['kvm', 7],
      ['qemu', 10],
    ] as const) {
      const { tuning: one, asked } = tuning(type, major);
      await one.unplugCpus([2]);
      expect(asked.filter(([command]) => command.startsWith('device'))).toEqual([
        ['device_del', { id: 'vcpu2' }],
      ]);
    }
    const old = tuning('qemu', 7);
    expect(() => old.tuning.unplugCpus([2])).toThrow(
      expect.objectContaining({ code: 'request.unsupported', hint: expect.stringContaining('--guest') }),
    );
    expect(old.asked).toEqual([]);
  });

  it('to plug what a definition has behind a gap before its guest runs', async () => {
    const state = (id: number, text: string) => ({
      id,
      enabled: text !== '-',
      hotpluggable: text !== 'N',
      ...(Number(text) > 0 && { order: Number(text) }),
    });
    const definition = (...texts: string[]) =>
      ({ name: 'd', vcpu: { count: 4 }, vcpus: texts.map((text, id) => state(id, text)) }) as never;
    const { client, asked } = qmp({ ...boot });
    const { vcpu, vcpus } = await withPluggedCpus(definition('N', '-', '3', '2'), client);
    expect(asked.flatMap(([command, args]) => (command === 'device_add' ? [args] : []))).toMatchObject([
      { id: 'vcpu3' },
      { id: 'vcpu2' },
    ]);
    expect(vcpu).toEqual({ count: 4, current: 3 });
    expect(vcpus.map(({ enabled }) => enabled)).toEqual([true, false, true, true]);
    await expect(
      withPluggedCpus(definition('N', '-', '2', '2'), qmp({ ...boot }).client),
    ).rejects.toMatchObject({
      code: 'definition.unsupported',
      reason: expect.stringMatching(/order 2 is given twice/),
    });
  });
});
