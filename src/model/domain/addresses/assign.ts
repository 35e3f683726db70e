/** Gives every device of a complete definition its place in the guest. */
import { clonePlain } from '../../../base/clone.ts';
import type { Problem } from '../../../base/errors.ts';
import { throwProblems } from '../../../base/xml/codec.ts';
import { defaultScsiModel, defaultUsbModel } from '../defaults/controllers.ts';
import type { DefaultsFacts } from '../defaults/facts.ts';
import type { DomainDef } from '../domain.ts';
import { assignDrives } from './drive.ts';
import { assignPci } from './pci.ts';
import { assignCcid, assignDimms, assignVirtioSerial } from './serial-buses.ts';
import { assignUsb } from './usb.ts';

/**
 * The definition with an address on every device that needs one, and with the controllers that are needed for that.
 * Addresses that are there stay, so a definition that is complete comes back as it was; the argument is not changed.
 * `applyDefaults` comes first. `facts` tell which models of controllers the emulator has.
 * @throws VirtError xml.invalid when addresses clash or there is no room, with all problems in the details
 */
export function assignAddresses(
  definition: DomainDef,
  facts: Pick<DefaultsFacts, 'hasDevice'> = {},
): DomainDef {
  return placeDevices(clonePlain(definition), facts);
}

/** As assignAddresses, for a definition that nobody else has: it is changed in place, and given back. */
export function placeDevices(draft: DomainDef, facts: Pick<DefaultsFacts, 'hasDevice'> = {}): DomainDef {
  const models = { scsi: defaultScsiModel(draft, facts), usb: defaultUsbModel(draft, facts) };
  const problems: Problem[] = [];
  // Buses that hang on other buses come first, so that their controllers are known when those are filled.
  assignDrives(draft, problems, models);
  assignVirtioSerial(draft, problems);
  assignCcid(draft, problems);
  assignUsb(draft, problems, models);
  assignDimms(draft, problems);
  assignPci(draft, problems);
  throwProblems(problems, `assign addresses in domain '${draft.name}'`);
  return draft;
}
