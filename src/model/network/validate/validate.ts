/** What is wrong with a complete network definition: one list, each finding with its path. No I/O. */
import type { Problem } from '../../../base/errors.ts';
import type { NetworkDef } from '../network.ts';
import { portForwardProblems } from '../port-forwards.ts';
import { dnsProblems } from './dns.ts';
import { forwardProblems } from './forward.ts';
import { ipProblems } from './ips.ts';
import { portgroupProblems } from './portgroups.ts';

const checks: readonly ((definition: NetworkDef) => Problem[])[] = [
  forwardProblems,
  ipProblems,
  dnsProblems,
  portgroupProblems,
  portForwardProblems,
];

/** Checks a definition after its defaults are applied. What other networks and the host have is not looked at. */
export function validateNetwork(definition: NetworkDef): Problem[] {
  return checks.flatMap((check) => check(definition));
}
