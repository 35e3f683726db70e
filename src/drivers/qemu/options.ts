/** What the QEMU driver is told by the daemon: paths, limits, and the parts of the host it may ask. */

import type { Logger } from '../../base/log.ts';
import type { HostFiles } from '../../kvm/host-files.ts';
import type { KvmReport } from '../../kvm/report.ts';
import type {
  HostDeviceProvider,
  ImageReader,
  LinkProvider,
  PassedFileSource,
  SecretProvider,
  VolumeFinder,
} from '../driver.ts';
import type { GuestGroups } from '../host-tuning/cgroups.ts';
import type { ScopedGuest } from '../host-tuning/scopes.ts';
import type { UidRange } from './identity.ts';
import type { LogLimits } from './log-file.ts';
import type { QemuCapabilities } from './probe/types.ts';
import type { MonitorReply } from './qmp/wire.ts';

/** Which QEMU binaries there are, and what each of them offers (probe/). */
export interface EmulatorSource {
  /** @throws VirtError qemu.missing, qemu.probe-failed */
  capabilities(path: string): Promise<QemuCapabilities>;
  /** Whether it was asked before, so that capabilities are a matter of milliseconds. Absent: no. */
  isProbed?(path: string): Promise<boolean>;
  /** The binary for an architecture in libvirt's words; undefined when none is installed. */
  find(arch: string): Promise<string | undefined>;
}

/** The documents of capabilities.ts, wired in by the daemon. */
export interface HostDocuments {
  capabilitiesXml(): Promise<string>;
  domainCapabilitiesXml(query: {
    readonly emulator?: string;
    readonly arch?: string;
    readonly machine?: string;
    readonly virtType?: string;
  }): Promise<string>;
}

interface DriverTimeouts {
  /** From the spawn to QEMU's greeting. */
  readonly startMs: number;
  /** For the monitor of a guest that an earlier daemon left, before the daemon goes on without it. */
  readonly reattachMs: number;
  /** For one monitor command. */
  readonly commandMs: number;
  /** For a guest to let go of a device. */
  readonly unplugMs: number;
}

export const defaultTimeouts: DriverTimeouts = {
  startMs: 60_000,
  reattachMs: 5000,
  commandMs: 30_000,
  unplugMs: 10_000,
};

export interface QemuDriverOptions {
  readonly mode: 'system' | 'session';
  /** Guests get their private directories below `g/` of it. */
  readonly runtimeDirectory: string;
  readonly nvramDirectory: string;
  /** TPM state by domain uuid. */
  readonly tpmDirectory: string;
  /** Logs lie in `qemu/` below it. */
  readonly logDirectory: string;
  /** For file-backed guest memory; without it such definitions are refused. */
  readonly memoryDirectory?: string;
  readonly firmwareDirectories: readonly string[];
  readonly hostArch: string;
  /** TCP ports for VNC and SPICE servers with autoport, both ends included. */
  readonly graphicsPorts: { readonly first: number; readonly last: number };
  readonly timeouts: DriverTimeouts;
  readonly logLimits: LogLimits;
  /** RLIMIT_NOFILE of QEMU. */
  readonly openFiles: number;
  /** System mode: the ids that guests get, one each. */
  readonly uidRange: UidRange;
  /** System mode: the one user for all guests where the range does not exist (containers). */
  readonly fallbackUser?: { readonly uid: number; readonly gid: number };
  readonly sandbox: boolean;
  readonly allowCommandLinePassthrough: boolean;
  readonly logger: Logger;
  readonly emulators: EmulatorSource;
  readonly documents: HostDocuments;
  readonly kvmReport: () => Promise<KvmReport>;
  /** Where the host says what of AMD SEV it has; left out: its own /proc, /sys and /dev. */
  readonly hostFiles?: HostFiles;
  readonly images: ImageReader;
  /** Values of secrets that definitions refer to; absent only in tests that have none. */
  readonly secrets?: SecretProvider;
  /** Control groups of guests that ask for shares or limits; without them such guests do not start. */
  readonly groups?: GuestGroups;
  /** Has systemd make a scope of a guest's processes; absent where systemd does not run, and for a user's own guests. */
  readonly placeInScope?: (guest: ScopedGuest) => Promise<void>;
  /** Devices of the host for <hostdev>; absent only in tests that have none. */
  readonly hostDevices?: HostDeviceProvider;
  /** What clients have handed over for disks; without it no definition with an fdgroup starts. */
  readonly passedFiles?: PassedFileSource;
  /** Absent where there are no pools: then no disk can name a volume. */
  readonly volumes?: VolumeFinder;
  /** Hears how each monitor command of each guest (by uuid) ended, for a record. */
  readonly onMonitorReply?: (uuid: string, reply: MonitorReply) => void;
  /** Absent in session mode: then only what needs no host interface works. */
  readonly links?: LinkProvider;
}
