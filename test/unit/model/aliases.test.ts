/** Names of devices for one who only reads: the same as for a guest that starts, and the definition stays as it was. */
import { describe, expect, test } from 'vitest';
import { clonePlain } from '../../../src/base/clone.ts';
import { assignAliases, withAliases } from '../../../src/model/domain/aliases.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { caseNames, readCase } from '../../golden/argv/cases.ts';

describe('aliases', () => {
  test.each(caseNames)('of %s are the same without a copy of all', (name) => {
    const { definition } = parseDomain(readCase(name), { mode: 'strict' });
    const before = clonePlain(definition);
    expect(withAliases(definition)).toEqual(assignAliases(definition));
    expect(definition).toEqual(before);
  });
});
