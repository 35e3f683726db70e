/** Makes the QEMU driver from configuration and paths, and tells who is asked what emulators and host can do. */
import { isVirtError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type {
  HostDeviceProvider,
  LinkProvider,
  PassedFileSource,
  SecretProvider,
  VolumeFinder,
} from '../drivers/driver.ts';
import { GuestGroups } from '../drivers/host-tuning/cgroups.ts';
import { isSystemdRunning, placeInScope } from '../drivers/host-tuning/scopes.ts';
import { type CapabilitySources, hostDocuments } from '../drivers/qemu/capabilities.ts';
import { QemuDriver } from '../drivers/qemu/driver.ts';
import { defaultLogLimits } from '../drivers/qemu/log-file.ts';
import { defaultTimeouts, type EmulatorSource, type QemuDriverOptions } from '../drivers/qemu/options.ts';
import { CapabilityCache } from '../drivers/qemu/probe/cache.ts';
import { emulatorFor } from '../drivers/qemu/probe/find.ts';
import type { ProbeOptions } from '../drivers/qemu/probe/session.ts';
import { readImageHeader } from '../storage/image-header/read.ts';
import type { DaemonConfig } from './config.ts';
import type { DaemonPaths } from './paths.ts';
import type { FlightRecorder } from './recorder/flight-recorder.ts';
import { noteReply } from './recorder/sources.ts';
import type { HostService } from './services/host-service.ts';
import { userByName } from './users.ts';

/** Shares and limits of guests; only root may make groups at the top. */
export const guestGroups = new GuestGroups();

/** Where UEFI images describe themselves (QEMU docs/interop/firmware.json), the administrator's first. */
const firmwareDirectories = ['/etc/qemu/firmware', '/usr/share/qemu/firmware'];

export function probeOptions(paths: DaemonPaths, config: DaemonConfig): ProbeOptions {
  return { timeoutMs: config.qemu.probe_timeout_seconds * 1000, runtimeDirectory: paths.runtime };
}

/** Whom the documents of capabilities ask. */
export function capabilitySources(parts: {
  readonly host: HostService;
  readonly emulators: EmulatorSource;
  readonly log: Logger;
}): CapabilitySources {
  const { host, emulators, log } = parts;
  return {
    emulators,
    hostFacts: () => host.facts(),
    kvmReport: () => host.kvmReport(),
    firmwareDirectories,
    log,
  };
}

/** The emulators of this host, each asked once for what it can do. */
export function emulatorSource(paths: DaemonPaths, config: DaemonConfig, log: Logger): EmulatorSource {
  const probe = probeOptions(paths, config);
  const cache = new CapabilityCache({ directory: paths.capabilityCache, probe, log });
  return {
    capabilities: (path) => cache.get(path),
    isProbed: (path) => cache.knows(path),
    find: (arch) =>
      emulatorFor(arch).then(
        (emulator) => emulator.path,
        (error: unknown) => {
          if (isVirtError(error, 'qemu.missing')) return undefined;
          throw error;
        },
      ),
  };
}

/** Version of the host's own emulator as libvirt counts. @throws VirtError qemu.missing, qemu.probe-failed */
export async function emulatorVersion(emulators: EmulatorSource, arch: string): Promise<number> {
  const { path } = await emulatorFor(arch);
  const { major, minor, micro } = (await emulators.capabilities(path)).version;
  return major * 1_000_000 + minor * 1000 + micro;
}

export async function buildDriver(parts: {
  readonly paths: DaemonPaths;
  readonly config: DaemonConfig;
  readonly log: Logger;
  readonly host: HostService;
  readonly links: LinkProvider | undefined;
  readonly hostDevices: HostDeviceProvider;
  readonly secrets: SecretProvider;
  readonly emulators: EmulatorSource;
  readonly volumes: VolumeFinder;
  readonly passedFiles: PassedFileSource;
  readonly recorder: FlightRecorder;
}): Promise<QemuDriver> {
  const { paths, config, log, host, links, hostDevices, emulators, secrets, volumes, recorder } = parts;
  const { qemu } = config;
  const hostArch = (await host.facts()).arch;
  const user = qemu.user === undefined ? undefined : userByName(qemu.user);
  const options: QemuDriverOptions = {
    mode: paths.mode,
    runtimeDirectory: paths.runtime,
    nvramDirectory: paths.nvram,
    tpmDirectory: paths.tpm,
    logDirectory: paths.logs,
    firmwareDirectories,
    hostArch,
    graphicsPorts: { first: qemu.graphics_port_min, last: qemu.graphics_port_max },
    timeouts: {
      ...defaultTimeouts,
      startMs: qemu.start_timeout_seconds * 1000,
      commandMs: qemu.command_timeout_seconds * 1000,
      unplugMs: qemu.unplug_timeout_seconds * 1000,
    },
    logLimits: defaultLogLimits,
    openFiles: 8192,
    uidRange: { first: qemu.uid_base, count: qemu.uid_count },
    ...(user && { fallbackUser: user }),
    sandbox: qemu.sandbox,
    allowCommandLinePassthrough: qemu.allow_command_line,
    logger: log,
    emulators,
    documents: hostDocuments(capabilitySources(parts)),
    kvmReport: () => host.kvmReport(),
    images: { readHeader: readImageHeader },
    ...(paths.mode === 'system' && { groups: guestGroups }),
    ...(paths.mode === 'system' && isSystemdRunning() && { placeInScope }),
    hostDevices,
    secrets,
    volumes,
    passedFiles: parts.passedFiles,
    onMonitorReply: (uuid, reply) => noteReply(recorder, uuid, reply),
    ...(links && { links }),
  };
  return new QemuDriver(options);
}

/** Why guests can't use KVM, undefined when they can. */
export async function kvmProblem(
  host: HostService,
): Promise<{ readonly reason: string; readonly hint?: string } | undefined> {
  const { problem } = await host.kvmReport();
  return problem && { reason: problem.reason, hint: problem.repair };
}

export function guestUids(
  paths: DaemonPaths,
  config: DaemonConfig,
): { first: number; count: number } | undefined {
  if (paths.mode === 'session' || config.qemu.user !== undefined) return undefined;
  return { first: config.qemu.uid_base, count: config.qemu.uid_count };
}
