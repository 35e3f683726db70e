/** Golden command lines: CASE.xml against recorded capabilities gives CASE.x86_64-VERSION.args, one option a line. */
import { describe, expect, test } from 'vitest';
import { isVirtError } from '../../src/base/errors.ts';
import { parseDomain } from '../../src/model/domain/domain.ts';
import { argsFile, build, caseNames, describeCommand, readCase, recorded } from './argv/cases.ts';

/** The options, or why this QEMU cannot: the recorded QEMU 10 has no SPICE, which is a package of its own there. */
function described(name: string, capabilities: ReturnType<typeof recorded>): string {
  try {
    return describeCommand(build(name, capabilities));
  } catch (error) {
    if (isVirtError(error, 'qemu.lacks')) return `refused: ${error.message}\n`;
    throw error;
  }
}

describe.each(['7.2', '10'])('the command line for QEMU %s', (version) => {
  const capabilities = recorded(version);

  test.each(caseNames)('%s is built as its file says', async (name) => {
    await expect(described(name, capabilities)).toMatchFileSnapshot(argsFile(name, version));
  });

  test.each(caseNames)('%s is built the same each time', (name) => {
    expect(described(name, capabilities)).toBe(described(name, capabilities));
  });
});

describe('coverage', () => {
  /** Families that a definition can have and that make no option of their own. */
  const silent = new Set(['emulator']);

  test('every device family has a golden case', () => {
    const seen = new Set<string>();
    let all: string[] = [];
    for (const name of caseNames) {
      const { devices } = parseDomain(readCase(name), { mode: 'strict' }).definition;
      all = [...new Set([...all, ...Object.keys(devices)])];
      for (const [family, value] of Object.entries(devices))
        if (Array.isArray(value) ? value.length > 0 : value !== undefined) seen.add(family);
    }
    expect(all.filter((family) => !seen.has(family) && !silent.has(family))).toEqual([]);
    expect(seen.size).toBeGreaterThanOrEqual(27);
  });
});
