import { describe, expect, it } from 'vitest';
import { candidateModels, closestModel } from '../../../src/drivers/qemu/probe/cpu.ts';
import { withoutBroken } from '../../../src/drivers/qemu/probe/interest.ts';

const expanded = (
  vendor: string,
  ...features: string[]
): { name: string; props: Record<string, string | boolean> } => ({
  name: 'base',
  props: { vendor, ...Object.fromEntries(features.map((feature) => [feature, true])), absent: false },
});
const host = expanded('AuthenticAMD', 'sse', 'sse2', 'svm', 'kvmclock', 'hypervisor', 'lahf-lm');

describe('closestModel', () => {
  it('takes the model of the same vendor that differs least, and tells in what', () => {
    const models = new Map([
      ['Opteron_G1', expanded('AuthenticAMD', 'sse')],
      ['Nehalem', expanded('AuthenticAMD', 'sse', 'sse2', 'lahf-lm', 'svm')],
      ['EPYC', expanded('AuthenticAMD', 'sse', 'sse2', 'lahf-lm', 'avx')],
    ]);
    expect(closestModel(host, models)).toEqual({
      name: 'EPYC',
      vendor: 'AuthenticAMD',
      addedFeatures: ['svm'],
      removedFeatures: ['avx'],
    });
  });

  it('takes of two that differ as much the one that has less beyond the host', () => {
    const models = new Map([
      ['EPYC', expanded('AuthenticAMD', 'sse', 'sse2', 'lahf-lm', 'avx')],
      ['Opteron_G1', expanded('AuthenticAMD', 'sse', 'lahf-lm')],
    ]);
    expect(closestModel(host, models)?.name).toBe('Opteron_G1');
  });

  it('leaves a model what QEMU can give, though its own host is without, and VMX in one piece', () => {
    const epyc = expanded('AuthenticAMD', 'sse', 'sse2', 'lahf-lm', 'svm', 'topoext', 'avx', 'vmx-ept');
    const candidate = { ...epyc, unavailableFeatures: ['avx', 'vmx-ept'] };
    expect(closestModel(host, new Map([['EPYC', candidate]]))).toMatchObject({
      addedFeatures: [],
      removedFeatures: ['avx'],
    });
  });

  it('takes another vendor when there is none of its own, and nothing of nothing', () => {
    expect(closestModel(host, new Map([['Nehalem', expanded('GenuineIntel', 'sse')]]))?.name).toBe('Nehalem');
    expect(closestModel(host, new Map())).toBeUndefined();
  });
});

describe('candidateModels', () => {
  const model = (
    name: string,
    unavailable?: string[],
    deprecated = false,
  ): Parameters<typeof candidateModels>[0][0] => ({
    name,
    typename: `${name}-cpu`,
    deprecated,
    ...(unavailable && { unavailableFeatures: unavailable }),
  });

  it('leaves out generic, versioned and deprecated models', () => {
    const models = [
      ...['max', 'host', 'base', 'qemu64', 'kvm32-v1', 'EPYC-v2', 'EPYC'].map((name) => model(name, [])),
      model('Haswell', ['avx2']),
      model('Old', [], true),
      model('Unknown'),
    ];
    expect(candidateModels(models).map(({ name }) => name)).toEqual(['EPYC', 'Haswell', 'Unknown']);
  });
});

describe('withoutBroken', () => {
  it('drops virtio devices whose inner device is in a module that is not installed', () => {
    const listed = [
      'virtio-gpu-gl-pci',
      'virtio-gpu-pci',
      'virtio-gpu-device',
      'virtio-vga',
      'virtio-vga-gl',
      'VGA',
    ];
    expect(withoutBroken(listed)).toEqual(['virtio-gpu-pci', 'virtio-gpu-device', 'virtio-vga', 'VGA']);
  });

  it('keeps what has its inner device under a shorter name', () => {
    const listed = ['virtio-mem', 'virtio-mem-pci', 'virtio-9p-device', 'virtio-9p-pci-transitional'];
    expect(withoutBroken(listed)).toEqual(listed);
  });
});
