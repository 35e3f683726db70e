/** Parameters of domains: which there are, and what is said of their values. */
import { expect, it } from 'vitest';
import { parameters } from '../../../src/daemon/services/domain-parameter-table.ts';

it('every NUMA mode can be set, and none changes while the guest runs', () => {
  const { numa_mode, numa_nodeset } = parameters.numa;
  const define = (value: number) => numa_mode.set({} as never, value);
  expect(numa_mode.isFixed).toBe(true);
  expect(
    Array.from({ length: numa_mode.most + 1 }, (_, mode) => define(mode).numatune?.memory?.mode),
  ).toEqual(['strict', 'preferred', 'interleave', 'restrictive']);
  expect(numa_nodeset.problem('0-1,^1')).toBeUndefined();
  expect(numa_nodeset.problem('some')).toMatch(/no set of nodes/);
});
