/** The boot order of a device while the guest runs: firmware is told at the guest's next reset. */
import { VirtError } from '../../../base/errors.ts';
import {
  type Device,
  type OneDevice,
  replaceDevice,
  withDevices,
} from '../../../model/domain/device-list.ts';
import { isSaid } from '../../../model/domain/device-match.ts';
import { bootProblems } from '../../../model/domain/validate/boot.ts';
import type { QemuGuest } from '../guest.ts';

/** What disks and network cards have in common here. */
interface Bootable {
  readonly alias?: string | undefined;
  readonly boot?: { readonly order: number } | undefined;
}

/**
 * Checks the place in the boot order that a new description of a device asks for; one that it leaves out stays.
 * @throws VirtError definition.unsupported when the place is taken, or the guest boots by kinds of devices
 */
export function requireBoot(
  { definition }: QemuGuest,
  { old, device }: { readonly old: OneDevice; readonly device: Device },
): void {
  const { boot } = device as Bootable;
  const before = old.device as Bootable;
  if (boot === undefined || isSaid(boot, before.boot)) return;
  const { order: _order, ...rest } = boot;
  const after = withDevices(definition, replaceDevice(definition.devices, old, { ...old.device, boot }));
  const problems = isSaid(rest, before.boot ?? {})
    ? bootProblems(after)
    : [{ path: `${old.element}.boot`, message: 'only its order can be changed while the guest runs' }];
  const [first] = problems;
  if (first === undefined) return;
  throw new VirtError('definition.unsupported', {
    wanted: `update <${old.element}> of domain '${definition.name}'`,
    reason: `${first.path}: ${first.message}`,
    details: { problems },
  });
}

/**
 * Gives a device another place in the boot order, which `requireBoot` has checked. QEMU writes the order into what
 * firmware reads at each reset (docs/specs/fw_cfg, `bootorder`).
 * @throws VirtError qmp.*
 */
export async function changeBoot<T extends Bootable>(
  guest: QemuGuest,
  before: T,
  { boot }: Bootable,
): Promise<T> {
  if (boot === undefined || isSaid(boot, before.boot)) return before;
  await guest.monitorClient().execute('qom-set', {
    path: `/machine/peripheral/${before.alias ?? ''}`,
    property: 'bootindex',
    value: boot.order,
  });
  return { ...before, boot };
}
