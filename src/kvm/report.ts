/** The one structured report on KVM: usable or not, what it offers, and otherwise why not and what repairs it. */
import { machine } from 'node:os';
import { VirtError } from '../base/errors.ts';
import { currentIdentity, type ProcessIdentity } from './access.ts';
import {
  parseCpuInfo,
  runsUnderHypervisor,
  type VirtualizationFlag,
  virtualizationFlag,
} from './cpu-info.ts';
import { diagnoseAnswers, diagnoseFailure, diagnoseRootOnly } from './diagnose.ts';
import { type HostFiles, hostFiles } from './host-files.ts';
import {
  askKvm,
  type KvmAnswers,
  KvmCallError,
  type KvmCalls,
  type KvmExtensionName,
  systemKvmCalls,
} from './ioctl.ts';
import { type KvmModule, readKvmModule } from './module.ts';

type KvmProblemCode =
  | 'no-node'
  | 'no-permission'
  | 'not-a-device'
  | 'module-not-loaded'
  | 'no-cpu-flag'
  | 'bios-off'
  | 'too-old'
  | 'busy'
  | 'ioctl-failed';

/** Why KVM cannot be used, and what to do about it. */
export interface KvmProblem {
  readonly code: KvmProblemCode;
  readonly reason: string;
  readonly repair: string;
  /** The group that would give permission ('no-permission' only). */
  readonly group?: string;
}

export interface KvmReport {
  readonly usable: boolean;
  readonly device: string;
  /** The host's architecture, uname's word. */
  readonly arch: string;
  /** Undefined when /dev/kvm did not answer. */
  readonly apiVersion?: number;
  /** Answers of KVM_CHECK_EXTENSION; all 0 when /dev/kvm did not answer. */
  readonly extensions: Readonly<Partial<Record<KvmExtensionName, number>>>;
  /** vCPUs per guest: the kernel's recommendation and its limit. */
  readonly vcpus: { readonly recommended: number; readonly max: number };
  /** Size of a vCPU's shared run area. */
  readonly vcpuMmapBytes: number;
  readonly cpu: {
    readonly vendor: string | undefined;
    readonly flag: VirtualizationFlag | undefined;
    /** This host is itself a virtual machine. */
    readonly underHypervisor: boolean;
  };
  readonly module: KvmModule;
  readonly problem?: KvmProblem;
}

/** What the probe works on; everything has a real default. */
export interface KvmProbeOptions {
  readonly device?: string;
  readonly files?: HostFiles;
  readonly calls?: KvmCalls;
  readonly identity?: ProcessIdentity;
  readonly arch?: string;
  /** QEMU will run under other users than this process: then a node for root only is a problem too. */
  readonly guestsUnprivileged?: boolean;
}

/** What a diagnosis can look at. */
export interface KvmContext {
  readonly device: string;
  readonly files: HostFiles;
  readonly identity: ProcessIdentity;
  readonly arch: string;
  readonly cpu: KvmReport['cpu'];
  readonly module: KvmModule;
}

/**
 * Asks /dev/kvm and, when that fails, finds out why. Never throws for a host's state: every failure is a problem in the
 * report. About 40 system calls and one short-lived VM; the caller keeps the answer.
 */
export async function probeKvm(options: KvmProbeOptions = {}): Promise<KvmReport> {
  const context = readContext(options);
  try {
    const answers = askKvm(options.calls ?? systemKvmCalls, context.device);
    const forGuests = options.guestsUnprivileged
      ? diagnoseRootOnly(context.files, context.device)
      : undefined;
    return reportOf(context, answers, diagnoseAnswers(answers) ?? forGuests);
  } catch (error) {
    if (!(error instanceof KvmCallError)) throw error;
    return reportOf(context, undefined, diagnoseFailure(error, context));
  }
}

function readContext(options: KvmProbeOptions): KvmContext {
  const files = options.files ?? hostFiles();
  const arch = options.arch ?? machine();
  const cpu = parseCpuInfo(files.read('/proc/cpuinfo') ?? '');
  return {
    device: options.device ?? '/dev/kvm',
    files,
    arch,
    identity: options.identity ?? currentIdentity(),
    cpu: { vendor: cpu.vendor, flag: virtualizationFlag(cpu), underHypervisor: runsUnderHypervisor(cpu) },
    module: readKvmModule(files, cpu, arch),
  };
}

function reportOf(
  context: KvmContext,
  answers: KvmAnswers | undefined,
  problem: KvmProblem | undefined,
): KvmReport {
  return {
    usable: problem === undefined,
    device: context.device,
    arch: context.arch,
    ...(answers && { apiVersion: answers.apiVersion }),
    extensions: answers?.extensions ?? {},
    vcpus: vcpuLimits(answers),
    vcpuMmapBytes: answers?.vcpuMmapBytes ?? 0,
    cpu: context.cpu,
    module: context.module,
    ...(problem && { problem }),
  };
}

/**
 * Kernel Documentation/virt/kvm/api.rst, KVM_CREATE_VCPU: without KVM_CAP_NR_VCPUS assume 4; without KVM_CAP_MAX_VCPUS
 * the maximum is the recommendation.
 */
function vcpuLimits(answers: KvmAnswers | undefined): KvmReport['vcpus'] {
  if (answers === undefined) return { recommended: 0, max: 0 };
  const recommended = answers.extensions.nrVcpus || 4;
  return { recommended, max: answers.extensions.maxVcpus || recommended };
}

/** The error for a wish that needs KVM where the report says it is not usable. */
export function kvmUnusable(report: KvmReport, wanted: string): VirtError {
  const { problem } = report;
  if (problem === undefined) throw new Error('kvmUnusable was asked about a usable KVM');
  return new VirtError('kvm.unusable', {
    wanted,
    reason: problem.reason,
    hint: problem.repair,
    details: { problem: problem.code, device: report.device, ...(problem.group && { group: problem.group }) },
  });
}
