/** What a firewall backend does, whichever program carries it out. */
import type { Family, FirewallBackendName, NetworkPlan } from '../plan.ts';
import { readSysctl } from '../sysctl.ts';

export interface FirewallBackend {
  readonly name: FirewallBackendName;
  /**
   * Puts the plan's rules in place by one transaction a family; those of `before`, an earlier plan of the network, go
   * in the same one. What is right already is left alone. True when something was changed.
   * @throws VirtError program.missing, program.failed
   */
  apply(plan: NetworkPlan, before?: NetworkPlan): Promise<boolean>;
  /** Takes the plan's rules away, and the chains or tables of ours when they were the last. Idempotent. */
  drop(plan: NetworkPlan): Promise<void>;
}

/** The families this kernel has: IPv6 can be switched off at boot, and its filter is then not there either. */
export function ruleFamilies(): readonly Family[] {
  return readSysctl('ipv6/conf/all/forwarding') === undefined ? [4] : [4, 6];
}
