/** What the host's resolver is told of a network. */
import { expect, it } from 'vitest';
import { resolverCommands } from '../../../src/net/resolved.ts';
import { natPlan } from '../../support/net-lab/lab.ts';

const domain = { name: 'lab.test', isLocalOnly: true, isRegistered: true };

it('leads the domain, and nothing else, to the bridge', () => {
  expect(resolverCommands({ ...natPlan, domain })).toEqual([
    ['dns', 'virbr0', '192.168.150.1'],
    ['domain', 'virbr0', '~lab.test', '~150.168.192.in-addr.arpa'],
  ]);
  const subnets = [{ family: 4, address: '192.168.150.1', prefix: 25, isLocalPtr: false }] as const;
  expect(resolverCommands({ ...natPlan, domain, subnets })[1]).toEqual(['domain', 'virbr0', '~lab.test']);
});

it('is told nothing of networks that do not ask for it, or have no server', () => {
  expect(resolverCommands(natPlan)).toEqual([]);
  expect(resolverCommands({ ...natPlan, domain, dns: { ...natPlan.dns, isEnabled: false } })).toEqual([]);
  expect(resolverCommands({ ...natPlan, domain, subnets: [] })).toEqual([]);
});
