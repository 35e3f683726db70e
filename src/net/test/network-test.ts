/** Tests a network as a guest would use it: link by link, from a throw-away tap on its bridge. */
import { randomBytes } from 'node:crypto';
import { VirtError } from '../../base/errors.ts';
import { close } from '../../base/ffi.ts';
import type { FirewallBackendName, HostNetworkFacts, NetworkPlan, Tap, TapRequest } from '../plan.ts';
import { forwardSteps, ownForwardStep } from './forward-steps.ts';
import { ProbeGuest } from './probe-guest.ts';
import {
  dhcpStep,
  gatewayStep,
  ipv6Step,
  linkStep,
  outsideNamesStep,
  ownNamesStep,
  releaseLease,
} from './service-steps.ts';
import type { NetworkTestOptions, TestContext, TestStep } from './step.ts';
import { wayOutStep } from './way-out-step.ts';

/** What the test asks of the host. */
export interface TestHost {
  openTap(request: TapRequest): Promise<Tap>;
  probe(): Promise<HostNetworkFacts>;
  reconcile(plan: NetworkPlan): Promise<void>;
  backendOf(plan: NetworkPlan): FirewallBackendName | undefined;
}

export interface NetworkTestRequest extends NetworkTestOptions {
  readonly signal: AbortSignal;
  /** Hears of each step as it is done. */
  readonly onStep?: (step: TestStep) => void;
}

/** The kernel puts the lowest free number in place of %d. A tap of that name is never a guest's. */
const TAP_NAME = 'vtest%d';

/**
 * Runs all steps; a step that fails is a finding, and the next goes on. The tap goes with its descriptor, the lease is
 * given back, and the rules are those of the plan when this ends, however it ends.
 * @throws VirtError operation.aborted, link.failed, program.*
 */
export async function testNetwork(
  host: TestHost,
  plan: NetworkPlan,
  { signal, onStep, ...options }: NetworkTestRequest,
): Promise<TestStep[]> {
  const mac = `52:54:00:${randomBytes(3)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:')}`;
  const { macTable, mtu } = { ...plan.bridge };
  const tap = await host.openTap({
    bridge: plan.bridge.name,
    mac,
    queues: 1,
    name: TAP_NAME,
    ...(macTable === 'libvirt' && { macTable }),
    ...(mtu !== undefined && { mtu }),
  });
  const [fd] = tap.fds;
  if (fd === undefined) throw new Error('the tap has no queue');
  const probe = new ProbeGuest(fd, mac, signal);
  try {
    const context: TestContext = {
      plan,
      probe,
      found: { hostName: `vireo-test-${randomBytes(3).toString('hex')}` },
      host: await host.probe(),
      backend: host.backendOf(plan),
      options,
      signal,
      reconcile: (wanted) => host.reconcile(wanted),
    };
    try {
      return await runSteps(context, tap.name, onStep);
    } finally {
      releaseLease(context);
    }
  } finally {
    probe.close();
    for (const each of [...tap.fds, ...tap.vhostFds]) close(each);
  }
}

async function runSteps(
  context: TestContext,
  tap: string,
  onStep: NetworkTestRequest['onStep'],
): Promise<TestStep[]> {
  const steps: TestStep[] = [];
  const links: readonly ((context: TestContext) => Promise<TestStep | readonly TestStep[] | undefined>)[] = [
    (one) => linkStep(one, tap),
    dhcpStep,
    gatewayStep,
    ownNamesStep,
    outsideNamesStep,
    wayOutStep,
    ownForwardStep,
    forwardSteps,
    ipv6Step,
  ];
  for (const link of links) {
    if (context.signal.aborted)
      throw new VirtError('operation.aborted', {
        wanted: `test network '${context.plan.name}'`,
        reason: 'cancelled',
      });
    for (const step of [await link(context)].flat()) {
      if (step === undefined) continue;
      steps.push(step);
      onStep?.(step);
    }
  }
  return steps;
}
