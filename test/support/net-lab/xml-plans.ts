/** Plans out of the network documents in test/golden/net, for tests of what is built from them. */
import { readdirSync, readFileSync } from 'node:fs';
import { applyNetworkDefaults } from '../../../src/model/network/defaults.ts';
import { parseNetwork } from '../../../src/model/network/network.ts';
import type { NetworkPlan, PortForward } from '../../../src/net/plan.ts';
import { planOf } from '../../../src/net/plan-from-definition.ts';

export const netGoldenDirectory = new URL('../../golden/net/', import.meta.url).pathname;

export const netGoldenCases = readdirSync(netGoldenDirectory)
  .filter((name) => name.endsWith('.xml'))
  .map((name) => name.slice(0, -'.xml'.length))
  .sort();

/** Guests' addresses are looked up by the daemon, so forwards are no part of a document's plan. */
const portForwards: readonly PortForward[] = [
  { protocol: 'tcp', family: 4, hostPort: 2222, count: 1, guestAddress: '192.168.122.10', guestPort: 22 },
  {
    protocol: 'udp',
    family: 4,
    hostAddress: '203.0.113.5',
    hostPort: 5000,
    count: 10,
    guestAddress: '192.168.122.10',
    guestPort: 5000,
  },
  { protocol: 'tcp', family: 4, hostPort: 8080, count: 2, guestAddress: '192.168.122.11', guestPort: 80 },
  { protocol: 'tcp', family: 6, hostPort: 2222, count: 1, guestAddress: 'fd00:122::10', guestPort: 22 },
];

export function planOfCase(name: string): NetworkPlan {
  const text = readFileSync(`${netGoldenDirectory}${name}.xml`, 'utf8');
  const complete = applyNetworkDefaults(parseNetwork(text, { mode: 'strict' }).definition, {
    newUuid: () => 'cccccccc-4f50-4a61-8b72-93a4b5c6d7e8',
    newMac: () => '52:54:00:00:00:01',
    freeBridgeName: () => 'virbr9',
  });
  return planOf(complete, {
    portForwards: name === 'port-forwards' ? portForwards : [],
    guestNames: [],
    guests: [],
  });
}
