/**
 * KVM's ioctls as this project uses them: request numbers, extension numbers, and one short conversation with
 * /dev/kvm. Numbers are from linux/kvm.h (UAPI, kernel 6.1); all requests here are `_IO(KVMIO, nr)`, so the number is
 * `0xAE << 8 | nr` and the argument is an integer passed by value: no struct layout is involved.
 */
import { constants } from 'node:fs';
import { close, FfiError, ioctl, mmapShared, munmap, open } from '../base/ffi.ts';

/** `KVMIO` in linux/kvm.h. */
const KVMIO = 0xae;

/** `_IO(type, nr)` of asm-generic/ioctl.h: direction none, size 0. */
const io = (number: number): number => KVMIO * 256 + number;

/** Requests on /dev/kvm (`system`), on a VM's descriptor, with linux/kvm.h's names. */
export const kvmRequest = {
  KVM_GET_API_VERSION: io(0x00),
  KVM_CREATE_VM: io(0x01),
  KVM_CHECK_EXTENSION: io(0x03),
  KVM_GET_VCPU_MMAP_SIZE: io(0x04),
  /** On a VM's descriptor; the argument is the vCPU's id. */
  KVM_CREATE_VCPU: io(0x41),
} as const;

/** The only API version there has been since Linux 2.6.22; `KVM_API_VERSION` in linux/kvm.h. */
export const KVM_API_VERSION = 12;

/** Extensions that are used by QEMU for us or that are worth reporting: linux/kvm.h, `KVM_CAP_*`. */
export const kvmExtension = {
  irqchip: 0,
  userMemory: 3,
  extCpuid: 7,
  nrVcpus: 9,
  nrMemslots: 10,
  coalescedMmio: 15,
  syncMmu: 16,
  destroyMemoryRegionWorks: 21,
  joinMemoryRegionsWorks: 30,
  irqfd: 32,
  pit2: 33,
  ioeventfd: 36,
  adjustClock: 39,
  hyperv: 44,
  xsave: 55,
  maxVcpus: 66,
  tscDeadlineTimer: 72,
  signalMsi: 77,
  readonlyMem: 81,
  deviceCtrl: 89,
  x86Smm: 117,
  splitIrqchip: 121,
  maxVcpuId: 128,
  x2apicApi: 129,
  immediateExit: 136,
  nestedState: 157,
  manualDirtyLogProtect2: 168,
  dirtyLogRing: 192,
  vmTscControl: 214,
} as const;

export type KvmExtensionName = keyof typeof kvmExtension;

/**
 * Without these QEMU refuses to start under KVM, on every architecture: accel/kvm/kvm-all.c in QEMU 7.2, the table
 * `kvm_required_capabilites`.
 */
export const requiredExtensions = [
  'userMemory',
  'destroyMemoryRegionWorks',
  'joinMemoryRegionsWorks',
] as const satisfies readonly KvmExtensionName[];

/** A KVM call that failed: which, and the errno's name. */
export class KvmCallError extends Error {
  readonly call: string;
  readonly errno: string;

  constructor(call: string, errno: string, cause?: unknown) {
    super(`${call}: ${errno}`, { cause });
    this.name = 'KvmCallError';
    this.call = call;
    this.errno = errno;
  }
}

/** The calls that the probe makes; a test hands in its own. Every one throws KvmCallError. */
export interface KvmCalls {
  /** Opens the device for reading and writing, close-on-exec. */
  open(path: string): number;
  ioctl(fd: number, request: keyof typeof kvmRequest, argument: number): number;
  /** Maps the shared run area of a vCPU (`struct kvm_run`) and unmaps it again. */
  mapOnce(fd: number, lengthBytes: number): void;
  close(fd: number): void;
}

/** What one conversation with /dev/kvm told. */
export interface KvmAnswers {
  readonly apiVersion: number;
  readonly extensions: Readonly<Record<KvmExtensionName, number>>;
  readonly vcpuMmapBytes: number;
}

/** The real calls, by libc. */
export const systemKvmCalls: KvmCalls = {
  open: (path) => named('open', () => open(path, constants.O_RDWR)),
  ioctl: (fd, request, argument) => named(request, () => ioctl(fd, kvmRequest[request], argument)),
  mapOnce: (fd, lengthBytes) =>
    named('mmap', () => {
      munmap(mmapShared(fd, lengthBytes), lengthBytes);
    }),
  close: (fd) => named('close', () => close(fd)),
};

/** Gives a failed libc call the name of what it was for. */
function named<T>(call: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof FfiError) throw new KvmCallError(call, error.code, error);
    throw error;
  }
}

/**
 * Asks /dev/kvm everything and proves that it works: a VM and a vCPU are made, the vCPU's run area is mapped, and all is
 * closed again. No guest code runs.
 * @throws KvmCallError
 */
export function askKvm(calls: KvmCalls, path: string): KvmAnswers {
  return withFd(calls, calls.open(path), (system) => {
    const apiVersion = calls.ioctl(system, 'KVM_GET_API_VERSION', 0);
    // kernel Documentation/virt/kvm/api.rst: an application should refuse to run when the version is not 12, so
    // nothing else is asked of it.
    if (apiVersion !== KVM_API_VERSION) return { apiVersion, extensions: noExtensions(), vcpuMmapBytes: 0 };
    const extensions = askExtensions(calls, system);
    const vcpuMmapBytes = calls.ioctl(system, 'KVM_GET_VCPU_MMAP_SIZE', 0);
    tryVcpu(calls, system, vcpuMmapBytes);
    return { apiVersion, extensions, vcpuMmapBytes };
  });
}

function askExtensions(calls: KvmCalls, system: number): Record<KvmExtensionName, number> {
  const answers = noExtensions();
  for (const name of extensionNames) {
    answers[name] = calls.ioctl(system, 'KVM_CHECK_EXTENSION', kvmExtension[name]);
  }
  return answers;
}

function tryVcpu(calls: KvmCalls, system: number, mmapBytes: number): void {
  // Machine type 0: the default of every architecture (linux/kvm.h, "machine type bits").
  withFd(calls, calls.ioctl(system, 'KVM_CREATE_VM', 0), (vm) => {
    withFd(calls, calls.ioctl(vm, 'KVM_CREATE_VCPU', 0), (vcpu) => {
      calls.mapOnce(vcpu, mmapBytes);
    });
  });
}

function withFd<T>(calls: KvmCalls, fd: number, work: (fd: number) => T): T {
  try {
    return work(fd);
  } finally {
    calls.close(fd);
  }
}

const extensionNames = Object.keys(kvmExtension) as KvmExtensionName[];

function noExtensions(): Record<KvmExtensionName, number> {
  return Object.fromEntries(extensionNames.map((name) => [name, 0])) as Record<KvmExtensionName, number>;
}
