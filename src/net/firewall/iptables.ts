/** The iptables backend: one iptables-save and at most one iptables-restore a family, both families at once. */
import { isVirtError } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { runTool } from '../../base/run-tool.ts';
import type { Family, NetworkPlan } from '../plan.ts';
import { type FirewallBackend, ruleFamilies } from './backend.ts';
import { type IptablesChange, iptablesTransaction, parseIptablesSave } from './iptables-rules.ts';
import { buildRuleset, type FirewallRule } from './ruleset.ts';

const LIMIT_MS = 30_000;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** Which of a host's two sets of tables: those of the `iptables` in PATH, or the old ones apart from them. */
type Variant = '' | '-legacy';

const program = (family: Family, tool: 'save' | 'restore', variant: Variant): string =>
  `${family === 4 ? 'iptables' : 'ip6tables'}${variant}-${tool}`;

/** The old iptables beside another one: its tables are apart, and what they drop only they can let pass. */
export type OldTables = 'none' | 'present' | 'dropping';

function rulesOf(plan: NetworkPlan | undefined, family: Family): FirewallRule[] {
  return plan === undefined ? [] : buildRuleset(plan).filter((rule) => rule.family === family);
}

export class IptablesBackend implements FirewallBackend {
  readonly name = 'iptables';
  private readonly log: Logger;
  private readonly oldTables: () => Promise<OldTables>;
  /** False once this kernel has shown that it lacks the CHECKSUM target. */
  private canRepair = true;

  /** @param oldTables asked at each change, since an administrator or Docker may begin to use them */
  constructor(log: Logger, oldTables: () => Promise<OldTables>) {
    this.log = log;
    this.oldTables = oldTables;
  }

  async apply(plan: NetworkPlan, before?: NetworkPlan): Promise<boolean> {
    const old = await this.oldTables();
    const variant: Variant = old === 'dropping' ? '-legacy' : '';
    const changes = await Promise.all(
      ruleFamilies().map((family) =>
        this.change(family, variant, {
          wanted: rulesOf(plan, family),
          stale: rulesOf(before, family),
          isTidying: false,
        }),
      ),
    );
    // The rules are in force where they count before they go where they were.
    if (old !== 'none') await this.dropFrom(variant === '' ? '-legacy' : '', before ?? plan);
    return changes.includes(true);
  }

  async drop(plan: NetworkPlan): Promise<void> {
    const variants: Variant[] = (await this.oldTables()) === 'none' ? [''] : ['', '-legacy'];
    for (const variant of variants) await this.dropFrom(variant, plan);
  }

  private async dropFrom(variant: Variant, plan: NetworkPlan): Promise<void> {
    await Promise.all(
      ruleFamilies().map((family) =>
        this.change(family, variant, { wanted: [], stale: rulesOf(plan, family), isTidying: true }),
      ),
    );
  }

  private async change(family: Family, variant: Variant, change: IptablesChange): Promise<boolean> {
    const saved = await runTool(program(family, 'save', variant), [], {
      timeoutMs: LIMIT_MS,
      maxOutputBytes: MAX_OUTPUT_BYTES,
    });
    const state = parseIptablesSave(saved.stdout);
    const usable = this.canRepair ? change : withoutRepairs(change);
    const input = iptablesTransaction(state, usable);
    if (input === undefined) return false;
    try {
      await this.restore(family, variant, input);
    } catch (error) {
      const reduced = this.canRepair ? iptablesTransaction(state, withoutRepairs(change)) : undefined;
      if (!isVirtError(error, 'program.failed') || !input.includes('CHECKSUM')) throw error;
      if (reduced !== undefined) await this.restore(family, variant, reduced);
      this.canRepair = false;
      this.log.warn(
        { err: error },
        'this kernel cannot fill in checksums (xt_CHECKSUM): guests with very old DHCP clients may get no address',
      );
    }
    return true;
  }

  private async restore(family: Family, variant: Variant, input: string): Promise<void> {
    await runTool(program(family, 'restore', variant), ['--noflush', '--wait'], {
      timeoutMs: LIMIT_MS,
      input,
    });
  }
}

function withoutRepairs(change: IptablesChange): IptablesChange {
  const keep = (rules: readonly FirewallRule[]) => rules.filter(({ chain }) => chain !== 'repair');
  return { ...change, wanted: keep(change.wanted) };
}
