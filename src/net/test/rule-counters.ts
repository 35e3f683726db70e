/** How often the rules of a network let something out: read from nft or iptables, before and after a packet. */
import { isVirtError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import { formatSubnet, parseIp, subnetOf } from '../../base/ip.ts';
import { nftTable } from '../firewall/nft-rules.ts';
import type { FirewallBackendName, NetworkPlan } from '../plan.ts';

/** Packets so far. */
export interface RuleCounters {
  /** Forwarded from guests to elsewhere. */
  readonly forwarded: number;
  /** Connections that were given the host's address. */
  readonly translated: number;
}

/** Undefined when there are no rules to read. @throws VirtError program.missing, program.timeout */
export async function readCounters(
  plan: NetworkPlan,
  backend: FirewallBackendName | undefined,
  signal: AbortSignal,
): Promise<RuleCounters | undefined> {
  const options = { timeoutMs: 10_000, signal };
  try {
    if (backend === 'nftables') {
      const { stdout } = await run('nft', ['-n', 'list', 'table', 'ip', nftTable], options);
      return nftCounters(stdout, plan.bridge.name);
    }
    if (backend !== 'iptables') return undefined;
    const list = async (table: string, chain: string) =>
      (await run('iptables', ['-w', '-t', table, '-nvxL', chain], options)).stdout;
    return {
      forwarded: iptablesCount(await list('filter', 'LIBVIRT_FWO'), plan, ['ACCEPT']),
      translated: iptablesCount(await list('nat', 'LIBVIRT_PRT'), plan, ['MASQUERADE', 'SNAT']),
    };
  } catch (error) {
    // The table or chain is not there: that is what the test is to find out.
    if (isVirtError(error, 'program.failed')) return undefined;
    throw error;
  }
}

/** From `nft list table`: each rule of ours is a line with a counter and a comment that names the bridge. */
export function nftCounters(text: string, bridge: string): RuleCounters {
  const counts = { forwarded: 0, translated: 0 };
  let chain = '';
  for (const line of text.split('\n')) {
    chain = /^\s*chain (\S+) \{/.exec(line)?.[1] ?? chain;
    const packets = Number(/counter packets (\d+)/.exec(line)?.[1] ?? 0);
    if (!line.includes(`comment "vireo:${bridge}:`)) continue;
    if (chain === 'guest_output' && / accept /.test(line)) counts.forwarded += packets;
    if (chain === 'guest_nat' && / (masquerade|snat) /.test(line)) counts.translated += packets;
  }
  return counts;
}

/** From `iptables -nvxL`: pkts bytes target prot opt in out source destination. */
export function iptablesCount(text: string, plan: NetworkPlan, targets: readonly string[]): number {
  const sources = new Set(plan.subnets.map(({ address, prefix }) => networkOf(address, prefix)));
  return text
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , target = '', , , , , source = '']) => targets.includes(target) && sources.has(source))
    .reduce((sum, [packets]) => sum + Number(packets), 0);
}

function networkOf(address: string, prefix: number): string {
  const parsed = parseIp(address);
  return parsed === undefined ? address : formatSubnet(subnetOf(parsed, prefix));
}
