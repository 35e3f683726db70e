/** The nftables backend: reads by netlink, writes by one `nft -f -`. */
import { isVirtError } from '../../base/errors.ts';
import { runTool } from '../../base/run-tool.ts';
import type { Family, NetworkPlan } from '../plan.ts';
import { type FirewallBackend, ruleFamilies } from './backend.ts';
import { listRules } from './nft-kernel.ts';
import { formatNftRule, type NftRule, nftRemoval, nftTable, nftTransaction } from './nft-rules.ts';
import { buildRuleset } from './ruleset.ts';

/** Another program may change the table between our look and our transaction, whose handles then don't fit. */
const ATTEMPTS = 3;

function rulesOf(plan: NetworkPlan, family: Family): NftRule[] {
  return buildRuleset(plan)
    .filter((rule) => rule.family === family)
    .flatMap((rule) => formatNftRule(rule, plan.bridge.name) ?? []);
}

/** Both families in one transaction: nft commits a whole file or nothing of it. */
function transactionFor(plan: NetworkPlan, before: NetworkPlan | undefined): string {
  const bridge = plan.bridge.name;
  const parts = ruleFamilies().map((family) => {
    const listed = listRules(family, nftTable);
    const wanted = rulesOf(plan, family);
    const isRenamed = before !== undefined && before.bridge.name !== bridge;
    const old = isRenamed ? nftTransaction({ family, bridge: before.bridge.name, wanted: [], listed }) : '';
    return `${old ?? ''}${nftTransaction({ family, bridge, wanted, listed }) ?? ''}`;
  });
  return parts.join('');
}

function removalFor(plan: NetworkPlan): string {
  const bridge = plan.bridge.name;
  return ruleFamilies()
    .map((family) => nftRemoval({ family, bridge, listed: listRules(family, nftTable) }) ?? '')
    .join('');
}

/** Runs what `build` says, looking anew when the table has changed under it; false when there was nothing to do. */
async function commit(build: () => string): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    const input = build();
    if (input === '') return false;
    try {
      await runTool('nft', ['-f', '-'], { timeoutMs: 30_000, input });
      return true;
    } catch (error) {
      if (attempt === ATTEMPTS || !isVirtError(error, 'program.failed')) throw error;
    }
  }
}

export const nftablesBackend: FirewallBackend = {
  name: 'nftables',
  apply: (plan, before) => commit(() => transactionFor(plan, before)),
  drop: async (plan) => {
    await commit(() => removalFor(plan));
  },
};
