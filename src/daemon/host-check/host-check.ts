/** Everything that a host needs for guests, looked at one by one: what `vireo host check` shows. */
import { type KvmReport, probeKvm } from '../../kvm/report.ts';
import {
  type CheckContext,
  type HostCheck,
  hostAccess,
  type StateDirectory,
  type UidRange,
} from './check.ts';
import { checkDevices } from './devices.ts';
import { checkFirewallBackend, checkForwardPolicy, checkIpForward } from './firewall.ts';
import { type AdoptionState, checkLibvirt } from './libvirt.ts';
import { type CheckedNetwork, checkNetworks } from './networks.ts';
import { checkOpenDoors } from './open-doors.ts';
import { checkEfiFirmware, checkPrograms, checkQemu } from './programs.ts';
import {
  checkCgroups,
  checkDirectories,
  checkGuestUids,
  checkLimits,
  checkSystemd,
  checkUserNamespaces,
} from './system.ts';
import { checkIommu, checkKvm, checkNested, checkSev } from './virtualization.ts';

interface HostCheckOptions {
  readonly mode: 'system' | 'session';
  /** The daemon's directories, with the modes they should have at most. */
  readonly directories: readonly StateDirectory[];
  /** User ids of guests in system mode; undefined when guests run under the daemon's user. */
  readonly guestUids?: UidRange;
  readonly networks?: readonly CheckedNetwork[];
  /** The file with the settings of the host as they were before networks changed them. */
  readonly settingsBefore?: string;
  /** What of a libvirtd could be taken over. */
  readonly adoption?: AdoptionState;
  /** Where clients are served without any protection, as ADDRESS:PORT. */
  readonly unprotectedAddresses?: readonly string[];
  /** For each program that is run. Slow hosts (emulated ones) need more. */
  readonly programTimeoutMs: number;
  /** A report at hand; probed anew when left out. */
  readonly kvm?: KvmReport;
  readonly signal?: AbortSignal;
}

/**
 * Checks the host; nothing is changed. Some 15 short programs are run, so that it takes a second or so.
 * @throws VirtError operation.aborted
 */
export async function checkHost(options: HostCheckOptions): Promise<HostCheck[]> {
  const kvm = options.kvm ?? (await probeKvm());
  const { programTimeoutMs: timeoutMs, signal } = options;
  return runChecks({
    ...hostAccess({ timeoutMs, ...(signal && { signal }) }),
    mode: options.mode,
    arch: kvm.arch,
    kvm,
    directories: options.directories,
    guestUids: options.guestUids,
    networks: options.networks ?? [],
    unprotectedAddresses: options.unprotectedAddresses ?? [],
    ...(options.settingsBefore !== undefined && { settingsBefore: options.settingsBefore }),
    ...(options.adoption && { adoption: options.adoption }),
  });
}

/** All checks, in the order in which they are shown. */
export async function runChecks(context: CheckContext): Promise<HostCheck[]> {
  const [qemu, programs, firewall, forward, networks] = await Promise.all([
    checkQemu(context),
    checkPrograms(context),
    checkFirewallBackend(context),
    checkForwardPolicy(context),
    context.mode === 'system' ? checkNetworks(context) : [],
  ]);
  return [
    checkKvm(context),
    checkNested(context),
    qemu,
    ...programs,
    checkEfiFirmware(context),
    ...checkDevices(context),
    checkIommu(context),
    ...checkSev(context),
    firewall,
    forward,
    checkIpForward(context),
    ...networks,
    checkCgroups(context),
    checkSystemd(context),
    checkGuestUids(context),
    checkUserNamespaces(context),
    checkLimits(context),
    checkDirectories(context),
    ...checkLibvirt(context),
    ...checkOpenDoors(context),
  ];
}
