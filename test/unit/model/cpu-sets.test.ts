/** Processors as sets of features: compared, and what several have in common. */
import { describe, expect, it } from 'vitest';
import {
  baselineOf,
  compareFeatures,
  featuresOfCpu,
  formatBaseline,
  parseCpu,
} from '../../../src/model/capabilities/cpu-sets.ts';

const models = new Map([
  ['Small', ['sse2']],
  ['Middle', ['aes', 'sse2']],
  ['Twin', ['aes', 'sse2']],
  ['Large', ['aes', 'avx', 'sse2']],
]);
const setOf = (xml: string) => featuresOfCpu(parseCpu(xml), models);

describe('a CPU', () => {
  it("is read from a guest's element and from a host's", () => {
    const guest = parseCpu(
      `<cpu mode='custom'><model fallback='allow'>Middle</model><feature policy='disable' name='aes'/><feature policy='optional' name='avx'/><feature policy='force' name='x'/></cpu>`,
    );
    expect(guest).toEqual({
      isGuest: true,
      arch: undefined,
      model: 'Middle',
      required: ['x'],
      excluded: ['aes'],
    });
    const host = parseCpu(`<cpu><arch>x86_64</arch><model>Small</model><feature name='avx'/></cpu>`);
    expect(host).toEqual({ isGuest: false, arch: 'x86_64', model: 'Small', required: ['avx'], excluded: [] });
  });

  it.each([
    ['<domain/>', 'xml.invalid'],
    ['<cpu><feature/></cpu>', 'xml.invalid'],
    ['<cpu>', 'xml.malformed'],
  ])('%s is refused', (xml, code) => {
    expect(() => parseCpu(xml)).toThrow(expect.objectContaining({ code }));
  });

  it('has the features of its model, with those it adds and without those it excludes', () => {
    const xml = `<cpu mode='custom'><model>Middle</model><feature policy='disable' name='aes'/><feature policy='require' name='avx'/></cpu>`;
    expect([...setOf(xml)]).toEqual(['sse2', 'avx']);
    expect(() => setOf('<cpu><model>None</model></cpu>')).toThrow('Unknown CPU model None');
  });
});

it('is compared by what the other lacks', () => {
  const host = new Set(['aes', 'sse2']);
  expect(compareFeatures(new Set(['aes', 'sse2']), host)).toEqual({ missing: [], isIdentical: true });
  expect(compareFeatures(new Set(['sse2']), host)).toEqual({ missing: [], isIdentical: false });
  expect(compareFeatures(new Set(['vmx', 'avx']), host)).toEqual({
    missing: ['avx', 'vmx'],
    isIdentical: false,
  });
});

describe('what several have in common', () => {
  it('is the richest model that has nothing else, and the rest as features', () => {
    const found = baselineOf(
      [new Set(['aes', 'avx', 'sse2']), new Set(['aes', 'pni', 'sse2'])],
      models,
      new Set(),
    );
    expect(found).toEqual({ model: 'Middle', added: [], all: ['aes', 'sse2'] });
    expect(baselineOf([new Set(['sse2', 'x'])], models, new Set())).toEqual({
      model: 'Small',
      added: ['x'],
      all: ['sse2', 'x'],
    });
  });

  it('prefers a model that was named, and is nothing when none fits', () => {
    expect(baselineOf([new Set(['aes', 'sse2'])], models, new Set(['Twin']))?.model).toBe('Twin');
    expect(baselineOf([new Set(['aes'])], models, new Set())).toBeUndefined();
    expect(baselineOf([], models, new Set())).toBeUndefined();
  });

  it('is written as a guest gets it, with all features when that is asked', () => {
    const found = { model: 'Small', added: ['x'], all: ['sse2', 'x'] };
    expect(formatBaseline(found, { expanded: false, fallback: 'forbid' }).trim()).toBe(
      `<cpu mode='custom' match='exact'>\n  <model fallback='forbid'>Small</model>\n  <feature policy='require' name='x'/>\n</cpu>`,
    );
    expect(formatBaseline(found, { expanded: true, fallback: 'allow' })).toContain(`name='sse2'`);
  });
});
