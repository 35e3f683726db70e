/** -cpu: what a definition's <cpu> comes to, and what is refused before QEMU would end at it. */
import { describe, expect, it } from 'vitest';
import { buildCommand } from '../../../src/drivers/qemu/argv/build.ts';
import type { AcceleratorCapabilities, QemuCapabilities } from '../../../src/drivers/qemu/probe/types.ts';
import { withSettledCpu } from '../../../src/drivers/qemu/settled-cpu.ts';
import { complete, context, recorded } from '../../golden/argv/cases.ts';

const qemu = recorded('7.2');

/** The recorded QEMU, whose host is what a test says. */
function withHost(change: (tcg: AcceleratorCapabilities) => AcceleratorCapabilities): QemuCapabilities {
  const { tcg } = qemu.accelerators;
  if (tcg === undefined) throw new Error('recorded without TCG');
  return { ...qemu, accelerators: { ...qemu.accelerators, tcg: change(tcg) } };
}

const xmlOf = (cpu: string) =>
  `<domain type='qemu'><name>a</name><memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>${cpu}</domain>`;

/** The pairs of -cpu, in one line. */
function cpuOf(cpu: string, capabilities = qemu): string {
  const command = buildCommand(complete(xmlOf(cpu), capabilities), capabilities, context);
  const value = command.args.find(({ flag }) => flag === '-cpu')?.value;
  if (typeof value !== 'object' || !('pairs' in value)) throw new Error('no -cpu');
  const given = value.pairs.filter(([, option]) => option !== undefined);
  return given.map(([key, option]) => (key === '' ? String(option) : `${key}=${String(option)}`)).join();
}

const custom = (inner: string, attributes = '') =>
  `<cpu mode='custom' match='exact' ${attributes}><model>qemu64</model>${inner}</cpu>`;
const feature = (policy: string, name: string) => `<feature policy='${policy}' name='${name}'/>`;

describe('caches', () => {
  it('of a named model are emulated or not; only models that follow the host know the host’s', () => {
    expect(cpuOf(custom(`<cache level='3' mode='emulate'/>`))).toBe('qemu64,l3-cache=true');
    expect(cpuOf(custom(`<cache mode='disable'/>`))).toBe('qemu64,l3-cache=false');
    expect(cpuOf(`<cpu mode='maximum'><cache mode='passthrough'/></cpu>`)).toBe(
      'max,host-cache-info=true,l3-cache=false',
    );
    expect(cpuOf(`<cpu mode='maximum'><cache mode='disable'/></cpu>`)).toBe(
      'max,l3-cache=false,host-cache-info=false',
    );
  });
});

describe('features', () => {
  it('have QEMU’s own names', () => {
    const listed = feature('require', 'lahf_lm') + feature('disable', 'pclmuldq');
    expect(cpuOf(custom(listed))).toBe('qemu64,lahf-lm=true,pclmulqdq=false');
  });

  it('that are optional are there where the host has them, and switched off elsewhere', () => {
    const listed =
      feature('optional', 'aes') + feature('optional', 'avx512f') + feature('optional', 'lahf_lm');
    expect(cpuOf(custom(listed))).toBe('qemu64,aes=true,avx512f=false,lahf-lm=true');
  });

  it('that QEMU has no switch for are refused where they are needed, and else left out', () => {
    expect(() => cpuOf(custom(feature('require', 'nonsense')))).toThrow(
      /cpu\.feature\[0\]: this QEMU knows no feature 'nonsense'/,
    );
    expect(cpuOf(custom(feature('disable', 'nonsense') + feature('optional', 'other')))).toBe('qemu64');
  });
});

it('passes on whether a maximum CPU can be migrated', () => {
  expect(cpuOf(`<cpu mode='maximum' migratable='off'/>`)).toBe('max,migratable=false');
});

