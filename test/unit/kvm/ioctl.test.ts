import { describe, expect, it } from 'vitest';
import { askKvm, KvmCallError, kvmExtension, kvmRequest } from '../../../src/kvm/ioctl.ts';
import { fakeKvm } from './fake-kvm.ts';

describe('KVM request numbers', () => {
  it('are what the kernel header computes', () => {
    // printf of the macros of linux/kvm.h, compiled on x86-64.
    expect(kvmRequest).toEqual({
      KVM_GET_API_VERSION: 0xae00,
      KVM_CREATE_VM: 0xae01,
      KVM_CHECK_EXTENSION: 0xae03,
      KVM_GET_VCPU_MMAP_SIZE: 0xae04,
      KVM_CREATE_VCPU: 0xae41,
    });
  });
});

describe('askKvm', () => {
  it('asks for every extension, makes a vCPU, maps its run area and closes all it opened', () => {
    const kvm = fakeKvm({ extensions: { nrVcpus: 4, maxVcpus: 1024, immediateExit: 1 } });
    const answers = askKvm(kvm.calls, '/dev/kvm');
    expect(answers).toMatchObject({
      apiVersion: 12,
      vcpuMmapBytes: 12288,
      extensions: { nrVcpus: 4, maxVcpus: 1024, immediateExit: 1, x86Smm: 0 },
    });
    expect(Object.keys(answers.extensions)).toEqual(Object.keys(kvmExtension));
    expect(kvm.mapped).toEqual([{ fd: kvm.vcpuFd, lengthBytes: 12288 }]);
    expect(kvm.open).toEqual(new Set());
  });

  it('asks nothing more of an interface of another version', () => {
    const kvm = fakeKvm({ apiVersion: 10 });
    expect(askKvm(kvm.calls, '/dev/kvm').apiVersion).toBe(10);
    expect(kvm.requests).toEqual(['KVM_GET_API_VERSION']);
    expect(kvm.open).toEqual(new Set());
  });

  it.each(['KVM_CREATE_VM', 'KVM_CREATE_VCPU', 'mmap'])(
    'closes what it opened when %s fails, and keeps the errno',
    (call) => {
      const kvm = fakeKvm({ failing: { [call]: 'ENOMEM' } });
      expect(() => askKvm(kvm.calls, '/dev/kvm')).toThrow(new KvmCallError(call, 'ENOMEM'));
      expect(kvm.open).toEqual(new Set());
    },
  );
});
