/** What the defaults make is its definition's own: addresses are written into it in place. */
import { describe, expect, test } from 'vitest';
import { applyDefaults } from '../../../src/model/domain/defaults.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { caseNames, readCase } from '../../golden/argv/cases.ts';

/** All objects in a value; one that is there twice is in `twice`. */
function objectsIn(value: unknown, found = new Set<object>(), twice: object[] = []): typeof twice {
  if (typeof value !== 'object' || value === null) return twice;
  if (found.has(value)) twice.push(value);
  found.add(value);
  for (const part of value instanceof Map ? value.values() : Object.values(value))
    objectsIn(part, found, twice);
  return twice;
}

describe('defaults', () => {
  test.each(caseNames)('of %s are shared with no other definition, nor with its text', (name) => {
    const { definition } = parseDomain(readCase(name), { mode: 'strict' });
    const facts = {
      hostArch: 'x86_64',
      emulatorFor: () => '/usr/bin/qemu-system-x86_64',
      canonicalMachine: (_arch: string, machine = 'pc') => machine,
      newUuid: () => '99999999-2222-4333-8444-000000000000',
      newMac: () => '52:54:00:99:99:99',
    };
    const all = [definition, applyDefaults(definition, facts), applyDefaults(definition, facts)];
    expect(objectsIn(all)).toEqual([]);
  });
});
