/** Network cards: addresses that are theirs alone, and port forwards that do not collide. */
import type { Problem } from '../../../base/errors.ts';
import { bandwidthProblems, vlanProblems } from '../../network/connection.ts';
import type { Interface, InterfacePortForward } from '../devices/interface.ts';
import type { DomainDef } from '../domain.ts';
import { type Claim, repeated } from './unique.ts';

/** More forwards than this is a mistake: each port is a listening socket of QEMU. */
const MAX_FORWARDED_PORTS = 2048;

export function interfaceProblems({ devices: { interfaces } }: DomainDef): Problem[] {
  return [
    ...macProblems(interfaces),
    ...repeated(
      interfaces.map((nic, i) => ({ path: `devices.interface[${i}].target.dev`, key: nic.target?.dev })),
      (dev, first) => `'${dev}' is taken by ${first}`,
    ),
    ...interfaces.flatMap((nic, i) => forwardKindProblems(nic, `devices.interface[${i}]`)),
    ...interfaces.flatMap((nic, i) => settingProblems(nic, `devices.interface[${i}]`)),
    ...forwardProblems(interfaces),
  ];
}

/** The two halves of a team share one address, so they are left out. */
function macProblems(interfaces: readonly Interface[]): Problem[] {
  const claims = interfaces.map((nic, i) => ({
    path: `devices.interface[${i}].mac.address`,
    key: nic.teaming === undefined ? nic.mac?.address : undefined,
  }));
  return repeated(claims, (mac, first) => `${mac} is taken by ${first}`);
}

/** Types whose device on the host is made, or found, by its name. */
const hostTypes: ReadonlySet<string> = new Set(['network', 'bridge', 'direct', 'ethernet']);

/** What the kernel takes for a name (net/core/dev.c, dev_valid_name): 15 bytes at most. A longer one would be cut. */
function targetProblems({ source, target }: Interface, path: string): Problem[] {
  if (target === undefined || !hostTypes.has(source.type)) return [];
  const { dev } = target;
  const isName = dev.length <= 15 && !/[/:\\]/.test(dev) && dev !== '.' && dev !== '..';
  return isName ? [] : [{ path: `${path}.target.dev`, message: `'${dev}' is no name that Linux takes` }];
}

function settingProblems(nic: Interface, path: string): Problem[] {
  return [
    ...targetProblems(nic, path),
    ...vlanProblems(nic.vlan, `${path}.vlan`),
    ...bandwidthProblems(nic.bandwidth, `${path}.bandwidth`, { floor: 'allowed' }),
  ];
}

function forwardKindProblems(nic: Interface, path: string): Problem[] {
  const problems: Problem[] = [];
  if (nic.portForwards.length > 0 && nic.source.type !== 'user')
    problems.push({ path: `${path}.portForward`, message: `needs type user, not ${nic.source.type}` });
  if (nic.backend?.type !== undefined && nic.source.type !== 'user')
    problems.push({ path: `${path}.backend.type`, message: `'${nic.backend.type}' needs type user` });
  for (const [i, forward] of nic.portForwards.entries())
    for (const [j, range] of forward.ranges.entries()) {
      const where = `${path}.portForward[${i}].range[${j}]`;
      if (range.end !== undefined && range.end < range.start)
        problems.push({ path: `${where}.end`, message: 'is before the start' });
      if (range.to !== undefined && range.to + (range.end ?? range.start) - range.start > 65_535)
        problems.push({ path: `${where}.to`, message: 'runs past port 65535' });
      if (range.exclude === true && range.to !== undefined)
        problems.push({ path: `${where}.to`, message: 'means nothing for ports that are left out' });
    }
  return problems;
}

function forwardProblems(interfaces: readonly Interface[]): Problem[] {
  const claims = interfaces.flatMap((nic, i) =>
    nic.portForwards.flatMap((forward, j) => claimsOf(forward, `devices.interface[${i}].portForward[${j}]`)),
  );
  if (claims.length > MAX_FORWARDED_PORTS)
    return [
      {
        path: 'devices.interface',
        message: `${claims.length} ports are forwarded, more than ${MAX_FORWARDED_PORTS}`,
      },
    ];
  return repeated(claims, (key, first) => `${key} is forwarded by ${first}`);
}

/** One claim for each host port; counting stops where it becomes absurd. */
function claimsOf(forward: InterfacePortForward, path: string): Claim[] {
  const claims: Claim[] = [];
  const left = forward.ranges.filter((range) => range.exclude === true);
  const isLeftOut = (port: number): boolean =>
    left.some((r) => port >= r.start && port <= (r.end ?? r.start));
  for (const [index, range] of forward.ranges.entries()) {
    if (range.exclude === true) continue;
    for (let port = range.start; port <= (range.end ?? range.start); port++) {
      if (isLeftOut(port)) continue;
      claims.push({
        path: `${path}.range[${index}]`,
        key: `${forward.protocol} port ${port} of ${forward.address ?? 'the host'}`,
      });
      if (claims.length > MAX_FORWARDED_PORTS) return claims;
    }
  }
  return claims;
}
