/** Port forwards of a user-mode network on a running guest: text of QEMU's human monitor, and its answers. */
import { isIPv4 } from 'node:net';
import { oneLine, type Problem, VirtError } from '../../base/errors.ts';
import type { PortForward } from '../driver.ts';

/**
 * The rule as hostfwd_add takes it, `tcp:127.0.0.1:8080-10.0.2.15:80` (QEMU: docs of -netdev user, hostfwd). The human
 * monitor splits at blanks and has no quoting here, so every part is checked against its own grammar first.
 * @throws VirtError request.invalid
 */
function forwardRule(forward: PortForward): string {
  const problems = [
    ...badAddress('hostAddress', forward.hostAddress),
    ...badAddress('guestAddress', forward.guestAddress),
    ...badPort('hostPort', forward.hostPort),
    ...badPort('guestPort', forward.guestPort),
  ];
  if (forward.protocol !== 'tcp' && forward.protocol !== 'udp')
    problems.push({ path: 'protocol', message: 'is neither tcp nor udp' });
  if (problems.length > 0)
    throw new VirtError('request.invalid', {
      wanted: 'forward a port',
      reason: problems.map(({ path, message }) => `${path} ${message}`).join('; '),
      details: { problems },
    });
  return `${hostEnd(forward)}-${forward.guestAddress}:${forward.guestPort}`;
}

/** The host's end of the rule, which is all that hostfwd_remove takes. Call forwardRule first: it checks. */
function hostEnd(forward: PortForward): string {
  return `${forward.protocol}:${forward.hostAddress}:${forward.hostPort}`;
}

// SLIRP's forwards are IPv4 only up to QEMU 10; '' means any address (host) or the first lease (guest).
function badAddress(path: string, address: string): Problem[] {
  return address === '' || isIPv4(address) ? [] : [{ path, message: 'is not an IPv4 address' }];
}

function badPort(path: string, port: number): Problem[] {
  return Number.isInteger(port) && port >= 1 && port <= 65_535
    ? []
    : [{ path, message: 'is not a port (1 to 65535)' }];
}

/** The name of the netdev behind an interface: argv gives it `host` and the interface's alias. */
function netdevOf(alias: string): string {
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(alias))
    throw new VirtError('domain.no-device', {
      wanted: 'forward a port',
      reason: 'that is no alias of an interface',
    });
  return `host${alias}`;
}

export function addForwardCommand(alias: string, forward: PortForward): string {
  return `hostfwd_add ${netdevOf(alias)} ${forwardRule(forward)}`;
}

export function removeForwardCommand(alias: string, forward: PortForward): string {
  forwardRule(forward);
  return `hostfwd_remove ${netdevOf(alias)} ${hostEnd(forward)}`;
}

const show = (forward: PortForward): string =>
  `${forward.protocol} ${forward.hostAddress || '*'}:${forward.hostPort}`;

/** Sends a line to QEMU's human monitor, and gives its answer. */
type AskMonitor = (line: string) => Promise<string>;

/** Leads a port of the host to the guest. @throws VirtError request.invalid, forward.conflict, domain.no-device */
export async function addForward(ask: AskMonitor, alias: string, forward: PortForward): Promise<void> {
  checkAddAnswer(await ask(addForwardCommand(alias, forward)), forward);
}

/** Takes a forward away. @throws VirtError request.invalid, forward.not-found, domain.no-device */
export async function removeForward(ask: AskMonitor, alias: string, forward: PortForward): Promise<void> {
  checkRemoveAnswer(await ask(removeForwardCommand(alias, forward)), forward);
}

/**
 * Reads the answer of hostfwd_add: nothing when it went well.
 * @throws VirtError forward.conflict, domain.no-device
 */
export function checkAddAnswer(answer: string, forward: PortForward): void {
  const said = answer.trim();
  if (said === '') return;
  const wanted = `forward ${show(forward)}`;
  if (isUnknownNetdev(said)) throw noUserNetwork(wanted);
  throw new VirtError('forward.conflict', {
    wanted,
    reason: `the address and port are taken, or may not be used (QEMU: ${oneLine(said, 300)})`,
    hint: 'choose another host port; ports below 1024 need rights that a guest does not have',
  });
}

/**
 * Reads the answer of hostfwd_remove, which says `... removed` when it went well.
 * @throws VirtError forward.not-found, domain.no-device
 */
export function checkRemoveAnswer(answer: string, forward: PortForward): void {
  const said = answer.trim();
  if (/\bremoved$/.test(said)) return;
  const wanted = `remove the forward ${show(forward)}`;
  if (isUnknownNetdev(said)) throw noUserNetwork(wanted);
  throw new VirtError('forward.not-found', { wanted, reason: `QEMU: ${oneLine(said, 300)}` });
}

const isUnknownNetdev = (said: string): boolean =>
  /unrecognized netdev|not a user|user network stack/i.test(said);

function noUserNetwork(wanted: string): VirtError {
  return new VirtError('domain.no-device', {
    wanted,
    reason: 'that interface is not of type user',
    hint: 'port forwards exist only on interfaces of type user',
  });
}
