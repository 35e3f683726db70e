/**
 * Guaranteed shares of what a bridge may send to its guests (`<inbound floor=.../>`): a class of htb for each guest below
 * the bridge's own limit. nf_tables' egress hook of the bridge (Linux 5.16 and newer) puts packets into the classes by
 * the guest's MAC address, so that no classifier of tc is needed (tc-htb(8), nft(8): "netdev address family").
 */
import { isVirtError, VirtError } from '../../base/errors.ts';
import { runTool } from '../../base/run-tool.ts';
import { tableHandle } from '../firewall/nft-kernel.ts';
import type { BandwidthLimit, GuaranteedShare, NetworkPlan } from '../plan.ts';
import { linkDetails } from './link-details.ts';
import { applyTrafficControl } from './traffic-control.ts';

/** What of a network's plan is asked here. */
export type SharedBridge = Pick<NetworkPlan, 'bandwidth' | 'shares'> & {
  readonly bridge: Pick<NetworkPlan['bridge'], 'name'>;
};

/** The class that holds all others; that of packets to nobody with a share is 1:1, as without shares. */
const WHOLE = '1:fffe';
const FIRST_SHARE = 2;

const classOf = (index: number): string => `1:${(FIRST_SHARE + index).toString(16)}`;

/** Lines for `tc -batch` on a bridge without limits of ours, pure. Shares borrow from what the others leave. */
export function shareLines(
  bridge: string,
  limit: BandwidthLimit,
  shares: readonly GuaranteedShare[],
): string[] {
  const { averageKBps, peakKBps = averageKBps, burstKiB } = limit;
  const burst = burstKiB === undefined ? '' : ` burst ${burstKiB}kb`;
  const ceil = `ceil ${peakKBps}kbps`;
  const promised = shares.reduce((sum, { floorKBps }) => sum + floorKBps, 0);
  const child = (id: string, rateKBps: number) =>
    `class add dev ${bridge} parent ${WHOLE} classid ${id} htb rate ${Math.max(rateKBps, 1)}kbps ${ceil}`;
  return [
    `qdisc add dev ${bridge} root handle 1: htb default 1`,
    `class add dev ${bridge} parent 1: classid ${WHOLE} htb rate ${Math.max(averageKBps, promised)}kbps ${ceil}${burst}`,
    child('1:1', averageKBps - promised),
    ...shares.map(({ floorKBps }, index) => child(classOf(index), floorKBps)),
  ];
}

const tableOf = (bridge: string): string => `vireo-share-${bridge}`;

/** A script for `nft -f` in place of the one before, pure. */
export function shareRules(bridge: string, shares: readonly GuaranteedShare[]): string {
  const table = `netdev ${tableOf(bridge)}`;
  return [
    `add table ${table}`,
    `delete table ${table}`,
    `add table ${table}`,
    `add chain ${table} egress { type filter hook egress device "${bridge}" priority filter; }`,
    ...shares.map(
      ({ mac }, index) =>
        `add rule ${table} egress ether daddr ${mac} meta priority set ${classOf(index)} counter`,
    ),
    '',
  ].join('\n');
}

/**
 * Gives guests their shares, in place of all limits that the bridge has towards them; packets that wait are dropped.
 * @throws VirtError link.failed when the kernel lacks what shares need
 */
async function guaranteeShares(
  bridge: string,
  limit: BandwidthLimit,
  shares: readonly GuaranteedShare[],
): Promise<void> {
  try {
    await unshape(bridge);
    await applyTrafficControl(shareLines(bridge, limit, shares));
    await runNft(shareRules(bridge, shares));
  } catch (error) {
    if (!isVirtError(error, 'program.failed') && !isVirtError(error, 'program.missing')) throw error;
    throw new VirtError('link.failed', {
      wanted: `guarantee guests a share of ${bridge}`,
      reason: error.reason,
      hint: 'shares need sch_htb, Linux 5.16 or newer with nf_tables, and nft(8)',
      ...(error.details && { details: error.details }),
      cause: error,
    });
  }
}

/** Takes the rules of shares away; the queue goes with the bridge, or by `unshape`. @throws VirtError program.* */
export async function forgetShares(bridge: string): Promise<void> {
  const table = `netdev ${tableOf(bridge)}`;
  await runNft(`add table ${table}\ndelete table ${table}\n`);
}

/** Lifts what limits packets to guests. @throws VirtError program.missing */
async function unshape(bridge: string): Promise<void> {
  // 1, 2: there is none, which is what was wanted.
  const options = { timeoutMs: 10_000, okExitCodes: [0, 1, 2] };
  await runTool('tc', ['qdisc', 'del', 'dev', bridge, 'root'], options);
}

/**
 * Brings a bridge's shares to the plan. Those that it has already stay as they are, with the packets that wait in them.
 * @param before the plan that the bridge was brought to last
 * @throws VirtError link.failed when the kernel lacks what shares need, program.*
 */
export async function bringShares(plan: SharedBridge, before: SharedBridge | undefined): Promise<void> {
  const { name } = plan.bridge;
  const limit = plan.bandwidth?.inbound;
  if (!hasShares(plan) || limit === undefined) {
    if (!hasShares(before)) return;
    await forgetShares(name);
    await unshape(name);
    return;
  }
  const isSame = JSON.stringify(wishesOf(plan)) === JSON.stringify(wishesOf(before));
  if (!isSame || !areSharesThere(name)) await guaranteeShares(name, limit, plan.shares ?? []);
}

const wishesOf = (plan: SharedBridge | undefined) => [plan?.bandwidth?.inbound, plan?.shares];

export const hasShares = (plan: SharedBridge | undefined): boolean => (plan?.shares?.length ?? 0) > 0;

/** False after somebody flushed the rules, or the bridge was made anew. */
export function areSharesThere(bridge: string): boolean {
  return tableHandle('netdev', tableOf(bridge)) !== undefined && linkDetails(bridge).queue === 'htb';
}

async function runNft(input: string): Promise<void> {
  await runTool('nft', ['-f', '-'], { timeoutMs: 10_000, input });
}
