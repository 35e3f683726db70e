/** The host: who it is, what it can do, what it lacks. */
import { VirtError } from '../../base/errors.ts';
import { type HostFacts, readBasePageKiB, readHostFacts, readHostMemory } from '../../kvm/host-facts.ts';
import { type HostFiles, hostFiles } from '../../kvm/host-files.ts';
import {
  type CellMemory,
  type CpuMap,
  type CpuTimes,
  readCellMemory,
  readCpuMap,
  readCpuTimes,
} from '../../kvm/host-statistics.ts';
import { type HostWriter, hostWriter } from '../../kvm/host-writer.ts';
import { type PagePoolWish, setPagePool } from '../../kvm/page-pools.ts';
import { readPageSharing, type SettableSharingField, setPageSharing } from '../../kvm/page-sharing.ts';
import { type KvmReport, probeKvm } from '../../kvm/report.ts';
import { HostSuspension, type SuspendTarget } from '../../kvm/suspend.ts';
import { readSysinfo } from '../../kvm/sysinfo.ts';
import { formatHostSysinfo } from '../../model/capabilities/host-sysinfo.ts';
import { networkRuntime } from '../../net/host.ts';
import { hostSettingsPath } from '../../net/state.ts';
import type { DaemonConfig } from '../config.ts';
import type { HostCheck, UidRange } from '../host-check/check.ts';
import { checkHost } from '../host-check/host-check.ts';
import type { AdoptionState } from '../host-check/libvirt.ts';
import type { CheckedNetwork } from '../host-check/networks.ts';
import type { DaemonPaths } from '../paths.ts';

/** A KVM report is that old at most: modules get loaded, permissions change, and asking costs under a millisecond. */
const KVM_REPORT_MS = 2000;

export class HostService {
  private readonly paths: DaemonPaths;
  private readonly config: DaemonConfig;
  readonly files: HostFiles;
  readonly write: HostWriter;
  private readonly suspension: HostSuspension;
  private kvm: { readonly report: Promise<KvmReport>; readonly atMs: number } | undefined;

  constructor(options: {
    readonly paths: DaemonPaths;
    readonly config: DaemonConfig;
    readonly files?: HostFiles;
    readonly write?: HostWriter;
  }) {
    this.paths = options.paths;
    this.config = options.config;
    this.files = options.files ?? hostFiles();
    this.write = options.write ?? hostWriter();
    this.suspension = new HostSuspension(this);
  }

  /** Facts of the host, with the configured name and UUID. Free memory is as of now. */
  async facts(): Promise<HostFacts> {
    const { host_name: hostname, host_uuid: hostUuid } = this.config.daemon;
    return readHostFacts({
      ...(hostname !== undefined && { hostname }),
      ...(hostUuid !== undefined && { hostUuid }),
    });
  }

  /** Memory in KiB, as of now. */
  memory(): ReturnType<typeof readHostMemory> {
    return readHostMemory();
  }

  /** How long processors did what since boot, all together or one. @throws VirtError request.invalid */
  cpuTimes(cpu?: number): CpuTimes {
    return readCpuTimes(this.files, cpu);
  }

  /** Which processors are present, and which online. */
  cpuMap(): CpuMap {
    return readCpuMap(this.files);
  }

  /** Memory and pages of all NUMA cells, as of now. */
  cells(): CellMemory[] {
    return readCellMemory(this.files, readBasePageKiB(this.files));
  }

