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

/** What of ours a device has already. */
export interface LimitsThere {
  readonly isShaped: boolean;
  readonly isPoliced: boolean;
}

/**
 * The same lines for a device that has limits: `replace` changes the classes of htb but not htb itself (sch_htb has no
 * change), and no matchall filter (cls_matchall says EEXIST). Queued packets stay; a policer has no queue to lose.
 */
export function linesAgain(device: string, lines: readonly string[], there: LimitsThere): string[] {
  return lines.flatMap((line) => {
    if (there.isShaped && line === shaper(device)) return [];
    if (there.isPoliced && line.startsWith(`filter replace dev ${device} ingress `))
      return [`filter del dev ${device} ingress prio 1`, line];
    return [line];
  });
}

const shaper = (device: string): string => `qdisc replace dev ${device} root handle 1: htb default 1`;

function shapingLines(device: string, limit: BandwidthLimit | undefined): string[] {
  if (limit === undefined) return [];
  return [shaper(device), `class replace dev ${device} parent 1: classid 1:1 htb ${rate(limit)}`];
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

async function limitsThere(device: string): Promise<LimitsThere> {
  // 1, 2: the device or the place for filters is not there.
  const options = { timeoutMs: 10_000, okExitCodes: [0, 1, 2] };
  const qdiscs = await runTool('tc', ['qdisc', 'show', 'dev', device], options);
  const filters = await runTool('tc', ['filter', 'show', 'dev', device, 'ingress'], options);
  return {
    isShaped: /^qdisc htb 1: root /m.test(qdiscs.stdout),
    isPoliced: /^filter .*\bpref 1 matchall\b/m.test(filters.stdout),
  };
}

/** Nobody pays for a look at what is there but those who have something. @throws VirtError program.missing, program.failed */
async function applyOver(device: string, lines: readonly string[]): Promise<void> {
  try {
    await applyTrafficControl(lines);
  } catch (error) {
    if (!isVirtError(error, 'program.failed')) throw error;
    const again = linesAgain(device, lines, await limitsThere(device));
    if (again.join() === lines.join()) throw error;
    await applyTrafficControl(again);
  }
}

/**
 * Limits a guest's link or a bridge, in place of the limits that it has.
 * @throws VirtError link.failed when the kernel lacks what limits need, program.missing without tc
 */
export async function limitLink(device: string, plan: BandwidthPlan, isMacvtap: boolean): Promise<void> {
  const lines = isMacvtap ? macvtapBandwidthLines(device, plan) : bandwidthLines(device, plan);
  try {
    await applyOver(device, lines);
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
