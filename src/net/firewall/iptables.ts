/** The iptables backend: one iptables-save and at most one iptables-restore a family, both families at once. */
import { isVirtError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import type { Logger } from '../../base/log.ts';
import type { Family, NetworkPlan } from '../plan.ts';
import { type FirewallBackend, ruleFamilies } from './backend.ts';
import { type IptablesChange, iptablesTransaction, parseIptablesSave } from './iptables-rules.ts';
import { buildRuleset, type FirewallRule } from './ruleset.ts';

const LIMIT_MS = 30_000;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

const program = (family: Family, tool: 'save' | 'restore'): string =>
  `${family === 4 ? 'iptables' : 'ip6tables'}-${tool}`;

function rulesOf(plan: NetworkPlan | undefined, family: Family): FirewallRule[] {
  return plan === undefined ? [] : buildRuleset(plan).filter((rule) => rule.family === family);
}

export class IptablesBackend implements FirewallBackend {
  readonly name = 'iptables';
  private readonly log: Logger;
  /** False once this kernel has shown that it lacks the CHECKSUM target. */
  private canRepair = true;

  constructor(log: Logger) {
    this.log = log;
  }

  async apply(plan: NetworkPlan, before?: NetworkPlan): Promise<boolean> {
    const changes = await Promise.all(
      ruleFamilies().map((family) =>
        this.change(family, {
          wanted: rulesOf(plan, family),
          stale: rulesOf(before, family),
          isTidying: false,
        }),
      ),
    );
    return changes.includes(true);
  }

  async drop(plan: NetworkPlan): Promise<void> {
    await Promise.all(
      ruleFamilies().map((family) =>
        this.change(family, { wanted: [], stale: rulesOf(plan, family), isTidying: true }),
      ),
    );
  }

  private async change(family: Family, change: IptablesChange): Promise<boolean> {
    const saved = await run(program(family, 'save'), [], {
      timeoutMs: LIMIT_MS,
      maxOutputBytes: MAX_OUTPUT_BYTES,
    });
    const state = parseIptablesSave(saved.stdout);
    const usable = this.canRepair ? change : withoutRepairs(change);
    const input = iptablesTransaction(state, usable);
    if (input === undefined) return false;
    try {
      await this.restore(family, input);
    } catch (error) {
      const reduced = this.canRepair ? iptablesTransaction(state, withoutRepairs(change)) : undefined;
      if (!isVirtError(error, 'program.failed') || !input.includes('CHECKSUM')) throw error;
      if (reduced !== undefined) await this.restore(family, reduced);
      this.canRepair = false;
      this.log.warn(
        { err: error },
        'this kernel cannot fill in checksums (xt_CHECKSUM): guests with very old DHCP clients may get no address',
      );
    }
    return true;
  }

  private async restore(family: Family, input: string): Promise<void> {
    await run(program(family, 'restore'), ['--noflush', '--wait'], { timeoutMs: LIMIT_MS, input });
  }
}

function withoutRepairs(change: IptablesChange): IptablesChange {
  const keep = (rules: readonly FirewallRule[]) => rules.filter(({ chain }) => chain !== 'repair');
  return { ...change, wanted: keep(change.wanted) };
}
