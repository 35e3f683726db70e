/** Media in drives: the new one's nodes come first, so that one that cannot be opened leaves the old one in. */
import { toTheEnd } from '../../../base/late-answers.ts';
import { Undo } from '../../../base/undo.ts';
import {
  aliasOfDevice,
  noDevices,
  type OneDevice,
  replaceDevice,
  withDevice,
  withDevices,
} from '../../../model/domain/device-list.ts';
import { type Disk, isEmptySource } from '../../../model/domain/devices/disk.ts';
import { buildContext, capabilitiesOf } from '../context.ts';
import { DescriptorTable } from '../descriptors.ts';
import type { QemuGuest } from '../guest.ts';
import { diskHeld } from '../monitor.ts';
import { openNeeds } from '../needs.ts';
import { PassedGroups } from '../passed-groups.ts';
import type { QmpClient } from '../qmp/client.ts';
import type { StartDeps } from '../starting.ts';
import { withVolumeName } from '../volume-sources.ts';
import { runningStart } from './attach.ts';
import { planOf } from './detach.ts';
import { pluggableDisk } from './image.ts';
import { performPlan, removeBackends } from './perform.ts';
import { type LivePlan, planDevice } from './steps.ts';
import { swapMedium } from './tray.ts';

/**
 * Puts another medium into a drive, or with an empty source none; the tray is closed then. `force` opens one that the
 * guest has locked.
 * @throws VirtError domain.state when the tray is locked, definition.unsupported, file.*, qmp.*
 */
export async function changeMedia(
  deps: StartDeps,
  guest: QemuGuest,
  old: OneDevice,
  { disk, force }: { readonly disk: Disk; readonly force: boolean },
): Promise<Disk> {
  const alias = aliasOfDevice(old) ?? '';
  const before = await planOf(deps, guest, old);
  const qmp = guest.monitorClient();
  using passed = PassedGroups.take(
    withDevices(guest.definition, withDevice(noDevices(), { ...old, device: disk })),
    deps.options.passedFiles,
    wantedOf(guest, old),
  );
  const plan = await insertable(deps, guest, old, disk, { qmp, passed });
  await using undo = new Undo(deps.options.logger);
  // A name of its own for each medium: descriptors of the old one go when the new one is in.
  const owner = plan === undefined ? alias : `${alias} ${plan.node}`;
  if (plan !== undefined)
    await addNodes(deps, guest, plan, { owner, undo, passed, wanted: wantedOf(guest, old) });
  // A drive between two media fits no definition.
  await toTheEnd(async () => {
    await swapMedium(qmp, { id: alias, node: plan?.node, force, domain: guest.definition.name });
    undo.keep();
    await removeBackends(qmp, before, { alias: ownerOf(old), sets: guest.sets, log: deps.options.logger });
  });
  return plan?.disk ?? { ...disk, target: { ...disk.target, tray: undefined } };
}

const wantedOf = (guest: QemuGuest, old: OneDevice): string =>
  `change the medium in ${aliasOfDevice(old) ?? ''} of domain '${guest.definition.name}'`;

/** Whose descriptors those of the medium in a drive are. */
function ownerOf(old: OneDevice): string {
  const { source } = old.device as Disk;
  const index = source.type === 'vhostuser' ? undefined : source.index;
  return `${aliasOfDevice(old) ?? ''} libvirt-${index ?? 0}-format`;
}

interface Insertable extends LivePlan {
  readonly disk: Disk;
  /** The node that goes into the drive. */
  readonly node: string;
}

/** The nodes of the new medium; undefined for none. */
async function insertable(
  deps: StartDeps,
  guest: QemuGuest,
  old: OneDevice,
  given: Disk,
  { qmp, passed }: { readonly qmp: QmpClient; readonly passed: PassedGroups },
): Promise<Insertable | undefined> {
  if (isEmptySource(given.source)) return undefined;
  const { options } = deps;
  const closed: Disk = { ...given, target: { ...given.target, tray: undefined } };
  const numbered = await pluggableDisk(
    options,
    guest,
    withDevices(guest.definition, withDevice(noDevices(), { ...old, device: closed })),
    { wanted: wantedOf(guest, old), passed },
  );
  const after = withDevices(guest.definition, replaceDevice(guest.definition.devices, old, numbered));
  const plan = planDevice(
    after,
    { ...old, device: numbered },
    {
      capabilities: await capabilitiesOf(options, after),
      context: buildContext(options, guest.record.directory, 0, guest.record.graphicsPorts, passed),
      firstSet: await guest.sets.firstFree(qmp),
    },
  );
  const front = plan.steps.find(({ execute }) => execute === 'device_add');
  const steps = plan.steps.filter(({ execute }) => execute === 'blockdev-add' || execute === 'object-add');
  const node = front?.arguments['drive'];
  if (typeof node !== 'string') throw new Error('a medium has no node');
  return { ...plan, steps, disk: withVolumeName(numbered, closed), node };
}

async function addNodes(
  deps: StartDeps,
  guest: QemuGuest,
  plan: Insertable,
  work: {
    readonly owner: string;
    readonly undo: Undo;
    readonly passed: PassedGroups;
    readonly wanted: string;
  },
): Promise<void> {
  const { owner, undo, passed, wanted } = work;
  const table = new DescriptorTable();
  try {
    await openNeeds({ ...runningStart(deps, guest, undo), passed }, plan.alone, plan.command.fds, table);
    await performPlan(guest.monitorClient(), plan, table, { alias: owner, sets: guest.sets, undo });
  } catch (error) {
    throw await diskHeld(deps.options, error, { wanted, definition: plan.alone });
  } finally {
    await table.close();
  }
}
