/** Parameters of domains: what no start could honour is not stored. */
import { expect, it } from 'vitest';
import { parameters } from '../../../src/daemon/services/domain-parameter-table.ts';

it('a NUMA mode that no start takes is refused where it is set', () => {
  const { problem, most } = parameters.numa.numa_mode;
  expect(Array.from({ length: most + 1 }, (_, mode) => problem?.(String(mode)))).toEqual([
    undefined,
    undefined,
    undefined,
    expect.stringContaining("'restrictive' is not supported"),
  ]);
});
