/** A change of a device that a guest has: what it was, what it is to be, and what of it has to stay. */
import type { Problem } from '../../../base/errors.ts';
import type { Device, OneDevice } from '../../../model/domain/device-list.ts';
import { isSaid } from '../../../model/domain/device-match.ts';
import type { QemuGuest } from '../guest.ts';
import { fixedWhileRunning } from './fixed.ts';

export interface DeviceChange {
  readonly old: OneDevice;
  readonly device: Device;
  /** Opens a tray that the guest has locked. */
  readonly force: boolean;
}

/**
 * Everything but these parts has to be as it is; what the new description leaves open stays.
 * @throws VirtError definition.unsupported with each part that would change
 */
export function refuseOthers(guest: QemuGuest, { old, device }: DeviceChange, free: readonly string[]): void {
  const problems: Problem[] = [];
  const actual = old.device as Readonly<Record<string, unknown>>;
  for (const [key, value] of Object.entries(device))
    if (!free.includes(key) && !isSaid(value, actual[key]))
      problems.push({ path: `${old.element}.${key}`, message: 'cannot be changed while the guest runs' });
  const [first, ...more] = problems;
  if (first === undefined) return;
  const wanted = `update <${old.element}> of domain '${guest.definition.name}'`;
  throw fixedWhileRunning([first, ...more], { wanted });
}
