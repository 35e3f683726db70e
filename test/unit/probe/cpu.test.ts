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
  it('takes the model of the same vendor with most features, and tells what the host has beyond it', () => {
    const models = new Map([
      ['Small', expanded('AuthenticAMD', 'sse')],
      ['Other', expanded('GenuineIntel', 'sse', 'sse2', 'lahf-lm')],
      ['Good', expanded('AuthenticAMD', 'sse', 'sse2')],
    ]);
    expect(closestModel(host, models)).toEqual({
      name: 'Good',
      vendor: 'AuthenticAMD',
      addedFeatures: ['svm', 'lahf-lm'],
    });
  });

  it('never takes a model that has a feature the host lacks', () => {
    expect(closestModel(host, new Map([['Big', expanded('AuthenticAMD', 'sse', 'avx')]]))).toBeUndefined();
  });

  it('takes another vendor when there is none of its own', () => {
    expect(closestModel(host, new Map([['Intel', expanded('GenuineIntel', 'sse')]]))?.name).toBe('Intel');
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

  it('leaves out generic, versioned, deprecated and unusable models, and those QEMU says nothing about', () => {
    const models = [
      ...['max', 'host', 'base', 'qemu64', 'kvm32-v1', 'EPYC-v2', 'EPYC'].map((name) => model(name, [])),
      model('Haswell', ['avx2']),
      model('Old', [], true),
      model('Unknown'),
    ];
    expect(candidateModels(models).map(({ name }) => name)).toEqual(['EPYC']);
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