describe(`check='partial'`, () => {
  const check = `check='partial'`;
  const lacking = withHost((tcg) => ({
    ...tcg,
    cpuModels: tcg.cpuModels.map((model) =>
      model.name === 'qemu64' ? { ...model, unavailableFeatures: ['lahf-lm', 'vmx-ept'] } : model,
    ),
  }));

  it('refuses a model of which the host lacks something, and names it', () => {
    expect(() => cpuOf(custom('', check), lacking)).toThrow(/cpu: this host's CPU does not provide lahf_lm;/);
    expect(cpuOf(custom('', `check='none'`), lacking)).toBe('qemu64');
  });

  it('takes it without that', () => {
    expect(cpuOf(custom(feature('disable', 'lahf_lm'), check), lacking)).toBe('qemu64,lahf-lm=false');
  });

  it('refuses a host that has what is forbidden; unchecked, the guest is without it', () => {
    expect(() => cpuOf(custom(feature('forbid', 'aes'), check))).toThrow(/'aes' is forbidden/);
    expect(cpuOf(custom(feature('forbid', 'avx512f'), check))).toBe('qemu64,avx512f=false');
    expect(cpuOf(custom(feature('forbid', 'aes'), `check='none'`))).toBe('qemu64,aes=false');
  });

  it('refuses a feature that the host lacks, unless it is only not shown', () => {
    expect(() => cpuOf(custom(feature('require', 'avx512f'), check))).toThrow(/does not provide avx512f/);
    expect(cpuOf(custom(feature('force', 'avx512f'), check))).toBe('qemu64,avx512f=true');
    for (const name of ['invtsc', 'topoext'])
      expect(cpuOf(custom(feature('require', name), check))).toBe(`qemu64,${name}=true`);
  });
});

it('takes a strict match unchecked only', () => {
  const strict = (check: string) => `<cpu mode='custom' match='strict' ${check}><model>qemu64</model></cpu>`;
  expect(cpuOf(strict(''))).toBe('qemu64');
  expect(() => cpuOf(strict(`check='full'`))).toThrow(/cpu\.match: 'strict'/);
});

describe('host-model', () => {
  const near = withHost((tcg) => ({
    ...tcg,
    cpuModels: tcg.cpuModels.map((model) =>
      model.name === 'EPYC' ? { ...model, unavailableFeatures: ['rdseed'] } : model,
    ),
    closestModel: {
      name: 'EPYC',
      vendor: 'AuthenticAMD',
      addedFeatures: ['pclmulqdq', 'la57'],
      removedFeatures: ['rdseed'],
    },
  }));

  it('is the model nearest to the host, with what it lacks and without what the host lacks', () => {
    expect(cpuOf(`<cpu mode='host-model'/>`, near)).toBe('EPYC,la57=true,pclmulqdq=true,rdseed=false');
    expect(cpuOf(`<cpu mode='host-model'>${feature('disable', 'la57')}</cpu>`, near)).toBe(
      'EPYC,pclmulqdq=true,rdseed=false,la57=false',
    );
  });

  it('is what a CPU of no less than a model comes to, where the host has that', () => {
    const minimum = (model: string, rest = '') =>
      `<cpu mode='custom' match='minimum'><model>${model}</model>${rest}</cpu>`;
    expect(cpuOf(minimum('qemu64'), near)).toBe('EPYC,la57=true,pclmulqdq=true,rdseed=false');
    expect(() => cpuOf(minimum('EPYC'), near)).toThrow(/does not provide rdseed/);
    expect(() => cpuOf(minimum('qemu64', feature('require', 'avx512f')), near)).toThrow(/avx512f/);
    const running = withSettledCpu(complete(xmlOf(minimum('qemu64')), near), near);
    expect(running.cpu).toMatchObject({ match: 'exact', model: { name: 'EPYC' } });
  });

  it('has optional features there or not, in what runs', () => {
    const listed = feature('optional', 'aes') + feature('optional', 'avx512f');
    const running = withSettledCpu(complete(xmlOf(custom(listed)), near), near);
    expect(running.cpu).toMatchObject({
      model: { name: 'qemu64' },
      features: [
        { policy: 'require', name: 'aes' },
        { policy: 'disable', name: 'avx512f' },
      ],
    });
  });

  it('stands as that in the definition that runs, which comes to the same', () => {
    const definition = complete(xmlOf(`<cpu mode='host-model'/>`), near);
    const running = withSettledCpu(definition, near);
    expect(running.cpu).toMatchObject({
      mode: 'custom',
      match: 'exact',
      check: 'partial',
      model: { name: 'EPYC', fallback: 'forbid' },
      vendor: 'AMD',
      features: [
        { policy: 'require', name: 'la57' },
        { policy: 'require', name: 'pclmuldq' },
        { policy: 'disable', name: 'rdseed' },
      ],
    });
    const argv = (one: typeof definition) =>
      buildCommand(one, near, context).args.find(({ flag }) => flag === '-cpu');
    expect(argv(running)).toEqual(argv(definition));
    expect(withSettledCpu(running, near)).toBe(running);
  });
});
