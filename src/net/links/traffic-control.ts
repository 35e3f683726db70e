/** Bandwidth limits of bridges and guests' links, and the repair of DHCP checksums where the firewall has no word for it: by tc(8). */
import { isVirtError, VirtError } from '../../base/errors.ts';
import { runTool } from '../../base/run-tool.ts';
import type { BandwidthLimit, BandwidthPlan } from '../plan.ts';

/** tc's `kbps` is kilobytes a second, as libvirt's numbers are. */
function rate(limit: BandwidthLimit): string {
  const ceil = limit.peakKBps === undefined ? '' : ` ceil ${limit.peakKBps}kbps`;
  const burst = limit.burstKiB === undefined ? '' : ` burst ${limit.burstKiB}kb`;
  return `rate ${limit.averageKBps}kbps${ceil}${burst}`;
}

/** A policer drops what comes faster than its bucket fills, so the bucket must hold at least one large segment. */
const LEAST_BURST_KIB = 64;

/**
 * Lines for `tc -batch`, pure. What goes to guests leaves by the bridge or tap and is shaped; what comes from them
 * enters by it and can only be policed.
 */
export function bandwidthLines(device: string, { inbound, outbound }: BandwidthPlan): string[] {
  return [...shapingLines(device, inbound), ...policingLines(device, outbound)];
}

/** The same for a macvtap, which looks the guest's way: what leaves by it comes from the guest. */
export function macvtapBandwidthLines(device: string, { inbound, outbound }: BandwidthPlan): string[] {
  return [...shapingLines(device, outbound), ...policingLines(device, inbound)];
}

function shapingLines(device: string, limit: BandwidthLimit | undefined): string[] {
  if (limit === undefined) return [];
  return [
    `qdisc replace dev ${device} root handle 1: htb default 1`,
    `class replace dev ${device} parent 1: classid 1:1 htb ${rate(limit)}`,
  ];
}

function policingLines(device: string, limit: BandwidthLimit | undefined): string[] {
  if (limit === undefined) return [];
  const burst = Math.max(limit.burstKiB ?? limit.averageKBps, LEAST_BURST_KIB);
  return [
    `qdisc replace dev ${device} clsact`,
    `filter replace dev ${device} ingress protocol all prio 1 handle 1 matchall ` +
      `action police rate ${limit.averageKBps}kbps burst ${burst}kb mtu 64kb drop`,
  ];
}

/** Lines for `tc -batch` that compute the checksum of DHCP answers on their way to guests. */
export function checksumLines(bridge: string): string[] {
  return [
    `qdisc replace dev ${bridge} clsact`,
    `filter replace dev ${bridge} egress protocol ip prio 2 handle 1 flower ` +
      'ip_proto udp dst_port 68 action csum ip and udp',
  ];
}

/** @throws VirtError program.missing, program.failed */
export async function applyTrafficControl(lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  await runTool('tc', ['-batch', '-'], { timeoutMs: 10_000, input: `${lines.join('\n')}\n` });
}

/**
 * Limits a guest's link.
 * @throws VirtError link.failed when the kernel lacks what limits need, program.missing without tc
 */
export async function limitLink(device: string, plan: BandwidthPlan, isMacvtap: boolean): Promise<void> {
  const lines = isMacvtap ? macvtapBandwidthLines(device, plan) : bandwidthLines(device, plan);
  try {
    await applyTrafficControl(lines);
  } catch (error) {
    if (!isVirtError(error, 'program.failed')) throw error;
    throw new VirtError('link.failed', {
      wanted: `limit the bandwidth of ${device}`,
      reason: error.reason,
      hint: 'limits need sch_htb, and from the guest sch_ingress, cls_matchall and act_police, in the kernel',
      ...(error.details && { details: error.details }),
      cause: error,
    });
  }
}

/** Lifts all limits of a guest's link. @throws VirtError program.missing */
export async function unlimitLink(device: string): Promise<void> {
  for (const qdisc of [['root'], ['clsact']])
    await runTool('tc', ['qdisc', 'del', 'dev', device, ...qdisc], {
      timeoutMs: 10_000,
      // 2: there is none, which is what was wanted.
      okExitCodes: [0, 1, 2],
    });
}