  /**
   * Free pages of these sizes in these cells, in the order of both.
   * @throws VirtError request.invalid for a cell or a size that the host has not
   */
  freePages(wish: {
    readonly sizesKiB: readonly number[];
    readonly firstCell: number;
    readonly cellCount: number;
  }): { readonly cell: number; readonly sizeKiB: number; readonly free: number }[] {
    const all = this.cells();
    return Array.from({ length: wish.cellCount }, (_, index) => wish.firstCell + index).flatMap((id) => {
      const found = all.find(({ cell }) => cell === id);
      return wish.sizesKiB.map((sizeKiB) => {
        const pool = found?.pages.find((one) => one.sizeKiB === sizeKiB);
        if (pool !== undefined) return { cell: id, sizeKiB, free: pool.free };
        throw new VirtError('request.invalid', {
          wanted: 'count free pages',
          reason:
            found === undefined ? `there is no NUMA cell ${id}` : `there are no pages of ${sizeKiB} KiB`,
        });
      });
    });
  }

  /** Figures of the kernel's merging of equal pages. */
  pageSharing(): ReturnType<typeof readPageSharing> {
    return readPageSharing(this.files);
  }

  /** @throws VirtError request.unsupported, file.* */
  setPageSharing(values: ReadonlyMap<SettableSharingField, number>): void {
    setPageSharing(this, values);
  }

  /** @throws VirtError request.invalid, operation.failed, file.* */
  setPagePool(wish: PagePoolWish): void {
    setPagePool(this, wish);
  }

  /** Soon, and for so long. @throws VirtError request.unsupported, request.invalid, operation.failed, file.* */
  suspend(target: SuspendTarget, seconds: number, onFailure: (error: unknown) => void): void {
    this.suspension.suspend(target, seconds, onFailure);
  }

  /** libvirt's sysinfo document. @throws VirtError request.unsupported on a host without SMBIOS */
  sysinfoXml(): string {
    const info = readSysinfo(this.files);
    if (info !== undefined) return formatHostSysinfo(info);
    throw new VirtError('request.unsupported', {
      wanted: 'tell what the firmware says of the host',
      reason: 'it has no SMBIOS',
    });
  }

  /** In system mode guests run with uids of their own: what root may open is not enough for them. */
  private guestsUnprivileged(): boolean {
    return this.paths.mode === 'system' && process.getuid?.() === 0;
  }

  /** What /dev/kvm says now; usable means by guests. */
  kvmReport(): Promise<KvmReport> {
    const now = performance.now();
    if (this.kvm === undefined || now - this.kvm.atMs > KVM_REPORT_MS)
      this.kvm = { report: probeKvm({ guestsUnprivileged: this.guestsUnprivileged() }), atMs: now };
    return this.kvm.report;
  }

  /** Looks at everything that guests need of a host. */
  async check(request: {
    readonly guestUids: UidRange | undefined;
    readonly networks: readonly CheckedNetwork[];
    readonly adoption: AdoptionState;
    readonly signal: AbortSignal;
  }): Promise<HostCheck[]> {
    const { guestUids, networks, adoption, signal } = request;
    const { tcp_addresses: addresses, tcp_port: port } = this.config.libvirt;
    return checkHost({
      mode: this.paths.mode,
      directories: stateDirectories(this.paths),
      settingsBefore: hostSettingsPath(networkRuntime(this.paths.runtime)),
      ...(guestUids && { guestUids }),
      networks,
      adoption,
      unprotectedAddresses: addresses.map((address) => `${address}:${port}`),
      programTimeoutMs: this.config.qemu.probe_timeout_seconds * 1000,
      kvm: await this.kvmReport(),
      signal,
    });
  }
}

/** The daemon's directories with the widest mode each may have. */
export function stateDirectories(paths: DaemonPaths): { purpose: string; path: string; mode: number }[] {
  // In system mode group members must reach the socket, and QEMU its own directories below these.
  const isSystem = paths.mode === 'system';
  return [
    { purpose: 'runtime', path: paths.runtime, mode: isSystem ? 0o755 : 0o700 },
    { purpose: 'configuration', path: paths.config, mode: 0o700 },
    { purpose: 'data', path: paths.data, mode: isSystem ? 0o711 : 0o700 },
    { purpose: 'logs', path: paths.logs, mode: 0o700 },
    { purpose: 'cache', path: paths.cache, mode: 0o700 },
  ];
}
