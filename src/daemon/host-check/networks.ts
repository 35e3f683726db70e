/** Checks of the chain that virtual networks hang on: bridge, kernel settings, rules, servers, ports, the host's resolver. */
import type { CheckContext, HostCheck } from './check.ts';

/** An active network with a bridge of its own, as far as the host can be held against it. */
export interface CheckedNetwork {
  readonly name: string;
  readonly bridge: string;
  readonly mode: 'nat' | 'route' | 'open' | 'none';
  /** The host's addresses on it. */
  readonly gateways: readonly string[];
  /** Where dnsmasq notes its pid; left out where the network needs none. */
  readonly pidFile?: string;
  /** What the host's resolver is told, where the network wants that. */
  readonly resolver?: { readonly domain: string; readonly server: string };
}

/** All of them, in the order of the chain. */
export async function checkNetworks(context: CheckContext): Promise<HostCheck[]> {
  const [rules, ports, resolver] = await Promise.all([
    checkRules(context),
    checkServerPorts(context),
    checkResolver(context),
  ]);
  return [
    checkBridges(context),
    checkBridgeFiltering(context),
    checkReversePath(context),
    rules,
    checkServers(context),
    ports,
    resolver,
  ];
}

/** `'default', 'lab'` */
const namesOf = (networks: readonly CheckedNetwork[]): string =>
  networks.map(({ name }) => `'${name}'`).join(', ');
const reload = (networks: readonly CheckedNetwork[]): string =>
  networks.map(({ name }) => `vireo network reload ${name}`).join('; ');
const NONE = 'no virtual network is active';

function checkBridges({ files, networks }: CheckContext): HostCheck {
  const base = { id: 'network-bridges', title: 'Bridges of virtual networks' };
  if (networks.length === 0) return { ...base, status: 'ok', detail: NONE };
  // net/core/net-sysfs.c: flags in hexadecimal; IFF_UP is 1.
  const isUp = ({ bridge }: CheckedNetwork) =>
    (Number(files.read(`/sys/class/net/${bridge}/flags`)?.trim() ?? 0) & 1) === 1;
  const lost = networks.filter((network) => !files.exists(`/sys/class/net/${network.bridge}/bridge`));
  const down = networks.filter((network) => !lost.includes(network) && !isUp(network));
  if (lost.length + down.length === 0)
    return {
      ...base,
      status: 'ok',
      detail: networks.map(({ name, bridge }) => `${name}: ${bridge}`).join(', '),
    };
  const parts = [
    ...lost.map(({ name, bridge }) => `${bridge} of '${name}' is gone`),
    ...down.map(({ name, bridge }) => `${bridge} of '${name}' is down`),
  ];
  return { ...base, status: 'problem', detail: parts.join('; '), repair: reload([...lost, ...down]) };
}

/** br_netfilter sends frames from guest to guest on one bridge through the host's IP rules as well. */
function checkBridgeFiltering({ files }: CheckContext): HostCheck {
  const base = { id: 'bridge-netfilter', title: 'IP rules on bridged frames (br_netfilter)' };
  const calls = (['iptables', 'ip6tables', 'arptables'] as const).filter(
    (name) => files.read(`/proc/sys/net/bridge/bridge-nf-call-${name}`)?.trim() === '1',
  );
  if (!files.exists('/proc/sys/net/bridge')) return { ...base, status: 'ok', detail: 'not loaded' };
  if (calls.length === 0) return { ...base, status: 'ok', detail: 'loaded, and switched off' };
  return {
    ...base,
    status: 'warning',
    detail: `on (bridge-nf-call-${calls.join(', -')}): guests on the same bridge go through the host's rules, and are cut off from each other where those drop; no guest reaches itself by a port that the host forwards to it`,
    repair: `sysctl ${calls.map((name) => `net.bridge.bridge-nf-call-${name}=0`).join(' ')}; Docker and Kubernetes may want it on`,
  };
}

