import { expect, it } from 'vitest';
import { clonePlain } from '../../../src/base/clone.ts';

it('copies objects, arrays and maps to their depths, and leaves the original alone', () => {
  const original = { a: [{ b: 1n, c: undefined }], m: new Map([['k', { v: 'x' }]]), n: null };
  const copy = clonePlain(original);
  expect(copy).toEqual(original);
  copy.m.set('k', { v: 'y' });
  copy.a.push({ b: 2n, c: undefined });
  expect(original).toEqual({ a: [{ b: 1n, c: undefined }], m: new Map([['k', { v: 'x' }]]), n: null });
});

it('keeps a key whose value is undefined, as the model has them', () => {
  expect(Object.keys(clonePlain({ c: undefined }))).toEqual(['c']);
});

it('refuses what is more than data', () => {
  expect(() => clonePlain({ at: new Date() })).toThrow('no plain data');
});
