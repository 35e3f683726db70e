/** Names, sizes and CPU sets: what is accepted, what is refused, and in which words. */
import { describe, expect, test } from 'vitest';
import { isVirtError } from '../../../src/base/errors.ts';
import { cpuset, cpusetMembers, formatCpuset } from '../../../src/model/domain/cpuset.ts';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { isSafeNewName, nameProblem } from '../../../src/model/domain/names.ts';

describe('names of domains', () => {
  test.each(['web', 'Größe 1', '日本', 'a'.repeat(255), '.hidden', 'a:b,c=d'])('%s can be one', (name) => {
    expect(nameProblem(name)).toBeUndefined();
  });

  test.each([
    ['', 'empty'],
    ['   ', 'white space'],
    ['.', "must not be '.'"],
    ['..', "must not be '..'"],
    ['a/b', "'/'"],
    ['../../etc/passwd', "'/'"],
    ['a\nb', 'control'],
    ['a\u0000b', 'control'],
    ['a\u202eb', 'control'],
    ['a\u2028b', 'control'],
    ['e\u0301', 'normalisation form C'],
    ['ä'.repeat(128), 'longer than 255 bytes'],
  ])('%j cannot', (name, reason) => {
    expect(nameProblem(name)).toContain(reason);
  });

  test('our own create verbs take only plain ones', () => {
    expect(['web', 'web-1', 'A b', '0'].every(isSafeNewName)).toBe(true);
    expect(['', '-web', ' web', 'web ', 'a/b', 'é', 'a'.repeat(65), 'a\n'].some(isSafeNewName)).toBe(false);
  });
});

describe('CPU sets', () => {
  test('are kept in normal form', () => {
    expect(cpuset.parse('0-3,^2,8')).toBe('0-1,3,8');
    expect(cpuset.parse(' 5 , 4,4')).toBe('4-5');
    expect(cpusetMembers('1-3,^1')).toEqual([2, 3]);
    expect(formatCpuset([])).toBe('');
  });

  test.each(['', 'a', '3-1', '0-', '^1', '0-99999', '-1', '1;2', '0,,1'])('%j is refused', (text) => {
    expect(() => cpuset.parse(text)).toThrow();
  });

  test('print and read are each other’s inverse', () => {
    let seed = 42;
    const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
    for (let round = 0; round < 200; round++) {
      const members = new Set(
        Array.from({ length: 1 + Math.floor(random() * 20) }, () => Math.floor(random() * 64)),
      );
      const sorted = [...members].sort((a, b) => a - b);
      expect(cpusetMembers(formatCpuset(sorted))).toEqual(sorted);
    }
  });
});

function withMemory(memory: string): number {
  const xml = `<domain type='qemu'><name>m</name>${memory}<os><type>hvm</type></os></domain>`;
  return parseDomain(xml, { mode: 'strict' }).definition.memory.sizeKiB;
}

function reasonFor(memory: string): string {
  try {
    withMemory(memory);
    return 'accepted';
  } catch (error) {
    return isVirtError(error, 'xml.invalid') ? error.reason : String(error);
  }
}

describe('sizes', () => {
  test.each([
    ['<memory>1</memory>', 1],
    ["<memory unit='b'>1</memory>", 1],
    ["<memory unit='bytes'>1025</memory>", 2],
    ["<memory unit='KB'>1000</memory>", 977],
    ["<memory unit='k'>7</memory>", 7],
    ["<memory unit='MiB'>2</memory>", 2048],
    ["<memory unit='M'>2</memory>", 2048],
    ["<memory unit='MB'>1</memory>", 977],
    ["<memory unit='GiB'> 1 </memory>", 1_048_576],
    ["<memory unit='T'>1</memory>", 2 ** 30],
    ["<memory unit='PiB'>1</memory>", 2 ** 40],
    ["<memory unit='EiB'>1</memory>", 2 ** 50],
  ])('%s is so many KiB', (xml, kib) => {
    expect(withMemory(xml)).toBe(kib);
  });

  test.each([
    ["<memory unit='parsec'>1</memory>", 'is not a unit of memory'],
    ["<memory unit='EiB'>99999</memory>", 'out of range'],
    ['<memory>-1</memory>', 'not a whole number'],
    ['<memory>1e3</memory>', 'not a whole number'],
    ['<memory>0x10</memory>', 'not a whole number'],
    ['<memory>99999999999999999999</memory>', 'not a whole number'],
    ['<memory/>', 'not a whole number'],
    ['<memory>0</memory>', 'missing, or zero'],
    ['', 'missing, or zero'],
    ['<memory>1</memory><memory>2</memory>', 'more than once'],
  ])('%s is refused', (xml, reason) => {
    expect(reasonFor(xml)).toContain(reason);
  });
});
