/** Small documents for the tests of devices. */
import type { Problem } from '../../../src/base/errors.ts';
import { isVirtError } from '../../../src/base/errors.ts';
import type { ParseMode } from '../../../src/base/xml/codec.ts';
import { type DomainDef, parseDomain } from '../../../src/model/domain/domain.ts';

export interface Parts {
  readonly devices?: string;
  /** Elements beside <os> and <devices>. */
  readonly rest?: string;
  readonly memory?: string;
  readonly vcpu?: string;
  readonly os?: string;
}

export function documentOf({ devices = '', rest = '', memory, vcpu, os = '' }: Parts): string {
  return `<domain type='kvm'><name>d</name>${memory ?? "<memory unit='KiB'>1048576</memory>"}
    ${vcpu ?? '<vcpu>4</vcpu>'}<os><type arch='x86_64' machine='q35'>hvm</type>${os}</os>${rest}
    <devices>${devices}</devices></domain>`;
}

export function define(parts: Parts, mode: ParseMode = 'strict'): DomainDef {
  return parseDomain(documentOf(parts), { mode }).definition;
}

/** What the reader finds wrong with devices. */
export function refusals(devices: string, mode: ParseMode = 'strict'): Problem[] {
  try {
    define({ devices }, mode);
    return [];
  } catch (error) {
    if (!isVirtError(error, 'xml.invalid')) throw error;
    return error.details?.['problems'] as Problem[];
  }
}

export const paths = (problems: readonly Problem[]): string[] => problems.map((problem) => problem.path);
