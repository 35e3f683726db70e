/** Where a change goes: to the running guest, to the stored definition, or to both. */
import { VirtError } from '../../base/errors.ts';
import type { DomainDef } from '../../model/domain/domain.ts';
import { changeAndStore } from './change-and-store.ts';
import type { Domain } from './domain.ts';
import type { DomainDefinitions } from './domain-definitions.ts';
import { saveStatus } from './domain-status.ts';
import { runChange } from './late-changes.ts';
import { changeRunning } from './running-definition.ts';
import type { DomainWorld } from './world.ts';

/** What a change is made to; when neither is said: wherever the domain is. */
export interface Targets {
  readonly live?: boolean | undefined;
  readonly stored?: boolean | undefined;
}

/** @throws VirtError domain.inactive, domain.transient, request.invalid when neither is meant */
export function chooseTargets(
  domain: Domain,
  verb: string,
  { live, stored }: Targets,
): { live: boolean; stored: boolean } {
  const chosen =
    live === undefined && stored === undefined
      ? { live: domain.isActive, stored: domain.isPersistent }
      : { live: live ?? false, stored: stored ?? false };
  const wanted = `${verb} domain '${domain.name}'`;
  if (!chosen.live && !chosen.stored)
    throw new VirtError('request.invalid', {
      wanted,
      reason: 'neither the running guest nor its definition is meant',
    });
  if (chosen.live) domain.requireLive(verb);
  if (chosen.stored && !domain.isPersistent)
    throw new VirtError('domain.transient', { wanted, reason: 'the domain has no stored definition' });
  return chosen;
}

/** One change: how it is done to the guest, and what the definition says afterwards. */
export interface TargetedChange {
  /** For job and errors: `set the memory of`. */
  readonly verb: string;
  readonly targets: Targets;
  /** Throws for what cannot be; called for each definition that is meant before anything is done. */
  readonly check?: (definition: DomainDef, where: 'live' | 'stored') => void;
  /** Changes the guest. */
  readonly live?: () => Promise<void>;
  /** The definition after it; also of the running one unless `running` says otherwise. */
  readonly definition: (definition: DomainDef) => DomainDef;
  readonly running?: (definition: DomainDef) => DomainDef;
}

/**
 * Carries out a change as one job: checks all, changes the guest, stores. A guest that refuses leaves the stored
 * definition as it was, and a disk that is full the guest.
 */
export async function applyTargeted(
  world: DomainWorld,
  definitions: DomainDefinitions,
  domain: Domain,
  change: TargetedChange,
): Promise<void> {
  const { verb, check, definition: after, running = after } = change;
  await runChange(world, domain, verb.replace(/ of$/, ''), async () => {
    const chosen = chooseTargets(domain, verb, change.targets);
    const stored = chosen.stored ? definitions.definition(domain, { inactive: true }) : undefined;
    if (chosen.live) check?.(domain.requireLive(verb).guest.definition, 'live');
    if (stored) check?.(stored, 'stored');
    await changeAndStore(domain, { world, definitions, stored: stored && after(stored) }, async () => {
      if (!chosen.live) return;
      const { guest } = domain.requireLive(verb);
      await change.live?.();
      changeRunning(guest, running(guest.definition));
    });
    await saveStatus(world, domain);
  });
}
