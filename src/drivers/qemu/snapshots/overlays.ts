/** New images on top of those of a running guest: what it writes goes there from one moment on, the same for all. */
import { Undo } from '../../../base/undo.ts';
import {
  noDevices,
  type OneDevice,
  replaceDevice,
  withDevice,
  withDevices,
} from '../../../model/domain/device-list.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import { withOverlay } from '../../../model/snapshot/overlay.ts';
import type { NewOverlay } from '../../driver.ts';
import { highestImage } from '../backing-chain.ts';
import { propagate, readBitmaps } from '../backups/bitmaps.ts';
import { buildContext, capabilitiesOf } from '../context.ts';
import { DescriptorTable } from '../descriptors.ts';
import type { QemuGuest } from '../guest.ts';
import { runningStart } from '../hotplug/attach.ts';
import { performPlan } from '../hotplug/perform.ts';
import { type LivePlan, planDevice } from '../hotplug/steps.ts';
import { openNeeds } from '../needs.ts';
import type { StartDeps } from '../starting.ts';
import { topNode } from './internal.ts';

/**
 * Puts all of them on top in one transaction; the running definition then has them. On failure nothing has changed.
 * @throws VirtError domain.no-device, file.*, qmp.*
 */
export async function addOverlays(
  deps: StartDeps,
  guest: QemuGuest,
  overlays: readonly NewOverlay[],
): Promise<void> {
  const qmp = guest.monitorClient();
  await using undo = new Undo(deps.options.logger);
  const changes: { readonly before: Disk; readonly after: Disk }[] = [];
  let number = highestImage(guest.definition);
  for (const overlay of overlays) {
    const before = guest.definition.devices.disks.find(({ target }) => target.dev === overlay.target);
    if (before === undefined) throw new Error(`the guest has no disk ${overlay.target}`);
    number += 1;
    const after = withOverlay(before, overlay, number);
    await addNodes(deps, guest, { before, after, number, undo });
    changes.push({ before, after });
  }
  const actions = changes.map(({ before, after }) => ({
    type: 'blockdev-snapshot',
    data: { node: topNode(before), overlay: topNode(after) },
  }));
  // Checkpoints go on: what is written to the new images is noted there from their first moment.
  const bitmaps = await readBitmaps(qmp);
  const noting = changes.flatMap(({ before, after }) => propagate(topNode(before), topNode(after), bitmaps));
  await qmp.executeRaw('transaction', { actions: [...actions, ...noting] });
  undo.keep();
  const { devices } = guest.definition;
  const disks = devices.disks.map((disk) => changes.find(({ before }) => before === disk)?.after ?? disk);
  guest.setDefinition({ ...guest.definition, devices: { ...devices, disks } });
}

interface Adding {
  readonly before: Disk;
  readonly after: Disk;
  readonly number: number;
  readonly undo: Undo;
}

/** The two nodes of the new image, without anything below: what is below is put there by the transaction. */
async function addNodes(
  deps: StartDeps,
  guest: QemuGuest,
  { before, after, number, undo }: Adding,
): Promise<void> {
  const { options } = deps;
  const qmp = guest.monitorClient();
  const old: OneDevice = { family: 'disks', element: 'disk', device: before };
  const definition = withDevices(guest.definition, replaceDevice(guest.definition.devices, old, after));
  const plan = planDevice(
    definition,
    { ...old, device: after },
    {
      capabilities: await capabilitiesOf(options, definition),
      context: buildContext(options, guest.record.directory, 0, guest.record.graphicsPorts),
      firstSet: await guest.sets.firstFree(qmp),
    },
  );
  const own = ownPart(plan, number);
  const table = new DescriptorTable();
  try {
    const alone = withDevices(definition, withDevice(noDevices(), { ...old, device: after }));
    await openNeeds(runningStart(deps, guest, undo), alone, own.command.fds, table);
    await performPlan(qmp, own, table, {
      alias: `${after.alias ?? ''} libvirt-${number}-format`,
      sets: guest.sets,
      undo,
    });
  } finally {
    await table.close();
  }
}

/** Of all that a start would make for the disk, the topmost image alone. */
function ownPart(plan: LivePlan, number: number): LivePlan {
  const names: ReadonlySet<unknown> = new Set([`libvirt-${number}-storage`, `libvirt-${number}-format`]);
  const isNamed = ({ arguments: args }: LivePlan['steps'][number]) => names.has(args['node-name']);
  const steps = plan.steps
    .filter((step) => step.execute === 'blockdev-add' && isNamed(step))
    .map((step) =>
      step.arguments['node-name'] === `libvirt-${number}-format`
        ? { ...step, arguments: { ...step.arguments, backing: null } }
        : step,
    );
  const files = new Set(steps.map(({ arguments: args }) => args['filename']));
  const fds = plan.command.fds.filter((need) => need.kind === 'file' && files.has(`/dev/fdset/${need.set}`));
  return { ...plan, command: { ...plan.command, fds }, steps };
}

/** After a transaction that nobody noted: the definition has the new images. */
export function adoptOverlays(guest: QemuGuest, overlays: readonly NewOverlay[]): void {
  let number = highestImage(guest.definition);
  const { devices } = guest.definition;
  let { disks } = devices;
  for (const overlay of overlays) {
    number += 1;
    const own = number;
    disks = disks.map((disk) =>
      disk.target.dev === overlay.target ? withOverlay(disk, overlay, own) : disk,
    );
  }
  guest.setDefinition({ ...guest.definition, devices: { ...devices, disks } });
}

/**
 * Whether the transaction was done that puts new images on top, the definition not knowing of it: before it, the node of
 * the first of them has nothing below.
 */
export async function isSwitched(guest: QemuGuest): Promise<boolean> {
  const first = `libvirt-${highestImage(guest.definition) + 1}-format`;
  const nodes = await guest.monitorClient().execute('query-named-block-nodes', { flat: true });
  return nodes.some((node) => node['node-name'] === first && Number(node['backing_file_depth'] ?? 0) > 0);
}