/** Strict reverse path filtering drops what comes by another way than the answer would go. */
function checkReversePath({ files, networks }: CheckContext): HostCheck {
  const base = { id: 'reverse-path', title: 'Reverse path filter' };
  const valueOf = (name: string) =>
    Number(files.read(`/proc/sys/net/ipv4/conf/${name}/rp_filter`)?.trim() ?? 0);
  // Documentation/networking/ip-sysctl.rst: the higher of both counts.
  const strict = networks.filter(
    ({ mode, bridge }) => mode === 'route' && Math.max(valueOf('all'), valueOf(bridge)) === 1,
  );
  const words = ['off', 'strict', 'loose'][valueOf('all')] ?? 'unknown';
  if (strict.length === 0) return { ...base, status: 'ok', detail: `${words} for all interfaces` };
  return {
    ...base,
    status: 'warning',
    detail: `strict on routed networks (${namesOf(strict)}): guests that are reached by several ways lose packets`,
    repair: strict.map(({ bridge }) => `sysctl net.ipv4.conf.${bridge}.rp_filter=2`).join('; '),
  };
}

/** Each network's rules name its bridge, in our nft tables or in libvirt's iptables chains. */
async function checkRules(context: CheckContext): Promise<HostCheck> {
  const base = { id: 'network-rules', title: 'Firewall rules of virtual networks' };
  const { networks } = context;
  const wanted = networks.filter(({ mode }) => mode !== 'open');
  if (wanted.length === 0)
    return { ...base, status: 'ok', detail: networks.length === 0 ? NONE : 'none is wanted' };
  const [nft, iptables] = await Promise.all([
    context.ask('nft', ['list', 'table', 'ip', 'libvirt_network']),
    context.ask('iptables', ['-w', '-S', 'LIBVIRT_FWI']),
  ]);
  const text = `${nft.ok ? nft.stdout : ''}\n${iptables.ok ? iptables.stdout : ''}`;
  const words = new Set(text.split(/[\s"]+/));
  const missing = wanted.filter(({ bridge }) => !words.has(bridge));
  if (missing.length === 0) return { ...base, status: 'ok', detail: `in place for ${namesOf(wanted)}` };
  return {
    ...base,
    status: 'problem',
    detail: `missing for ${namesOf(missing)}: somebody has flushed them, or firewall_backend is 'none'`,
    repair: reload(missing),
  };
}

function checkServers({ networks, files }: CheckContext): HostCheck {
  const base = { id: 'network-servers', title: 'DHCP and DNS of virtual networks' };
  const served = networks.filter(({ pidFile }) => pidFile !== undefined);
  if (served.length === 0)
    return { ...base, status: 'ok', detail: networks.length === 0 ? NONE : 'none is wanted' };
  const dead = served.filter((network) => !servesNames(network, files));
  if (dead.length === 0) return { ...base, status: 'ok', detail: `dnsmasq runs for ${namesOf(served)}` };
  return {
    ...base,
    status: 'problem',
    detail: `no dnsmasq runs for ${namesOf(dead)}: guests get no addresses and names`,
    repair: `${reload(dead)}; the daemon's log tells why it ended`,
  };
}

/** Whether the network's own dnsmasq lives. */
function servesNames({ pidFile = '' }: CheckedNetwork, files: CheckContext['files']): boolean {
  const pid = /^\d+$/.exec(files.read(pidFile)?.trim() ?? '')?.[0];
  return pid !== undefined && files.read(`/proc/${pid}/cmdline`)?.includes('dnsmasq') === true;
}

/** A socket of `ss -lntup`. */
interface ServerSocket {
  readonly address: string;
  readonly device: string | undefined;
  readonly port: number;
  readonly program: string;
  readonly pid: string | undefined;
}

const wildcards = ['0.0.0.0', '[::]', '*'];
const portNames: Readonly<Record<number, string>> = { 53: 'DNS', 67: 'DHCP' };

/** Servers of others on all addresses: with them a network's own dnsmasq cannot have its port. */
async function checkServerPorts(context: CheckContext): Promise<HostCheck> {
  const base = { id: 'server-ports', title: 'Ports of DNS and DHCP' };
  const answer = await context.ask('ss', ['-Hlntup', '( sport = :53 or sport = :67 )']);
  if (!answer.ok)
    return { ...base, status: 'absent', detail: `the sockets cannot be listed (${answer.reason})` };
  const own = new Set(
    context.networks.flatMap(({ pidFile }) => context.files.read(pidFile ?? '')?.trim() ?? []),
  );
  // Without CAP_SYS_PTRACE (as a unit of systemd has it) the owner of a socket is not told: then its address says it.
  const [serving, silent] = [true, false].map((wanted) =>
    context.networks
      .filter((network) => servesNames(network, context.files) === wanted)
      .flatMap(({ gateways }) => gateways),
  ) as [string[], string[]];
  const isOwn = (pid: string | undefined, address: string) =>
    pid === undefined ? serving.includes(address) : own.has(pid);
  const foreign = parseSockets(answer.stdout).filter(({ address, device, pid }) => {
    const plain = address.replace(/^\[|\]$/g, '');
    if (isOwn(pid, plain)) return false;
    const isEverywhere = wildcards.includes(address) && device === undefined;
    return isEverywhere || serving.includes(plain) || silent.includes(plain);
  });
  if (foreign.length === 0) return { ...base, status: 'ok', detail: 'nobody else has them on all addresses' };
  const programs = [...new Set(foreign.map(({ program }) => program))];
  const places = [
    ...new Set(
      foreign.map(({ program, address, port }) => `${program} has ${portNames[port]} on ${address}:${port}`),
    ),
  ];
  return {
    ...base,
    status: 'warning',
    detail: `${places.join('; ')}: networks with such a server of their own may not start`,
    repair: programs.map((program) => portRepair(program)).join('; '),
  };
}

function portRepair(program: string): string {
  switch (program) {
    case 'dnsmasq':
      return "put 'bind-dynamic' and 'except-interface=virbr*' into a file in /etc/dnsmasq.d, then: systemctl restart dnsmasq";
    case 'named':
      return "put 'listen-on { 127.0.0.1; };' into named's options, then: systemctl restart named";
    case 'systemd-resolve':
      return 'take a DNSStubListenerExtra for all addresses out of resolved.conf, then: systemctl restart systemd-resolved';
    default:
      return `have ${program} listen on its own addresses only`;
  }
}

/** Netid State Recv-Q Send-Q Local:Port Peer:Port users:(("dnsmasq",pid=1,fd=4)) */
function parseSockets(text: string): ServerSocket[] {
  return text.split('\n').flatMap((line): ServerSocket[] => {
    const local = line.trim().split(/\s+/)[4] ?? '';
    const [, address, device, port] = /^(.*?)(?:%([^:]+))?:(\d+)$/.exec(local) ?? [];
    if (address === undefined) return [];
    const [, program = 'a program that cannot be seen', pid] = /\(\("([^"]+)",pid=(\d+)/.exec(line) ?? [];
    return [{ address, device, port: Number(port), program, pid }];
  });
}

/** Whether the host looks up names of the networks that want it. */
async function checkResolver(context: CheckContext): Promise<HostCheck> {
  const base = { id: 'network-names', title: 'Names of guests on the host' };
  const { networks, files } = context;
  const wanting = networks.filter(({ resolver }) => resolver !== undefined);
  if (wanting.length === 0)
    return { ...base, status: 'ok', detail: 'no active network asks for it (<domain register="yes"/>)' };
  const line = ({ resolver }: CheckedNetwork) => `server=/${resolver?.domain}/${resolver?.server}`;
  if (!files.exists('/run/systemd/resolve'))
    return {
      ...base,
      status: 'absent',
      detail: `systemd-resolved does not run: the host looks up no names of ${namesOf(wanting)}`,
      repair: `a dnsmasq of the host does with: ${wanting.map(line).join(' ')}`,
    };
  const answers = await Promise.all(
    wanting.map(({ bridge }) => context.ask('resolvectl', ['domain', bridge])),
  );
  const missing = wanting.filter(({ resolver }, index) => {
    const answer = answers[index];
    return answer?.ok !== true || !answer.stdout.split(/\s+/).includes(`~${resolver?.domain}`);
  });
  if (missing.length === 0) return { ...base, status: 'ok', detail: `registered for ${namesOf(wanting)}` };
  return {
    ...base,
    status: 'warning',
    detail: `systemd-resolved does not know the domain of ${namesOf(missing)}`,
    repair: missing
      .map(
        ({ bridge, resolver }) =>
          `resolvectl dns ${bridge} ${resolver?.server}; resolvectl domain ${bridge} '~${resolver?.domain}'`,
      )
      .join('; '),
  };
}
