/** Ports of the host that lead into a guest's user-mode network, for SLIRP and for passt. */
import type { InterfacePortForward } from '../../../model/domain/devices/interface.ts';
import type { Build } from './context.ts';

/** More would make a command line that nobody can read, and each is a listening socket. */
const MAX_FORWARDS = 1024;

/** SLIRP's rules, one for each port: `tcp:127.0.0.1:2222-:22` (QEMU docs, -netdev user, hostfwd). */
export function hostForwards(b: Build, forwards: readonly InterfacePortForward[], path: string): string[] {
  const rules = forwards.flatMap((forward, index) => slirpRules(b, forward, `${path}.portForward[${index}]`));
  if (rules.length > MAX_FORWARDS) b.problem(`${path}.portForward`, `has more than ${MAX_FORWARDS} ports`);
  return rules.slice(0, MAX_FORWARDS);
}

function slirpRules(b: Build, forward: InterfacePortForward, path: string): string[] {
  b.refuse(path, { dev: forward.dev }, `needs <backend type='passt'/>`);
  if (forward.address?.includes(':')) b.problem(`${path}.address`, `IPv6 needs <backend type='passt'/>`);
  const wanted = forward.ranges.filter((range) => !range.exclude);
  if (wanted.length === 0) b.problem(path, `needs a <range>; all ports at once need <backend type='passt'/>`);
  const excluded = forward.ranges.filter((range) => range.exclude);
  const isExcluded = (port: number) =>
    excluded.some((range) => port >= range.start && port <= (range.end ?? range.start));
  return wanted.flatMap((range) =>
    portsOf(range)
      .filter((port) => !isExcluded(port))
      .map((port) => {
        const guest = (range.to ?? range.start) + port - range.start;
        if (guest > 65_535) b.problem(path, `port ${guest} of the guest is out of range`);
        return `${forward.protocol}:${forward.address ?? ''}:${port}-:${guest}`;
      }),
  );
}

type Range = InterfacePortForward['ranges'][number];

/** The ports of a range, at most one more than are allowed: enough to see that they are too many. */
function portsOf(range: Range): number[] {
  const length = Math.min((range.end ?? range.start) - range.start + 1, MAX_FORWARDS + 1);
  return Array.from({ length: Math.max(length, 0) }, (_unused, offset) => range.start + offset);
}

/** passt's options: `--tcp-ports 127.0.0.1/8080-8090:80-90,~8085` (passt(1), -t). */
export function passtForwards(b: Build, forwards: readonly InterfacePortForward[], path: string): string[] {
  return forwards.flatMap((forward, index) => {
    const ranges = forward.ranges.map((range) => passtRange(b, range, `${path}.portForward[${index}]`));
    const device = forward.dev === undefined ? '' : `%${forward.dev}`;
    const prefix = forward.address === undefined && device === '' ? '' : `${forward.address ?? ''}${device}/`;
    return [`--${forward.protocol}-ports`, `${prefix}${ranges.length === 0 ? 'all' : ranges.join(',')}`];
  });
}

function passtRange(b: Build, range: Range, path: string): string {
  const end = range.end ?? range.start;
  const span = (start: number, last: number) => (start === last ? String(start) : `${start}-${last}`);
  const host = span(range.start, end);
  if (range.exclude) return `~${host}`;
  if (range.to === undefined) return host;
  const last = range.to + end - range.start;
  if (last > 65_535) b.problem(path, `port ${last} of the guest is out of range`);
  return `${host}:${span(range.to, last)}`;
}
