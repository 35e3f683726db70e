/** The definition of a running guest, when something of the guest has changed. */
import type { LiveGuest } from '../../drivers/driver.ts';
import type { DomainDef } from '../../model/domain/domain.ts';

/**
 * Makes it say what `after` says, and nothing that `after` leaves out. It stays the object that others look at.
 */
export function changeRunning({ definition }: Pick<LiveGuest, 'definition'>, after: DomainDef): void {
  for (const key of Object.keys(definition)) if (!(key in after)) Reflect.deleteProperty(definition, key);
  Object.assign(definition, after);
}
