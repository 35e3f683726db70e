/** A change that is made to a running guest and to the stored definition: whatever fails, both fit, or it is told. */
import { isVirtError, reasonOf, VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { changeGuest } from './late-changes.ts';
import type { DomainWorld } from './world.ts';

/** Where a change is stored. */
export interface ToStore {
  readonly world: Pick<DomainWorld, 'runtime' | 'log'>;
  readonly definitions: Pick<DomainDefinitions, 'replaceStored'>;
  /** The stored definition after it; undefined where only the guest is meant. */
  readonly stored: DomainDef | undefined;
}

/**
 * Changes the running guest and replaces the stored definition, where there is one to replace. The guest is changed when the
 * new definition is on the disk and before that takes the place of the old one: a full disk is told of before anything is
 * done, and a guest that refuses leaves the stored definition as it was.
 * A QEMU that does not answer in time is told
 * of; what becomes of the change then is in the running definition when it does (late-changes.ts).
 * @throws VirtError file.*, in words that say so where only the guest has the change; whatever `change` throws
 */
export async function changeAndStore<T>(
  domain: Domain,
  { world, definitions, stored }: ToStore,
  change: () => Promise<T>,
): Promise<T> {
  if (stored === undefined) return changeGuest(world, domain, change);
  const answers: T[] = [];
  const before = async (): Promise<void> => {
    answers.push(await changeGuest(world, domain, change));
  };
  try {
    await definitions.replaceStored(domain, stored, before);
  } catch (error) {
    throw answers.length === 0 ? error : notStored(domain, error);
  }
  return answers[0] as T; // without it nothing is stored
}

function notStored({ name }: Domain, error: unknown): VirtError {
  return new VirtError(isVirtError(error) ? error.code : 'operation.failed', {
    wanted: `store the definition of domain '${name}'`,
    reason: `${reasonOf(error)}: the running guest has the change, the stored definition has not`,
    hint: 'make it in the stored definition too when the disk takes it, else it ends with this run of the guest',
    cause: error,
  });
}
