import { describe, expect, it } from 'vitest';
import { parseCpuList } from '../../../src/kvm/cpu-list.ts';

describe('parseCpuList', () => {
  it.each([
    ['0-3,8\n', [0, 1, 2, 3, 8]],
    ['5', [5]],
    ['\n', []],
  ])('reads %j', (text, numbers) => {
    expect(parseCpuList(text)).toEqual(numbers);
  });

  it.each(['3-1', 'a', '1-', '-1', '0-99999999999', '1 2'])('refuses %j', (text) => {
    expect(parseCpuList(text)).toBeUndefined();
  });
});
