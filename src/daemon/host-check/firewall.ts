/** Checks of packet filtering and forwarding, on which virtual networks depend. */
import * as z from 'zod';
import { type CheckContext, type HostCheck, installHint, type ProgramAnswer } from './check.ts';

/** Which of nft and iptables can be used, nft first. */
export async function checkFirewallBackend(context: CheckContext): Promise<HostCheck> {
  const base = { id: 'firewall', title: 'Firewall for virtual networks' };
  const [nft, iptables] = await Promise.all([usableNft(context), usableIptables(context)]);
  const usable = [nft, iptables].filter((backend) => backend.usable);
  const detail = [nft.detail, iptables.detail].join('; ');
  if (usable.length > 0) return { ...base, status: 'ok', detail };
  if (context.mode === 'session') return { ...base, status: 'absent', detail };
  const repair =
    nft.missing && iptables.missing
      ? installHint(context.files, 'nftables')
      : 'modprobe nf_tables; modprobe ip_tables; in a container: give it CAP_NET_ADMIN and its own network namespace';
  return { ...base, status: 'problem', detail, repair };
}

interface Backend {
  readonly usable: boolean;
  readonly missing: boolean;
  readonly detail: string;
}

async function usableNft(context: CheckContext): Promise<Backend> {
  const answer = await context.ask('nft', ['list', 'tables']);
  return answer.ok ? { usable: true, missing: false, detail: 'nft works' } : unusable('nft', answer);
}

async function usableIptables(context: CheckContext): Promise<Backend> {
  const answer = await context.ask('iptables', ['-w', '-t', 'nat', '-S']);
  if (!answer.ok) return unusable('iptables', answer);
  const version = await context.ask('iptables', ['--version']);
  const kind = version.ok && version.stdout.includes('nf_tables') ? 'nf_tables' : 'legacy';
  return { usable: true, missing: false, detail: `iptables works (${kind})` };
}

function unusable(program: string, { missing, reason }: ProgramAnswer & { readonly ok: false }): Backend {
  return {
    usable: false,
    missing,
    detail: missing ? `no ${program}` : `${program} does not work here (${reason})`,
  };
}

/** Whether other rules on the host drop what guests send through it. */
export async function checkForwardPolicy(context: CheckContext): Promise<HostCheck> {
  const base = { id: 'forward-policy', title: "Other rules on guests' traffic" };
  const [iptables, nft] = await Promise.all([
    context.ask('iptables', ['-w', '-S']),
    context.ask('nft', ['-j', 'list', 'chains']),
  ]);
  const rules = iptables.ok ? iptables.stdout : '';
  const hasDocker = /^-N DOCKER-USER$/m.test(rules);
  const dropping = [
    ...(/^-P FORWARD DROP$/m.test(rules) ? ['iptables chain FORWARD'] : []),
    ...(nft.ok ? droppingChains(nft.stdout) : []),
  ];
  if (!iptables.ok && !nft.ok) {
    return { ...base, status: 'absent', detail: 'the rules cannot be read here' };
  }
  if (dropping.length === 0) {
    return { ...base, status: 'ok', detail: hasDocker ? 'accepting; Docker is here' : 'accepting' };
  }
  return {
    ...base,
    status: 'warning',
    detail: `forwarded packets are dropped by default (${dropping.join(', ')})${hasDocker ? '; Docker set this up' : ''}: guests on bridges may be cut off`,
    repair: hasDocker
      ? 'iptables -I DOCKER-USER -i BRIDGE -j ACCEPT; iptables -I DOCKER-USER -o BRIDGE -j ACCEPT'
      : 'iptables -I FORWARD -i BRIDGE -j ACCEPT; iptables -I FORWARD -o BRIDGE -j ACCEPT, or the like in your firewall',
  };
}

/** Base chains at hook forward with policy drop, from `nft -j list chains` (libnftables-json(5)). */
function droppingChains(json: string): string[] {
  const chains = parseChains(json).filter((chain) => chain.hook === 'forward' && chain.policy === 'drop');
  // iptables' own chain shows up here a second time.
  return chains
    .filter((chain) => !(chain.table === 'filter' && chain.name === 'FORWARD'))
    .map((chain) => `nft chain ${chain.family} ${chain.table} ${chain.name}`);
}

/** Chains as nft prints them; rules and sets beside them have no `chain`. */
const chainList = z.object({
  nftables: z.array(
    z.object({
      chain: z
        .object({
          family: z.string(),
          table: z.string(),
          name: z.string(),
          hook: z.string().optional(),
          policy: z.string().optional(),
        })
        .optional(),
    }),
  ),
});

type Chain = NonNullable<z.infer<typeof chainList>['nftables'][number]['chain']>;

/** An nft without JSON support prints something else: then its chains are unknown, and iptables' answer remains. */
function parseChains(json: string): Chain[] {
  const parsed = chainList.safeParse(parseJson(json));
  return parsed.success ? parsed.data.nftables.flatMap(({ chain }) => (chain ? [chain] : [])) : [];
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    // The schema refuses undefined, as it does any other foreign shape.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export function checkIpForward({ files, mode }: CheckContext): HostCheck {
  const base = { id: 'ip-forward', title: 'IP forwarding' };
  const value = files.read('/proc/sys/net/ipv4/ip_forward')?.trim();
  if (value === '1') return { ...base, status: 'ok', detail: 'on' };
  if (value === undefined) return { ...base, status: 'absent', detail: 'the kernel has no IPv4' };
  if (mode === 'session') {
    return { ...base, status: 'absent', detail: 'off; user-mode networking does not need it' };
  }
  return {
    ...base,
    status: 'warning',
    detail: 'off: NAT and routed networks switch it on when they start',
    repair: "echo 'net.ipv4.ip_forward = 1' > /etc/sysctl.d/60-vireo.conf && sysctl --system",
  };
}
