/** A /dev/kvm made of plain data, which knows what was asked and what is still open. */
import {
  KvmCallError,
  type KvmCalls,
  type KvmExtensionName,
  kvmExtension,
  type kvmRequest,
} from '../../../src/kvm/ioctl.ts';

export interface FakeKvmOptions {
  readonly apiVersion?: number;
  readonly extensions?: Partial<Record<KvmExtensionName, number>>;
  /** errno by call (`open`, `mmap`, or a request's name). */
  readonly failing?: Readonly<Record<string, string>>;
}

const SYSTEM_FD = 10;
const VM_FD = 11;
const VCPU_FD = 12;

const names = new Map(Object.entries(kvmExtension).map(([name, number]) => [number as number, name]));

/** Extensions that QEMU needs are there unless `extensions` says otherwise. */
export function fakeKvm(options: FakeKvmOptions = {}) {
  const open = new Set<number>();
  const requests: (keyof typeof kvmRequest)[] = [];
  const mapped: { fd: number; lengthBytes: number }[] = [];
  const extensions: Partial<Record<string, number>> = {
    userMemory: 1,
    destroyMemoryRegionWorks: 1,
    joinMemoryRegionsWorks: 1,
    ...options.extensions,
  };
  const pass = (call: string): void => {
    const errno = options.failing?.[call];
    if (errno !== undefined) throw new KvmCallError(call, errno);
  };
  const opened = (fd: number): number => {
    open.add(fd);
    return fd;
  };
  const answer = (fd: number, request: keyof typeof kvmRequest, argument: number): number => {
    switch (request) {
      case 'KVM_GET_API_VERSION':
        return options.apiVersion ?? 12;
      case 'KVM_CHECK_EXTENSION':
        return extensions[names.get(argument) ?? ''] ?? 0;
      case 'KVM_GET_VCPU_MMAP_SIZE':
        return 12288;
      case 'KVM_CREATE_VM':
        return opened(VM_FD);
      case 'KVM_CREATE_VCPU':
        if (fd !== VM_FD) throw new KvmCallError(request, 'ENOTTY');
        return opened(VCPU_FD);
    }
  };
  const calls: KvmCalls = {
    open: () => {
      pass('open');
      return opened(SYSTEM_FD);
    },
    ioctl: (fd, request, argument) => {
      if (!open.has(fd)) throw new KvmCallError(request, 'EBADF');
      requests.push(request);
      pass(request);
      return answer(fd, request, argument);
    },
    mapOnce: (fd, lengthBytes) => {
      pass('mmap');
      mapped.push({ fd, lengthBytes });
    },
    close: (fd) => {
      if (!open.delete(fd)) throw new KvmCallError('close', 'EBADF');
    },
  };
  return { calls, open, requests, mapped, vcpuFd: VCPU_FD };
}
