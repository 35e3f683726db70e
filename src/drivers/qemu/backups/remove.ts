/** Taking a checkpoint's bitmaps out of all images of a running guest, those that it only reads included. */
import { isVirtError, reasonOf } from '../../../base/errors.ts';
import { noDevices, withDevice, withDevices } from '../../../model/domain/device-list.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import { layersOf, pathOfSource } from '../../../model/domain/disk-chain.ts';
import type { JsonObject } from '../argv/types.ts';
import { formatNode, grantWriting, revokeWriting } from '../block-jobs/nodes.ts';
import { buildContext, capabilitiesOf } from '../context.ts';
import type { QemuGuest } from '../guest.ts';
import { FIRST_STAND_IN, planDevice } from '../hotplug/steps.ts';
import type { StartDeps } from '../starting.ts';
import { withVolumePaths } from '../volume-sources.ts';
import { bitmapOn, nodesOfDisk, readBitmaps, removeBitmap } from './bitmaps.ts';
import { transaction } from './checkpoints.ts';

/** The topmost images first, and all of them at one moment: from then on the checkpoint is in none that is written. */
export async function removeCheckpoint(
  deps: StartDeps,
  guest: QemuGuest,
  name: string,
  targets: readonly string[],
): Promise<void> {
  const qmp = guest.monitorClient();
  const bitmaps = await readBitmaps(qmp);
  const has = (node: string) => bitmapOn(bitmaps, node, name) !== undefined;
  const disks = guest.definition.devices.disks.filter(({ target }) => targets.includes(target.dev));
  const tops = disks.flatMap((disk) => nodesOfDisk(disk).slice(0, 1)).filter(has);
  await transaction(
    qmp,
    tops.map((node) => removeBitmap(node, name)),
  );
  for (const disk of disks) {
    const below = nodesOfDisk(disk).slice(1).filter(has);
    if (below.length === 0) continue;
    try {
      await removeBelow({ deps, guest, disk, name }, below);
    } catch (error) {
      if (!isVirtError(error) || isVirtError(error, 'qmp.closed')) throw error;
      // Nobody asks for it any more, and it goes with its image.
      deps.options.logger.warn(
        { domain: guest.definition.name, disk: disk.target.dev, checkpoint: name, reason: reasonOf(error) },
        'a bitmap stays in an image below the topmost one',
      );
    }
  }
}

interface Removal {
  readonly deps: StartDeps;
  readonly guest: QemuGuest;
  readonly disk: Disk;
  readonly name: string;
}

async function removeBelow(removal: Removal, nodes: readonly string[]): Promise<void> {
  const placed = await placedDisk(removal);
  const options = await nodeOptions(removal, placed);
  const { cache } = placed.driver ?? {};
  const direct = cache === 'none' || cache === 'directsync';
  const qmp = removal.guest.monitorClient();
  for (const { index, source } of layersOf(placed)) {
    const own = index === undefined ? undefined : options.get(formatNode(index));
    if (index === undefined || own === undefined || !nodes.includes(formatNode(index))) continue;
    const grant = await grantWriting(qmp, index, pathOfSource(source), { direct });
    const reopen = (isReadonly: boolean) =>
      qmp.executeRaw('blockdev-reopen', { options: [{ ...own, 'read-only': isReadonly }] });
    try {
      await reopen(false);
      try {
        await transaction(qmp, [removeBitmap(formatNode(index), removal.name)]);
      } finally {
        await reopen(true);
      }
    } finally {
      if (grant !== undefined) await revokeWriting(qmp, [grant]);
    }
  }
}

/** The disk with the paths of volumes in place of their names. */
async function placedDisk({ deps, guest, disk }: Removal): Promise<Disk> {
  const device = { family: 'disks', element: 'disk', device: disk } as const;
  const alone = withDevices(guest.definition, withDevice(noDevices(), device));
  const wanted = `delete a checkpoint of domain '${guest.definition.name}'`;
  const placed = await withVolumePaths(alone, deps.options.volumes, { wanted });
  return placed.devices.disks[0] ?? disk;
}

/** Options of the disk's nodes as a start gives them: what is left out when a node is opened anew falls back to a default. */
async function nodeOptions({ deps, guest }: Removal, disk: Disk): Promise<ReadonlyMap<string, JsonObject>> {
  const plan = planDevice(
    guest.definition,
    { family: 'disks', element: 'disk', device: disk },
    {
      capabilities: await capabilitiesOf(deps.options, guest.definition),
      context: buildContext(deps.options, guest.record.directory, 0, guest.record.graphicsPorts),
      firstSet: FIRST_STAND_IN,
    },
  );
  return new Map(
    plan.steps.flatMap(({ execute, arguments: args }) => {
      const name = args['node-name'];
      return execute === 'blockdev-add' && typeof name === 'string' ? [[name, args] as const] : [];
    }),
  );
}
