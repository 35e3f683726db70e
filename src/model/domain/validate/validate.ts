/** What is wrong with a complete definition, told without asking QEMU: one list, each finding with its path. */
import type { Problem } from '../../../base/errors.ts';
import type { DomainDef } from '../domain.ts';
import { addressProblems } from './addresses.ts';
import { bootProblems } from './boot.ts';
import { cpuProblems } from './cpus.ts';
import { deviceProblems } from './devices.ts';
import { diskProblems } from './disks.ts';
import { interfaceProblems } from './interfaces.ts';
import { launchSecurityProblems } from './launch-security.ts';
import { memoryProblems } from './memory.ts';
import { textProblems } from './text.ts';

const checks: readonly ((definition: DomainDef) => Problem[])[] = [
  textProblems,
  memoryProblems,
  cpuProblems,
  bootProblems,
  diskProblems,
  interfaceProblems,
  deviceProblems,
  addressProblems,
  launchSecurityProblems,
];

/**
 * Checks a definition after its defaults are applied. An empty list means that nothing was found; whether this
 * QEMU has the devices is the driver's to say.
 */
export function validateDomain(definition: DomainDef): Problem[] {
  return checks.flatMap((check) => check(definition));
}
