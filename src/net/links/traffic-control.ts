/** Bandwidth limits of a bridge, and the repair of DHCP checksums where the firewall has no word for it: by tc(8). */
import { run } from '../../base/exec.ts';
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
 * Lines for `tc -batch`, pure. What goes to guests leaves by the bridge and is shaped; what comes from them enters by it
 * and can only be policed.
 */
export function bandwidthLines(bridge: string, plan: BandwidthPlan): string[] {
  const { inbound, outbound } = plan;
  const lines: string[] = [];
  if (inbound)
    lines.push(
      `qdisc replace dev ${bridge} root handle 1: htb default 1`,
      `class replace dev ${bridge} parent 1: classid 1:1 htb ${rate(inbound)}`,
    );
  if (outbound) {
    const burst = Math.max(outbound.burstKiB ?? outbound.averageKBps, LEAST_BURST_KIB);
    lines.push(
      `qdisc replace dev ${bridge} clsact`,
      `filter replace dev ${bridge} ingress protocol all prio 1 handle 1 matchall ` +
        `action police rate ${outbound.averageKBps}kbps burst ${burst}kb mtu 64kb drop`,
    );
  }
  return lines;
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
  await run('tc', ['-batch', '-'], { timeoutMs: 10_000, input: `${lines.join('\n')}\n` });
}
