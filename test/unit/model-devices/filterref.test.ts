/** Where a card's filter is refused before anything is started. */
import { expect, it } from 'vitest';
import { parseDomain } from '../../../src/model/domain/domain.ts';
import { sessionProblems } from '../../../src/model/domain/validate/session.ts';

const domain = (nic: string) =>
  parseDomain(
    `<domain type='qemu'><name>d</name><memory>1024</memory><os><type>hvm</type></os><devices>${nic}</devices></domain>`,
    { mode: 'strict' },
  ).definition;

it('a session cannot set rules, and says which filter it is about', () => {
  const nic =
    "<interface type='bridge'><source bridge='br0'/><filterref filter='clean-traffic'/></interface>";
  expect(sessionProblems(domain(nic))).toEqual([
    {
      path: 'devices.interface[0].filterref',
      message: expect.stringContaining("'clean-traffic' is firewall rules") as string,
    },
  ]);
  expect(sessionProblems(domain("<interface type='user'/>"))).toEqual([]);
});
