/** `<forward>` and `<bridge>`: what goes with which mode. */
import type { Problem } from '../../../base/errors.ts';
import { compareIp, countOf, parseIp } from '../../../base/ip.ts';
import type { Forward } from '../forward.ts';
import { forwardModeOf, hasOwnBridge, type NetworkDef } from '../network.ts';

export function forwardProblems(definition: NetworkDef): Problem[] {
  return [
    ...(hasOwnBridge(definition) ? ownBridgeProblems(definition) : foreignProblems(definition)),
    ...(definition.forward ? partProblems(definition.forward, definition) : []),
  ];
}

const noIp: Problem = { path: 'ip', message: 'is missing: forwarding needs an address on the bridge' };

/** Networks whose bridge is ours. */
function ownBridgeProblems(definition: NetworkDef): Problem[] {
  const mode = forwardModeOf(definition);
  const problems: Problem[] = [];
  if ((mode === 'nat' || mode === 'route') && definition.ips.length === 0) problems.push(noIp);
  if (definition.virtualport !== undefined)
    problems.push({ path: 'virtualport', message: `does not go with ${describe(mode)}` });
  if (definition.bridge?.zone !== undefined && mode === 'open')
    problems.push({
      path: 'bridge.zone',
      message: "does not go with mode 'open', which has no firewall rules",
    });
  return problems;
}

function describe(mode: string): string {
  return mode === 'none' ? 'an isolated network' : `mode '${mode}'`;
}

/** Networks on interfaces that others made: they have no addresses, names or servers of their own. */
function foreignProblems(definition: NetworkDef): Problem[] {
  const mode = forwardModeOf(definition);
  const { bridge } = definition;
  const given: readonly (readonly [string, unknown])[] = [
    ['ip', definition.ips[0]],
    ['route', definition.routes[0]],
    ['dns', definition.dns],
    ['domain', definition.domain],
    ['mac', definition.mac],
    ['mtu', definition.mtu],
    ['bridge.stp', bridge?.stp],
    ['bridge.delay', bridge?.delay],
    ['bridge.zone', bridge?.zone],
    ['dnsmasq:options', definition.dnsmasqOptions[0]],
    ['bridge', mode === 'bridge' ? undefined : bridge],
  ];
  const problems = given
    .filter(([, value]) => value !== undefined)
    .map(([path]) => ({ path, message: `does not go with ${describe(mode)}` }));
  if (mode === 'bridge' && bridge?.name !== undefined && (definition.forward?.interfaces.length ?? 0) > 0)
    problems.push({
      path: 'bridge.name',
      message: 'does not go with interfaces to forward to; give one of both',
    });
  if (bridge !== undefined && mode === 'bridge' && bridge.name === undefined)
    problems.push({ path: 'bridge.name', message: 'is missing' });
  return problems;
}

/** The parts of <forward> and the modes that have them. */
const partModes = {
  nat: ['nat'],
  managed: ['hostdev'],
  driver: ['hostdev'],
  physical: ['hostdev', 'passthrough', 'bridge', 'private', 'vepa'],
  addresses: ['hostdev'],
  interfaces: ['nat', 'route', 'bridge', 'private', 'vepa', 'passthrough'],
} as const;

const xmlNames: Partial<Record<keyof typeof partModes, string>> = {
  physical: 'pf',
  addresses: 'address',
  interfaces: 'interface',
};

function partProblems(forward: Forward, definition: NetworkDef): Problem[] {
  const mode = forwardModeOf(definition);
  const problems: Problem[] = [];
  for (const [part, modes] of Object.entries(partModes) as [keyof typeof partModes, readonly string[]][]) {
    const value = forward[part];
    if (value === undefined || (Array.isArray(value) && value.length === 0) || modes.includes(mode)) continue;
    problems.push({ path: `forward.${xmlNames[part] ?? part}`, message: `does not go with mode '${mode}'` });
  }
  return [...problems, ...interfaceProblems(forward, mode), ...natProblems(forward)];
}

function interfaceProblems(forward: Forward, mode: string): Problem[] {
  const { dev, interfaces } = forward;
  const problems: Problem[] = [];
  const first = interfaces[0]?.dev;
  if (dev !== undefined && first !== undefined && dev !== first)
    problems.push({ path: 'forward.dev', message: `is '${dev}', but the first interface is '${first}'` });
  if ((mode === 'nat' || mode === 'route') && interfaces.length > 1)
    problems.push({
      path: 'forward.interface',
      message: `is given more than once, which mode '${mode}' does not take`,
    });
  const seen = new Set<string>();
  for (const [i, entry] of interfaces.entries()) {
    if (seen.has(entry.dev))
      problems.push({ path: `forward.interface[${i}].dev`, message: `'${entry.dev}' is given twice` });
    seen.add(entry.dev);
  }
  return problems;
}

function natProblems({ nat }: Forward): Problem[] {
  const problems: Problem[] = [];
  if (nat?.port !== undefined && nat.port.end < nat.port.start)
    problems.push({ path: 'forward.nat.port.end', message: 'is before the start' });
  const start = parseIp(nat?.address?.start ?? '');
  const end = parseIp(nat?.address?.end ?? '');
  if (start !== undefined && end !== undefined) {
    if (compareIp(start, end) > 0)
      problems.push({ path: 'forward.nat.address.end', message: 'is before the start' });
    else if (countOf(start, end) > 65_536)
      problems.push({ path: 'forward.nat.address', message: 'has more than 65536 addresses' });
  }
  return problems;
}
