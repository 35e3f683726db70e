/** What is built from network documents: NAME.xml gives dnsmasq's files, and the rules of both firewalls. */
import { describe, expect, test } from 'vitest';
import {
  buildDnsmasqConfig,
  buildHostsFile,
  buildNamesFile,
  needsDnsmasq,
} from '../../src/net/dnsmasq/config.ts';
import { formatDnsmasq } from '../../src/net/dnsmasq/config-file.ts';
import { iptablesTransaction } from '../../src/net/firewall/iptables-rules.ts';
import { formatNftRule, nftTransaction } from '../../src/net/firewall/nft-rules.ts';
import { buildRuleset } from '../../src/net/firewall/ruleset.ts';
import type { NetworkPlan } from '../../src/net/plan.ts';
import { netGoldenCases, netGoldenDirectory, planOfCase } from '../support/net-lab/xml-plans.ts';

const files = {
  config: '/d/net.conf',
  hosts: '/d/net.hostsfile',
  names: '/d/net.addnhosts',
  leases: '/d/net.leases',
  pid: '/r/net.pid',
  isShared: true,
};

function dnsmasqText(plan: NetworkPlan): string {
  if (!needsDnsmasq(plan)) return 'no dnsmasq\n';
  return [
    formatDnsmasq(buildDnsmasqConfig(plan, files, 'dnsmasq'), plan.dnsmasqOptions),
    '## hosts\n',
    buildHostsFile(plan),
    '## names\n',
    buildNamesFile(plan),
  ].join('');
}

function iptablesText(plan: NetworkPlan): string {
  return ([4, 6] as const)
    .map((family) => {
      const wanted = buildRuleset(plan).filter((rule) => rule.family === family);
      return `# IPv${family}\n${iptablesTransaction(new Map(), { wanted, stale: [], isTidying: false }) ?? ''}`;
    })
    .join('');
}

function nftText(plan: NetworkPlan): string {
  const bridge = plan.bridge.name;
  return ([4, 6] as const)
    .map((family) => {
      const wanted = buildRuleset(plan)
        .filter((rule) => rule.family === family)
        .flatMap((rule) => formatNftRule(rule, bridge) ?? []);
      return nftTransaction({ family, bridge, wanted, listed: undefined }) ?? '';
    })
    .join('');
}

describe.each(netGoldenCases)('network %s', (name) => {
  test("gives dnsmasq's files", async () => {
    await expect(dnsmasqText(planOfCase(name))).toMatchFileSnapshot(`${netGoldenDirectory}${name}.dnsmasq`);
  });

  test('gives rules for iptables-restore', async () => {
    await expect(iptablesText(planOfCase(name))).toMatchFileSnapshot(`${netGoldenDirectory}${name}.iptables`);
  });

  test('gives rules for nft', async () => {
    await expect(nftText(planOfCase(name))).toMatchFileSnapshot(`${netGoldenDirectory}${name}.nft`);
  });
});
