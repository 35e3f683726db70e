/** Taking what an earlier daemon had active (networks, pools) into the registry. */
import { reasonOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';

/**
 * Finds or makes the object of each status file and hands it to `adopt`. One that cannot be taken over is logged and
 * left alone.
 */
export function adoptActive<Status extends { uuid: string; name: string }, Item, Definition>(parts: {
  readonly noun: 'network' | 'pool';
  readonly statuses: readonly Status[];
  readonly registry: { withUuid(uuid: string): Item | undefined; add(item: Item): void };
  readonly log: Logger;
  make(uuid: string, name: string): Item;
  /** Reads the definition as it was started; throws when that can't be used. */
  parse(status: Status): Definition;
  adopt(item: Item, definition: Definition, status: Status): void;
}): void {
  const { noun, statuses, registry, log } = parts;
  for (const status of statuses) {
    try {
      const definition = parts.parse(status);
      const known = registry.withUuid(status.uuid);
      const item = known ?? parts.make(status.uuid, status.name);
      if (known === undefined) registry.add(item);
      parts.adopt(item, definition, status);
    } catch (error) {
      log.error(
        { [noun]: status.name, reason: reasonOf(error) },
        `an active ${noun} could not be taken over; it is left alone`,
      );
    }
  }
}
