/**
 * AMD SEV as the kernel offers it: whether guests with encrypted memory can be had, why not and what repairs it, and how
 * many there can be (kernel: arch/x86/kvm/svm/sev.c, drivers/crypto/ccp).
 */
import { constants } from 'node:fs';
import { close, FfiError, ioctlBuffer, open } from '../base/ffi.ts';
import type { CpuInfo } from './cpu-info.ts';
import { parseCpuInfo, runsUnderHypervisor } from './cpu-info.ts';
import type { HostFiles } from './host-files.ts';

/** The node of the secure processor: QEMU opens it by itself for each such guest. */
export const SEV_DEVICE = '/dev/sev';

/** The three generations, by the names of kvm_amd's parameters; flags in /proc/cpuinfo are called the same. */
const generations = { sev: 'SEV', sev_es: 'SEV-ES', sev_snp: 'SEV-SNP' } as const;
type Generation = keyof typeof generations;

/** Why something cannot be had, and what to do about it. */
export interface SevProblem {
  readonly reason: string;
  readonly repair: string;
}

const ELSEWHERE = 'run the guest without <launchSecurity>, or on a host with an AMD EPYC processor';

/** Hygon's processors are of AMD's making. */
export function isOfAmd(vendor: string | undefined): boolean {
  return vendor === 'AuthenticAMD' || vendor === 'HygonGenuine';
}

/**
 * Why guests of that generation cannot be had here; undefined when nothing speaks against it.
 * @param guestsUnprivileged QEMU runs under other users than root
 */
export function sevProblem(
  files: HostFiles,
  generation: Generation,
  options: { readonly arch: string; readonly guestsUnprivileged: boolean },
): SevProblem | undefined {
  const name = generations[generation];
  const cpu = parseCpuInfo(files.read('/proc/cpuinfo') ?? '');
  if (options.arch !== 'x86_64' || !isOfAmd(cpu.vendor))
    return { reason: `${name} is a feature of AMD's processors, and this host has none`, repair: ELSEWHERE };
  if (!cpu.flags.includes(generation)) return processorProblem(cpu, name);
  return moduleProblem(files, generation) ?? nodeProblem(files, options.guestsUnprivileged);
}

function processorProblem(cpu: CpuInfo, name: string): SevProblem {
  if (runsUnderHypervisor(cpu))
    return {
      reason: `this host is a virtual machine, and ${name} is not passed on to it`,
      repair: ELSEWHERE,
    };
  return {
    reason: `the processor does not show ${name}: it has none, or the firmware keeps it off`,
    repair: `in the firmware's set-up switch on SVM and memory encryption (SMEE, ${name} control); for SEV-ES and SEV-SNP also set the "SEV-ES ASID space limit" above 1. Else ${ELSEWHERE}`,
  };
}

function moduleProblem(files: HostFiles, generation: Generation): SevProblem | undefined {
  if (!files.exists('/sys/module/kvm_amd'))
    return { reason: 'the module kvm_amd is not loaded', repair: 'modprobe kvm_amd' };
  const value = files.read(`/sys/module/kvm_amd/parameters/${generation}`)?.trim();
  if (value !== undefined && /^[yY1]$/.test(value)) return undefined;
  const name = generations[generation];
  if (value === undefined)
    return {
      reason: `the kernel's kvm_amd knows no ${name}`,
      repair: `use a kernel with CONFIG_KVM_AMD_SEV${generation === 'sev_snp' ? ', 6.11 or later' : ''}`,
    };
  return {
    reason: `${name} is switched off in kvm_amd, or the secure processor did not come up`,
    repair: `echo 'options kvm_amd ${generation}=1' > /etc/modprobe.d/vireo-sev.conf; with no guest running: modprobe -r kvm_amd; modprobe kvm_amd; when it stays off: dmesg | grep -iE 'ccp|sev'`,
  };
}

function nodeProblem(files: HostFiles, guestsUnprivileged: boolean): SevProblem | undefined {
  const node = files.stat(SEV_DEVICE);
  if (node === undefined)
    return {
      reason: `${SEV_DEVICE} is not there: the driver of the secure processor is not loaded, or did not come up`,
      repair:
        "modprobe ccp; when it stays away: dmesg | grep -i ccp (Debian's amd64-microcode has its firmware)",
    };
  if (!guestsUnprivileged || sevGroupsOf(node) !== undefined) return undefined;
  return {
    reason: `${SEV_DEVICE} is open to root only, and guests do not run as root`,
    repair: `as root: groupadd -rf sev; echo 'KERNEL=="sev", GROUP="sev", MODE="0660"' > /etc/udev/rules.d/65-vireo-sev.rules; chgrp sev ${SEV_DEVICE} && chmod 0660 ${SEV_DEVICE}`,
  };
}

/** The groups that a guest's QEMU needs to open the node; undefined when no group would help. */
export function sevGroupsOf(node: { readonly mode: number; readonly gid: number }): number[] | undefined {
  if ((node.mode & 0o006) === 0o006) return [];
  return (node.mode & 0o060) === 0o060 && node.gid !== 0 ? [node.gid] : undefined;
}

/** How many such guests there can be at a time. */
export interface SevLimits {
  /** With encrypted memory only. */
  readonly maxGuests: number;
  /** With encrypted registers too: SEV-ES and SEV-SNP. */
  readonly maxEsGuests: number;
}

/** linux/kvm.h: `_IOWR(KVMIO, 0x05, struct kvm_cpuid2)`; the struct is u32 nent, u32 padding, then the entries. */
const KVM_GET_SUPPORTED_CPUID = 0xc008ae05;
/** struct kvm_cpuid_entry2: u32 function, index, flags, eax, ebx, ecx, edx, padding[3]. */
const ENTRY_BYTES = 40;
/** arch/x86/kvm/cpuid.c fills at most KVM_MAX_CPUID_ENTRIES; a smaller table may be answered with E2BIG. */
const MAX_ENTRIES = 256;
/** CPUID leaf of memory encryption (AMD 24594, Fn8000_001F): ECX the last ASID, EDX the first without SEV-ES. */
const LEAF = 0x8000_001f;

/** Asks KVM what it would tell guests; both 0 where it tells nothing of memory encryption, or cannot be asked. */
export function readSevLimits(device = '/dev/kvm'): SevLimits {
  const table = Buffer.alloc(8 + MAX_ENTRIES * ENTRY_BYTES);
  table.writeUInt32LE(MAX_ENTRIES, 0);
  try {
    const fd = open(device, constants.O_RDWR);
    try {
      ioctlBuffer(fd, KVM_GET_SUPPORTED_CPUID, table);
    } finally {
      close(fd);
    }
  } catch (error) {
    if (error instanceof FfiError) return { maxGuests: 0, maxEsGuests: 0 };
    throw error;
  }
  return sevLimitsOf(table);
}

/** Reads the answer of KVM_GET_SUPPORTED_CPUID. Pure. */
export function sevLimitsOf(table: Buffer): SevLimits {
  const count = Math.min(table.readUInt32LE(0), MAX_ENTRIES);
  for (let index = 0; index < count; index++) {
    const entry = table.subarray(8 + index * ENTRY_BYTES);
    if (entry.readUInt32LE(0) !== LEAF) continue;
    const [last, first] = [entry.readUInt32LE(20), entry.readUInt32LE(24)];
    if (last === 0 || first === 0) break;
    return { maxGuests: last - first + 1, maxEsGuests: first - 1 };
  }
  return { maxGuests: 0, maxEsGuests: 0 };
}
