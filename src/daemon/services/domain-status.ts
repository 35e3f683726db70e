/** Runtime status of running domains: written before a start, after it, and whenever the running side changes. */
import type { GuestRecord, LiveGuest, LoadedRecord } from '../../drivers/driver.ts';
import { formatDomain } from '../../model/domain/domain.ts';
import type { NewRuntimeStatus, RuntimeStatus } from '../state/runtime.ts';
import { definitionText } from './definition-texts.ts';
import type { Domain, LiveDomain } from './domain.ts';
import type { DomainWorld } from './world.ts';

/** The intent of a start (`xml`: what is started): a new daemon that finds it knows that a QEMU without a record may be about. */
export async function saveIntent(
  world: DomainWorld,
  domain: Domain,
  intent: { readonly id: number; readonly xml: string },
): Promise<void> {
  await world.runtime.save({
    format: 1,
    uuid: domain.uuid,
    name: domain.name,
    id: intent.id,
    phase: 'starting',
    persistent: domain.isPersistent,
    autodestroy: false,
    xml: intent.xml,
    state: 'shutoff',
    reason: 'unknown',
  });
}

/**
 * A guest has its memory from a saved state, and runs next: from now on a daemon that finds it has it go on, and nobody loads
 * the state again, which would not fit the disks any more.
 */
export async function saveLoaded(
  world: DomainWorld,
  domain: Domain,
  guest: LiveGuest,
  { id, autodestroy, ...loaded }: LoadedRecord & { readonly id: number; readonly autodestroy: boolean },
): Promise<void> {
  await world.runtime.save({
    format: 1,
    uuid: domain.uuid,
    name: domain.name,
    id,
    phase: 'running',
    persistent: domain.isPersistent,
    autodestroy,
    xml: formatDomain(guest.definition, { secure: true }),
    record: { ...guest.record, loaded },
    state: 'paused',
    reason: 'starting up',
  });
}

/** Writes the status of a running domain as it is now. */
export async function saveStatus(world: Pick<DomainWorld, 'runtime'>, domain: Domain): Promise<void> {
  const { live } = domain;
  if (live === undefined) return;
  // In its turn: by then the guest may have ended, and its file be gone.
  await world.runtime.update(domain.uuid, () => (domain.live === live ? statusOf(domain, live) : undefined));
}

function statusOf(domain: Domain, live: LiveDomain): NewRuntimeStatus {
  return {
    format: 1,
    uuid: domain.uuid,
    name: domain.name,
    id: live.id,
    phase: 'running',
    persistent: domain.isPersistent,
    autodestroy: live.autodestroyOwner !== undefined,
    xml: definitionText(live.guest.definition),
    record: { ...live.guest.record },
    state: domain.state.state,
    reason: domain.state.reason,
  };
}

/** The driver's record inside a status file. */
export function recordOf(status: RuntimeStatus): GuestRecord | undefined {
  // The schema checked it; only `undefined` in optional places separates the two types.
  return status.record as GuestRecord | undefined;
}
