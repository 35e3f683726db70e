/** What can be measured of a running guest and changed in it without a device coming or going: memory, CPUs, disks' limits. */
import type { IoTune } from '../model/domain/devices/disk.ts';
import type { DirtyRateMode } from '../model/domain/statistics-groups.ts';

/** A virtual CPU that can be there: its number in the guest's order, and its thread on the host when it is. */
export interface GuestCpu {
  readonly index: number;
  readonly threadId: number;
}

/** A place for one virtual CPU, or for several that come and go together (cores of ppc64). */
export interface CpuPlace {
  /** The number of its first CPU. */
  readonly first: number;
  readonly count: number;
  readonly isPresent: boolean;
  /** Set for one that was plugged in, not there from QEMU's first moment. */
  readonly alias?: string;
  /** As they came, from 1; of those that are there. */
  readonly order?: number;
}

/** What the balloon's driver inside the guest tells; nothing vouches for it. Bytes, and counts since the guest's boot. */
export interface BalloonStatistics {
  /** Seconds since 1970 when the guest told it last; 0 when it never did. */
  readonly lastUpdateSeconds: number;
  readonly swapInBytes?: number;
  readonly swapOutBytes?: number;
  readonly majorFaults?: number;
  readonly minorFaults?: number;
  readonly freeBytes?: number;
  readonly totalBytes?: number;
  readonly availableBytes?: number;
  readonly diskCacheBytes?: number;
  readonly hugetlbAllocations?: number;
  readonly hugetlbFailures?: number;
}

/** Counters of a disk since the start of QEMU, as the guest's operations. */
export interface DiskCounters {
  /** The disk's alias (`virtio-disk0`). */
  readonly alias: string;
  readonly readRequests: number;
  readonly readBytes: number;
  readonly readNs: number;
  readonly writeRequests: number;
  readonly writeBytes: number;
  readonly writeNs: number;
  readonly flushRequests: number;
  readonly flushNs: number;
  /** The highest byte that was written to the image; undefined where nothing tells it. */
  readonly allocationBytes?: number;
  /** The size that the guest sees. */
  readonly capacityBytes?: number;
  /** What the image takes up on the host. */
  readonly physicalBytes?: number;
}

export interface IothreadFacts {
  readonly id: number;
  readonly threadId: number;
  readonly pollMaxNs?: number;
  readonly pollGrow?: number;
  readonly pollShrink?: number;
}

/** A measurement of how fast the guest writes to its memory (QEMU: calc-dirty-rate). */
export interface DirtyRate {
  readonly status: 'unstarted' | 'measuring' | 'measured';
  /** Seconds since 1970. */
  readonly startSeconds: number;
  readonly periodSeconds: number;
  readonly mode: string;
  readonly mibPerSecond?: number;
  readonly vcpus: readonly { readonly index: number; readonly mibPerSecond: number }[];
}

/** A counter of the accelerator: `sum` grows, `cur` is a state, `max` a peak. */
export interface AcceleratorCounter {
  readonly name: string;
  readonly kind: 'sum' | 'cur' | 'max';
  readonly value: number | boolean;
}

/** An image of a disk, by its number in the running definition. */
export interface ImageCounters {
  readonly image: number;
  /** The highest byte that was written to it in this run. */
  readonly allocationBytes: number;
  readonly capacityBytes?: number;
  /** What it takes up on the host. */
  readonly physicalBytes?: number;
  /** Beyond which byte a write is told; undefined where that was not asked for. */
  readonly thresholdBytes?: number;
}

export const monitorGroups = [
  'balloon',
  'cpus',
  'disks',
  'images',
  'iothreads',
  'dirtyRate',
  'accelerator',
] as const;
export type MonitorGroup = (typeof monitorGroups)[number];

/** What QEMU itself tells of a guest. A group that was not asked for, or that QEMU refused, is undefined. */
export interface MonitorSample {
  readonly balloonBytes?: number;
  readonly balloon?: BalloonStatistics;
  readonly cpus?: readonly GuestCpu[];
  readonly images?: readonly ImageCounters[];
  readonly disks?: readonly DiskCounters[];
  readonly iothreads?: readonly IothreadFacts[];
  readonly dirtyRate?: DirtyRate;
  readonly accelerator?: readonly AcceleratorCounter[];
}

/** The memory that a program in the host may look at: of the guest's physical or virtual addresses. */
export type AddressKind = 'physical' | 'virtual';

/** Settings of an IO thread; what is left out stays. */
export interface IothreadSettings {
  readonly pollMaxNs?: number;
  readonly pollGrow?: number;
  readonly pollShrink?: number;
  readonly threadPoolMin?: number;
  readonly threadPoolMax?: number;
}

/** Measures and changes one running guest; all waits have deadlines. Errors: qmp.*, domain.no-device. */
export interface LiveTuning {
  /**
   * Asks QEMU for these groups at once, within `limitMs`. While an earlier sample has not been answered no new question
   * is sent: a hung QEMU costs its limit and no more. @throws VirtError qmp.timeout, qmp.closed
   */
  sample(groups: readonly MonitorGroup[], limitMs: number): Promise<MonitorSample>;
  /** Asks the balloon's driver to leave the guest so many bytes; the guest does it in its own time, or not. */
  setBalloon(bytes: number): Promise<void>;
  /** How often the guest tells its memory statistics; 0 ends that. */
  setBalloonPeriod(seconds: number): Promise<void>;
  /** The CPUs that are plugged in. */
  cpus(): Promise<GuestCpu[]>;
  /** Where CPUs are plugged in, or can be, in the order of their numbers. */
  cpuPlaces(): Promise<CpuPlace[]>;
  /** Fills places, named by the numbers of their first CPUs. */
  plugCpus(firsts: readonly number[]): Promise<void>;
  /** Asks the guest to give back the CPUs of places. Waits some seconds; what it has given back then, `cpuPlaces` tells. */
  unplugCpus(firsts: readonly number[]): Promise<void>;
  addIothread(id: number): Promise<void>;
  removeIothread(id: number): Promise<void>;
  setIothread(id: number, settings: IothreadSettings): Promise<void>;
  /** Makes a disk larger or smaller, by its alias; the guest is told. */
  resizeDisk(alias: string, bytes: number): Promise<void>;
  /** Limits a disk, by its alias; `group` shares the limits with the other disks of that group. */
  setDiskLimits(alias: string, limits: IoTune): Promise<void>;
  /** Makes a group of limits that disks can be put into, or gives one that is there (`isThere`) other limits. */
  setThrottleGroup(name: string, limits: IoTune, isThere: boolean): Promise<void>;
  /** Takes away a group that no disk is in. */
  removeThrottleGroup(name: string): Promise<void>;
  /** Aliases of disks whose last operation failed, and how. */
  diskErrors(): Promise<{ readonly alias: string; readonly error: 'no space' | 'failed' }[]>;
  /** Has QEMU tell once when the image of that number is written beyond this byte; 0 ends that. */
  setWriteThreshold(image: number, bytes: number): Promise<void>;
  /** Reads the guest's memory: at most 64 KiB. */
  peekMemory(kind: AddressKind, address: number, length: number): Promise<Buffer>;
  /**
   * Begins a measurement of that many seconds, 1 to 60. @throws VirtError request.invalid; qmp.failed while another is
   * in work, or for a way that this guest does not have
   */
  startDirtyRate(seconds: number, mode?: DirtyRateMode): Promise<void>;
  /** Wakes a guest that sleeps (ACPI S3). */
  wakeUp(): Promise<void>;
}
