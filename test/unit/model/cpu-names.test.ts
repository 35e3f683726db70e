/** One feature, three names: the kernel's, QEMU's and libvirt's. */
import { expect, it } from 'vitest';
import {
  featureName,
  namesOfKernelFlag,
  qemuFeatureName,
} from '../../../src/model/capabilities/cpu-names.ts';

it.each([
  ['sha_ni', 'sha-ni'],
  ['sse4_1', 'sse4.1'],
  ['avx512_vnni', 'avx512vnni'],
  ['avx512_vpopcntdq', 'avx512-vpopcntdq'],
  ['cr8_legacy', 'cr8legacy'],
  ['lahf_lm', 'lahf_lm'],
  ['tsc_adjust', 'tsc_adjust'],
  ['pclmulqdq', 'pclmuldq'],
  ['tsc_deadline_timer', 'tsc-deadline'],
  ['nonstop_tsc', 'invtsc'],
  ['aes', 'aes'],
])('the kernel’s %s is libvirt’s %s', (flag, name) => {
  expect(namesOfKernelFlag(flag)).toContain(name);
});

it('goes to QEMU’s name and back', () => {
  for (const name of ['lahf_lm', 'pclmuldq', 'aes', 'sse4.1'])
    expect(featureName(qemuFeatureName(name))).toBe(name);
  expect(qemuFeatureName('pclmuldq')).toBe('pclmulqdq');
});
