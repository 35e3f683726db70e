/** From the rules that are there to those that should be: only the difference, and never another's. */
import { describe, expect, it } from 'vitest';
import { iptablesTransaction, parseIptablesSave } from '../../../src/net/firewall/iptables-rules.ts';
import {
  formatNftRule,
  type ListedRule,
  nftRemoval,
  nftTransaction,
} from '../../../src/net/firewall/nft-rules.ts';
import { buildRuleset } from '../../../src/net/firewall/ruleset.ts';
import type { NetworkPlan } from '../../../src/net/plan.ts';
import { natPlan } from '../../support/net-lab/lab.ts';

const four = (plan: NetworkPlan) => buildRuleset(plan).filter(({ family }) => family === 4);
const wanted = four(natPlan);

/** What iptables-save would print after the transaction, of the parts that matter here. */
function saved(transaction: string): string {
  return transaction.replaceAll(/^-I (\S+)/gm, '-A $1');
}

describe('iptablesTransaction', () => {
  const fresh = iptablesTransaction(new Map(), { wanted, stale: [], isTidying: false }) ?? '';

  it('has nothing to do when all is there', () => {
    const state = parseIptablesSave(saved(fresh));
    expect(iptablesTransaction(state, { wanted, stale: wanted, isTidying: false })).toBeUndefined();
  });

  it('brings a chain in order when one of its rules is gone, and leaves the others alone', () => {
    const accept = '-A LIBVIRT_FWO -s 192.168.150.0/24 -i virbr0 -j ACCEPT\n';
    expect(fresh).toContain(accept);
    const state = parseIptablesSave(saved(fresh).replace(accept, ''));
    expect(iptablesTransaction(state, { wanted, stale: [], isTidying: false })).toBe(`*filter
-D LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWO -s 192.168.150.0/24 -i virbr0 -j ACCEPT
-A LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable
COMMIT
`);
  });

  it("never names another's rule, and takes no chain that another uses", () => {
    const foreign = '-A LIBVIRT_INP -i other0 -j ACCEPT\n';
    const state = parseIptablesSave(saved(fresh).replace('COMMIT', `${foreign}COMMIT`));
    const removal = iptablesTransaction(state, { wanted: [], stale: wanted, isTidying: true }) ?? '';
    expect(removal).not.toContain('other0');
    expect(removal).not.toMatch(/^-[FX]/m);
    expect(removal.match(/^-D/gm)).toHaveLength(wanted.length);
  });

  it('takes chains of its own making away with the last rule, and only those', () => {
    const state = parseIptablesSave(saved(fresh));
    const removal = iptablesTransaction(state, { wanted: [], stale: wanted, isTidying: true }) ?? '';
    expect(removal).toContain('-X VIREO_MADE');
    const made = [...fresh.matchAll(/^:(LIBVIRT_\S+)/gm)].map(([, name]) => name);
    expect([...removal.matchAll(/^-X (LIBVIRT_\S+)/gm)].map(([, name]) => name)).toEqual(made);

    const unmarked = parseIptablesSave(saved(fresh).replace(':VIREO_MADE - [0:0]\n', ''));
    const kept = iptablesTransaction(unmarked, { wanted: [], stale: wanted, isTidying: true }) ?? '';
    expect(kept).not.toMatch(/^-[FX]/m);
  });
});

describe('nftTransaction', () => {
  const rules = wanted.flatMap((rule) => formatNftRule(rule, 'virbr0') ?? []);
  const base = { family: 4 as const, bridge: 'virbr0' };
  const jumps: ListedRule[] = ['guest_cross', 'guest_input', 'guest_output'].map((target, index) => ({
    chain: 'forward',
    handle: BigInt(index + 1),
    comment: `vireo:jump:${target}`,
  }));
  const listed: ListedRule[] = [
    ...jumps,
    ...rules.map(({ chain, comment }, index) => ({ chain, comment, handle: BigInt(index + 10) })),
  ];

  it('has nothing to do when all is there', () => {
    expect(nftTransaction({ ...base, wanted: rules, listed })).toBeUndefined();
  });

  it('replaces a chain of the network by handle, keeping the rest', () => {
    const without = listed.filter(({ chain, handle }) => chain !== 'guest_output' || handle > 13n);
    const text = nftTransaction({ ...base, wanted: rules, listed: without }) ?? '';
    expect(text.split('\n').every((line) => line === '' || line.includes(' guest_output '))).toBe(true);
  });

  it('removes rules of this network only', () => {
    const other: ListedRule = { chain: 'guest_input', handle: 99n, comment: 'vireo:virbr1:abc' };
    const text = nftRemoval({ ...base, listed: [...listed, other] }) ?? '';
    expect(text).not.toContain('handle 99');
    expect(text).not.toContain('delete table');
    expect(text.match(/^delete rule/gm)).toHaveLength(rules.length);
  });

  it('removes the table with the last network, unless it holds rules without our mark', () => {
    expect(nftRemoval({ ...base, listed })).toBe('delete table ip libvirt_network\n');
    const foreign: ListedRule = { chain: 'guest_input', handle: 99n, comment: undefined };
    expect(nftRemoval({ ...base, listed: [...listed, foreign] })).not.toContain('delete table');
  });
});

describe('buildRuleset', () => {
  it('gives no privileged source port to guests', () => {
    const masked = wanted.filter(({ action }) => action.kind === 'masquerade');
    expect(masked.map(({ action }) => ('ports' in action ? action.ports : undefined))).toEqual([
      { first: 1024, last: 65535 },
      { first: 1024, last: 65535 },
      undefined,
    ]);
  });

  it('refuses port forwards into an isolated network', () => {
    const forward = {
      protocol: 'tcp' as const,
      family: 4 as const,
      hostPort: 1,
      count: 1,
      guestAddress: '192.168.150.5',
      guestPort: 1,
    };
    const isolated = { ...natPlan, forward: { ...natPlan.forward, mode: 'none' as const } };
    expect(() => buildRuleset({ ...isolated, portForwards: [forward] })).toThrow(/isolated/);
  });
});
