/** Checks of packet filtering and forwarding, on which virtual networks depend. */
import * as z from 'zod';
import { settingsFile } from '../../net/state.ts';
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
  const chains = nft.ok ? parseChains(nft.stdout) : [];
  const isIptablesDropping = /^-P FORWARD DROP$/m.test(rules);
  const others = droppingChains(chains);
  const dropping = [...(isIptablesDropping ? ['iptables chain FORWARD'] : []), ...others];
  const owner = ownerOf(rules, chains);
  if (!iptables.ok && !nft.ok) {
    return { ...base, status: 'absent', detail: 'the rules cannot be read here' };
  }
  const here = owner === undefined ? '' : `; ${owner.name} is here`;
  if (dropping.length === 0) return { ...base, status: 'ok', detail: `accepting${here}` };
  // Rules in iptables' own chains come before its policy; no accept of ours overrules another nft chain's drop.
  const whose =
    others.length > 0
      ? 'guests on any bridge may be cut off'
      : "Vireo's own networks have their rules in the same chain; guests on other bridges may be cut off";
  return {
    ...base,
    status: 'warning',
    detail: `forwarded packets are dropped by default (${dropping.join(', ')})${here}: ${whose}`,
    repair:
      owner?.repair ?? [...(isIptablesDropping ? [plainRepair] : []), ...others.map(nftRepair)].join('; '),
  };
}

const plainRepair =
  'iptables -I FORWARD -i BRIDGE -j ACCEPT; iptables -I FORWARD -o BRIDGE -j ACCEPT, or the like in your firewall';

const nftRepair = (chain: string): string =>
  ['iifname', 'oifname']
    .map((key) => `nft insert rule ${chain.replace('nft chain ', '')} ${key} BRIDGE accept`)
    .join('; ');

/** Who rules over the host's packets, and what to tell them; the first that is there. */
const owners: readonly { readonly name: string; readonly sign: RegExp; readonly repair: string }[] = [
  {
    name: 'Docker',
    sign: /^-N DOCKER-USER$/m,
    repair: 'iptables -I DOCKER-USER -i BRIDGE -j ACCEPT; iptables -I DOCKER-USER -o BRIDGE -j ACCEPT',
  },
  {
    name: 'ufw',
    sign: /^-N ufw-user-forward$/m,
    repair: 'ufw route allow in on BRIDGE; ufw route allow out on BRIDGE',
  },
];

function ownerOf(rules: string, chains: readonly Chain[]): { name: string; repair: string } | undefined {
  const found = owners.find(({ sign }) => sign.test(rules));
  if (found !== undefined || !chains.some(({ table }) => table === 'firewalld')) return found;
  return { name: 'firewalld', repair: 'firewall-cmd --zone=libvirt --change-interface=BRIDGE' };
}

/** Base chains at hook forward with policy drop, as nft prints them (libnftables-json(5)). */
function droppingChains(all: readonly Chain[]): string[] {
  const chains = all.filter((chain) => chain.hook === 'forward' && chain.policy === 'drop');
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

/** What networks have changed and put back when the last that needs it stops: `ipv4/ip_forward was 0`. */
function changedSettings({ files, settingsBefore }: CheckContext): string[] {
  const text = settingsBefore === undefined ? undefined : files.read(settingsBefore);
  const parsed = settingsFile.safeParse(text === undefined ? undefined : parseJson(text));
  return parsed.success
    ? Object.entries(parsed.data.before).map(([name, value]) => `${name} was ${value}`)
    : [];
}

export function checkIpForward(context: CheckContext): HostCheck {
  const { files, mode, networks } = context;
  const base = { id: 'ip-forward', title: 'IP forwarding' };
  const value = files.read('/proc/sys/net/ipv4/ip_forward')?.trim();
  if (value === '1') {
    const changed = changedSettings(context).join(', ');
    const detail =
      changed === '' ? 'on' : `on by Vireo's networks, which put back after the last: ${changed}`;
    return { ...base, status: 'ok', detail };
  }
  if (value === undefined) return { ...base, status: 'absent', detail: 'the kernel has no IPv4' };
  if (mode === 'session') {
    return { ...base, status: 'absent', detail: 'off; user-mode networking does not need it' };
  }
  const cut = networks.filter((network) => network.mode === 'nat' || network.mode === 'route');
  if (cut.length > 0)
    return {
      ...base,
      status: 'problem',
      detail: `off: somebody has switched it off, and guests on ${cut.map(({ name }) => `'${name}'`).join(', ')} reach nobody`,
      repair: cut.map(({ name }) => `vireo network reload ${name}`).join('; '),
    };
  return {
    ...base,
    status: 'warning',
    detail: 'off: NAT and routed networks switch it on when they start',
    repair: "echo 'net.ipv4.ip_forward = 1' > /etc/sysctl.d/60-vireo.conf && sysctl --system",
  };
}
