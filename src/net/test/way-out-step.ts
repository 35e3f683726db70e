/** The step beyond the network: whether packets leave as the network promises, even where nobody is there to answer. */
import { contains, formatIp, offsetIp, parseIp, subnetOf } from '../../base/ip.ts';
import type { HostNetworkFacts } from '../plan.ts';
import { type RuleCounters, readCounters } from './rule-counters.ts';
import { hasWayOut } from './service-steps.ts';
import { stepsOf, subnetFour, type TestContext, type TestStep } from './step.ts';

/** Echo requests that are sent; each is a connection of its own for the rules' counters. */
const ATTEMPTS = 2;

interface Seen {
  readonly answer: Awaited<ReturnType<TestContext['probe']['ping']>>;
  readonly before: RuleCounters | undefined;
  readonly after: RuleCounters | undefined;
}

export async function wayOutStep(context: TestContext): Promise<TestStep> {
  const { plan, probe, found, options, host } = context;
  const isIsolated = plan.forward.mode === 'none';
  const step = stepsOf('way-out', isIsolated ? 'Isolation' : 'Way out');
  if (probe.address === undefined || found.gatewayMac === undefined)
    return step.skipped('the gateway was not reached');
  const target = options.target ?? targetOf(context);
  if (target === undefined)
    return isIsolated
      ? step.skipped('the host itself is on no other network')
      : withoutTarget(context, await readCounters(plan, context.backend, context.signal));
  const seen = await tryTarget(context, target, probe.address, found.gatewayMac);
  if (isIsolated)
    return seen.answer?.isAnswer === true
      ? step.failed(
          `${target} answers, although the network is isolated`,
          `vireo network reload ${plan.name}; and see who else sets rules: 'nft list ruleset'`,
        )
      : step.ok(`${target} cannot be reached${seen.answer === undefined ? '' : ': the host refuses'}`);
  if (seen.answer?.isAnswer === true) return step.ok(`${target} answers${translatedText(seen)}`);
  if (!host.isIpv4Forwarding)
    return step.failed(
      'the host forwards no packets (net.ipv4.ip_forward is 0)',
      `vireo network reload ${plan.name}`,
    );
  return unanswered(context, target, seen);
}

function translatedText({ before, after }: Seen): string {
  const count = (after?.translated ?? 0) - (before?.translated ?? 0);
  return count > 0 ? ", and sees the host's address" : '';
}

async function tryTarget(context: TestContext, target: string, own: string, gateway: string): Promise<Seen> {
  const read = () => readCounters(context.plan, context.backend, context.signal);
  const before = await read();
  const answer = await context.probe.ping(target, gateway, own, ATTEMPTS);
  return { before, answer, after: await read() };
}

/** Nobody answered: the rules' counters tell whether the packets have left. */
function unanswered(context: TestContext, target: string, { answer, before, after }: Seen): TestStep {
  const { plan } = context;
  const step = stepsOf('way-out', 'Way out');
  const host = hasWayOut(context) ? '' : '; the host itself has no default route';
  if (plan.forward.mode === 'open' || context.backend === 'none')
    return step.skipped(
      `${target} does not answer, and Vireo has no rules here: whoever runs the host's firewall decides`,
    );
  if (after === undefined || before === undefined)
    return step.failed("the network's rules are not there", `vireo network reload ${plan.name}`);
  const counted = plan.forward.mode === 'nat' ? 'translated' : 'forwarded';
  if (after[counted] > before[counted])
    return step.ok(
      `the rules work: packets to ${target} were ${counted === 'translated' ? "sent on with the host's address" : 'forwarded'}; it did not answer${host}`,
    );
  if (after.forwarded > before.forwarded)
    return step.failed(
      `packets to ${target} pass the network's own rules, but never leave`,
      dropRepair(context),
    );
  const refusal = answer === undefined ? '' : ` (the host says: unreachable, code ${answer.code})`;
  return step.failed(
    `packets to ${target} do not come as far as the network's rules${refusal}`,
    dropRepair(context),
  );
}

function dropRepair({ plan, host: { firewall } }: TestContext): string {
  const reload = `vireo network reload ${plan.name}`;
  if (firewall.isDockerPresent)
    return `${reload}; Docker drops what is forwarded: iptables -I DOCKER-USER -i ${plan.bridge.name} -j ACCEPT; iptables -I DOCKER-USER -o ${plan.bridge.name} -j ACCEPT`;
  if (firewall.isForwardPolicyDrop)
    return `${reload}; a chain of the host drops what is forwarded: 'vireo host check' names it`;
  return `${reload}; 'ip route get' on the host tells whether it knows the way, 'nft list ruleset' who drops it`;
}

/** The host knows nobody beyond: the rules can only be looked at. */
function withoutTarget({ plan, backend }: TestContext, counters: RuleCounters | undefined): TestStep {
  const step = stepsOf('way-out', 'Way out');
  if (counters !== undefined || plan.forward.mode === 'open' || backend === 'none')
    return step.skipped(
      'the rules are in place; the host itself has no route, so guests reach no further than it',
    );
  return step.failed("the network's rules are not there", `vireo network reload ${plan.name}`);
}

/** The host's own gateway, or else some address on one of its other networks. */
function targetOf({ plan, host }: TestContext): string | undefined {
  const subnet = subnetFour(plan);
  const own = subnet && parseIp(subnet.address);
  const ours = subnet && own && subnetOf(own, subnet.prefix);
  const isOurs = (text: string) => {
    const address = parseIp(text);
    return address !== undefined && ours !== undefined && contains(ours, address);
  };
  const gateway = host.routes.find(
    ({ family, prefix, gateway: via }) => family === 4 && prefix === 0 && via !== undefined,
  )?.gateway;
  if (gateway !== undefined && !isOurs(gateway)) return gateway;
  return neighbourOf(host, isOurs);
}

/** An address beside one of the host's own: somebody may be there, and packets to it leave in any case. */
function neighbourOf(
  { addresses, links }: HostNetworkFacts,
  isOurs: (address: string) => boolean,
): string | undefined {
  const bridges = new Set(links.filter(({ kind }) => kind === 'bridge').map(({ name }) => name));
  const place = addresses.find(
    ({ family, address, prefix, link }) =>
      family === 4 &&
      prefix <= 30 &&
      link !== 'lo' &&
      !bridges.has(link) &&
      !address.startsWith('169.254.') &&
      !isOurs(address),
  );
  const own = place && parseIp(place.address);
  if (place === undefined || own === undefined) return undefined;
  const { base } = subnetOf(own, place.prefix);
  const [first, second] = [1, 2].map((offset) => formatIp(offsetIp(base, offset)));
  return first === place.address ? second : first;
}
