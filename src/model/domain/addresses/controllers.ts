/** Controllers that devices need and that nobody defined. */
import type { DomainDef } from '../domain.ts';

type Controller = DomainDef['devices']['controllers'][number];

/** What a controller is that is added where the definition says nothing; undefined leaves it to QEMU. */
export interface DefaultModels {
  readonly scsi?: Controller['model'];
  readonly usb?: Controller['model'];
}

/** Drive and serial controllers that one definition may have of a type: libvirt's schema has two digits. */
export const MAX_CONTROLLERS = 100;

export function findController(
  draft: DomainDef,
  type: Controller['type'],
  index: number,
): Controller | undefined {
  return draft.devices.controllers.find((one) => one.type === type && (one.index ?? 0) === index);
}

/** Adds all controllers of a type up to `highest` that aren't there, as libvirt does. */
export function ensureControllers(
  draft: DomainDef,
  type: Controller['type'],
  highest: number,
  models: DefaultModels = {},
): void {
  for (let index = 0; index <= Math.min(highest, MAX_CONTROLLERS - 1); index++) {
    if (findController(draft, type, index) !== undefined) continue;
    draft.devices.controllers.push({ type, index, ...modelFor(draft, type, models) });
  }
}

/** A new SCSI controller is like those that are there; without any, the default of machine and emulator. */
function modelFor(
  draft: DomainDef,
  type: Controller['type'],
  models: DefaultModels,
): Pick<Controller, 'model'> {
  if (type !== 'scsi') return {};
  const other = draft.devices.controllers.find((one) => one.type === 'scsi' && one.model !== undefined);
  const model = other?.model ?? models.scsi;
  return model === undefined ? {} : { model };
}
