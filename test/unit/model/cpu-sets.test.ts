/** Processors as sets of features: compared, and what several have in common. */
import { describe, expect, it } from 'vitest';
import {
  baselineOf,
  commonVendor,
  compareCpu,
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
      vendor: undefined,
      isStrict: false,
      required: ['x'],
      waived: ['avx', 'x'],
      excluded: ['aes'],
      forbidden: [],
    });
    const host = parseCpu(`<cpu><arch>x86_64</arch><model>Small</model><feature name='avx'/></cpu>`);
    expect(host).toMatchObject({
      isGuest: false,
      arch: 'x86_64',
      model: 'Small',
      required: ['avx'],
      excluded: [],
    });
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

describe('a CPU and its host', () => {
  const host = { features: new Set(['aes', 'sse2']), vendor: 'AMD' };
  const compared = (xml: string) => compareCpu(parseCpu(xml), setOf(xml), host);
  const guest = (model: string, rest = '', match = 'exact') =>
    `<cpu mode='custom' match='${match}'><model>${model}</model>${rest}</cpu>`;

  it('fit where it lacks nothing', () => {
    expect(compared(guest('Middle'))).toEqual({ problem: undefined, isIdentical: true });
    expect(compared(guest('Small'))).toEqual({ problem: undefined, isIdentical: false });
    expect(compared(guest('Large'))).toEqual({
      problem: 'Host CPU does not provide required features: avx',
      isIdentical: false,
    });
  });

  it('fit where what the host lacks of the model is optional, or forced', () => {
    for (const policy of ['optional', 'force'])
      expect(compared(guest('Large', `<feature policy='${policy}' name='avx'/>`)).problem).toBeUndefined();
    expect(
      compared(guest('Small', `<feature policy='optional' name='aes'/>`, 'strict')).problem,
    ).toBeUndefined();
  });

  it('do not fit where the host has what is forbidden, or is of another vendor', () => {
    expect(compared(guest('Small', `<feature policy='forbid' name='aes'/>`)).problem).toMatch(
      /forbidden.*aes/,
    );
    expect(compared(guest('Small', `<feature policy='disable' name='aes'/>`)).problem).toBeUndefined();
    expect(compared(guest('Small', '<vendor>Intel</vendor>')).problem).toMatch(/Intel/);
    expect(compared(guest('Small', '<vendor>AMD</vendor>')).problem).toBeUndefined();
  });

  it('fit strictly where the host has nothing that is not named', () => {
    expect(compared(guest('Small', '', 'strict')).problem).toMatch(/more features: aes/);
    expect(compared(guest('Small', '', 'minimum')).problem).toBeUndefined();
    expect(compared(guest('Middle', '', 'strict')).problem).toBeUndefined();
    const disabled = guest('Small', `<feature policy='disable' name='aes'/>`, 'strict');
    expect(compared(disabled).problem).toBeUndefined();
  });
});

describe('the vendor of several', () => {
  const vendorOf = (model: string) => ({ Small: 'Intel', Large: 'AMD' })[model];
  const cpu = (model: string, vendor?: string) =>
    parseCpu(`<cpu><model>${model}</model>${vendor === undefined ? '' : `<vendor>${vendor}</vendor>`}</cpu>`);

  it('is told where each of them says it', () => {
    expect(commonVendor([cpu('Small', 'Intel'), cpu('Middle', 'Intel')], vendorOf)).toBe('Intel');
    expect(commonVendor([cpu('Small', 'Intel'), cpu('Middle')], vendorOf)).toBeUndefined();
    expect(commonVendor([], vendorOf)).toBeUndefined();
  });

  it('must be one, also where only the models tell it', () => {
    for (const other of [cpu('Large'), cpu('Middle', 'AMD')])
      expect(() => commonVendor([cpu('Small'), other], vendorOf)).toThrow('CPU vendors do not match');
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
    expect(formatBaseline(found, { expanded: false, fallback: 'allow', vendor: 'AMD' })).toContain(
      '</model>\n  <vendor>AMD</vendor>\n',
    );
  });
});
