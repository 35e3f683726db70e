/** What a test of a network finds: one link of the chain after the other. */
import type { FirewallBackendName, HostNetworkFacts, NetworkPlan } from '../plan.ts';
import type { ProbeGuest } from './probe-guest.ts';

/** `skipped`: the network does not promise it, or it could not be tried; `detail` says which. */
export type TestStatus = 'ok' | 'failed' | 'skipped';

export interface TestStep {
  /** Stable, kebab-case. */
  readonly id: string;
  readonly title: string;
  readonly status: TestStatus;
  /** What was seen. */
  readonly detail: string;
  /** A command or a sentence that puts it right. */
  readonly repair?: string;
}

/** What the probe has learned of the network so far; each step may add to it. */
export interface ProbeFacts {
  /** MAC address of the gateway. */
  gatewayMac?: string;
  /** The server whose lease the probe has. */
  dhcpServer?: string;
  /** The name that the probe gave to the DHCP server. */
  readonly hostName: string;
}

export interface TestContext {
  readonly plan: NetworkPlan;
  readonly probe: ProbeGuest;
  readonly found: ProbeFacts;
  readonly host: HostNetworkFacts;
  readonly backend: FirewallBackendName | undefined;
  readonly options: NetworkTestOptions;
  readonly signal: AbortSignal;
  /** Brings the host to another plan of the same network. */
  readonly reconcile: (plan: NetworkPlan) => Promise<void>;
}

export interface NetworkTestOptions {
  /** Address beyond the network to reach; the host's own gateway when left out. */
  readonly target?: string;
  /** Name to look up beyond the network. */
  readonly outsideName?: string;
}

/** The IPv4 subnet that guests live in, undefined where there is none. */
export const subnetFour = (plan: NetworkPlan) => plan.subnets.find(({ family }) => family === 4);

/** Makes the steps of one link: `ok('…')`, `failed('…', 'repair')`, `skipped('…')`. */
export function stepsOf(id: string, title: string) {
  const base = { id, title };
  return {
    ok: (detail: string): TestStep => ({ ...base, status: 'ok', detail }),
    failed: (detail: string, repair: string): TestStep => ({ ...base, status: 'failed', detail, repair }),
    skipped: (detail: string, repair?: string): TestStep => ({
      ...base,
      status: 'skipped',
      detail,
      ...(repair !== undefined && { repair }),
    }),
  };
}
