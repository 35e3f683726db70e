/** Which of a domain's virtual CPUs are there: named one by one, counted, changed, and what QEMU cannot do. */
import { describe, expect, it } from 'vitest';
import {
  bootVcpus,
  pluggedVcpus,
  vcpuStateProblems,
  vcpuStates,
  withVcpuCount,
  withVcpusSet,
} from '../../../src/model/domain/vcpu-states.ts';

type Vcpus = Parameters<typeof vcpuStates>[0];
const counted = (count: number, current?: number): Vcpus => ({
  vcpu: { count, ...(current !== undefined && { current }) },
  vcpus: [],
});
/** `N` of QEMU's first moment, `p` plugged in, `-` not there; a number behind is the order. */
const named = (...texts: string[]): Vcpus => ({
  vcpu: { count: texts.length, current: texts.filter((text) => text !== '-').length },
  vcpus: texts.map((text, id) => ({
    id,
    enabled: text !== '-',
    hotpluggable: !text.startsWith('N'),
    ...(text.length > 1 && { order: Number(text.slice(1)) }),
  })),
});
const shown = (definition: Vcpus) =>
  vcpuStates(definition)
    .map(({ enabled, hotpluggable }) => (enabled ? (hotpluggable ? 'p' : 'N') : '-'))
    .join('');

describe('virtual CPUs of a definition', () => {
  it('are the first ones where it only counts, and those that are named where it names them', () => {
    expect(shown(counted(4, 2))).toBe('NN--');
    expect(shown(counted(2))).toBe('NN');
    expect(
      shown({
        vcpu: { count: 3 },
        vcpus: [
          { id: 0, enabled: true },
          { id: 2, enabled: true, hotpluggable: true },
        ],
      }),
    ).toBe('N-p');
    expect(bootVcpus(named('N', '-', 'p', 'N'))).toBe(2);
    expect(pluggedVcpus(named('N1', '-', 'p4', 'p3'))).toEqual([3, 2]);
  });

  it('are stored by count as libvirt does it', () => {
    expect(withVcpuCount(counted(4, 1), 3)).toEqual(counted(4, 3));
    expect(withVcpuCount(counted(4, 1), 4)).toEqual(counted(4));
    expect(shown(withVcpuCount(counted(4, 1), 3, true))).toBe('Npp-');
    // One that comes behind one that can be unplugged can be too.
    expect(shown(withVcpuCount(named('N', 'p', '-', '-'), 3))).toBe('Npp-');
    expect(shown(withVcpuCount(named('N', '-', 'p', '-'), 3))).toBe('NNp-');
    const fewer = withVcpuCount(named('N1', '-', 'p2', 'p3'), 2);
    expect(shown(fewer)).toBe('N-p-');
    expect(fewer.vcpu).toEqual({ count: 4, current: 2 });
    expect(fewer.vcpus.some(({ order }) => order !== undefined)).toBe(false);
  });

  it('are stored one by one, and what no start could have is a problem by its place', () => {
    expect(shown(withVcpusSet(counted(4, 1), [2], true))).toBe('N-p-');
    expect(shown(withVcpusSet(named('N', 'p', 'p', '-'), [1], false))).toBe('N-p-');
    const problems = (definition: Vcpus) =>
      vcpuStateProblems(definition).map(({ path, message }) => `${path} ${message}`);
    expect(problems(withVcpusSet(counted(3), [1], false))).toEqual([
      'vcpus.vcpu[2] CPUs that are not hotpluggable come before those that are',
    ]);
    expect(problems(counted(3, 1))).toEqual([]);
    expect(problems(named('N1', '-', 'p2'))).toEqual([]);
    expect(problems(named('-', 'p'))).toEqual(['vcpus.vcpu[0] the first CPU must be enabled']);
    expect(problems(named('p', 'p'))[0]).toMatch(/^vcpus.vcpu\[0\] the first CPU cannot be plugged in/);
    expect(problems(named('N2', 'p1'))).toEqual(['vcpus.vcpu[0] the first CPU has order 1']);
    expect(problems(named('N1', 'p'))).toEqual([
      'vcpus.vcpu[1] either all enabled CPUs have an order, or none',
    ]);
    expect(problems(named('N1', 'N3', 'N2'))).toEqual([
      'vcpus.vcpu[2] CPUs that are not hotpluggable are in ascending order',
    ]);
    const kept = {
      vcpu: { count: 2 },
      vcpus: [
        { id: 0, enabled: true },
        { id: 1, enabled: false, hotpluggable: false },
      ],
    };
    expect(problems(kept)).toEqual(['vcpus.vcpu[1] a CPU that is not enabled must be hotpluggable']);
  });
});
