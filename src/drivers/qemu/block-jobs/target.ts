/** The nodes of an image that a disk is copied to. */

import { noDevices, type OneDevice, withDevice, withDevices } from '../../../model/domain/device-list.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import { mirrorLayers } from '../../../model/domain/disk-chain.ts';
import type { BlockJobRequest } from '../../driver/block-jobs.ts';
import { followChains, highestImage, numberImages } from '../backing-chain.ts';
import { buildContext, capabilitiesOf } from '../context.ts';
import { DescriptorTable } from '../descriptors.ts';
import { runningStart } from '../hotplug/attach.ts';
import { performPlan } from '../hotplug/perform.ts';
import { type LivePlan, planDevice } from '../hotplug/steps.ts';
import { openNeeds } from '../needs.ts';
import { withConnections } from './nbd-server.ts';
import { formatNode, presentImages } from './nodes.ts';
import type { Beginning } from './start.ts';

type Mirror = NonNullable<Disk['mirror']> & { readonly source: { readonly index: number } };

/**
 * Opens the image and gives QEMU its nodes; the answer is what the running definition says of it.
 * @throws VirtError file.*, definition.unsupported, qmp.*
 */
export async function addTarget(
  beginning: Beginning,
  request: Extract<BlockJobRequest, { readonly kind: 'copy' }>,
): Promise<Mirror> {
  const { deps, guest, qmp, undo, disk } = beginning;
  const { options } = deps;
  const wished = wishedDisk(disk, request);
  const alone = withDevices(guest.definition, withDevice(noDevices(), deviceOf(wished)));
  // A copy that gets all data ends the chain; so does one on images that the guest has open already.
  const chained = request.below === 'own' ? await followChains(alone, options) : alone;
  const first =
    1 +
    Math.max(
      highestNumber(guest.definition.devices.disks, highestImage(guest.definition)),
      ...(await presentImages(qmp)),
    );
  const numbered = numberImages(chained, first).devices.disks[0];
  if (numbered === undefined || numbered.source.type === 'vhostuser') throw new Error('a copy has no image');
  const number = numbered.source.index ?? first;
  const whole = planDevice(guest.definition, deviceOf(numbered), {
    capabilities: await capabilitiesOf(options, guest.definition),
    context: buildContext(options, guest.record.directory, 0, guest.record.graphicsPorts),
    firstSet: await guest.sets.firstFree(qmp),
  });
  const alike = nodesOnly(whole, number, request.below === 'shared' ? belowOf(disk) : null);
  const plan = await withConnections(qmp, alike);
  const table = new DescriptorTable();
  try {
    await openNeeds(runningStart(deps, guest, undo), plan.alone, plan.command.fds, table);
    await performPlan(qmp, plan, table, {
      alias: `copy of ${disk.target.dev} ${number}`,
      sets: guest.sets,
      undo,
    });
  } finally {
    await table.close();
  }
  return {
    job: 'copy',
    source: { ...numbered.source, index: number },
    format: { type: request.target.format },
    backingStore: request.below === 'shared' ? (disk.backingStore ?? null) : (numbered.backingStore ?? null),
  };
}

const deviceOf = (disk: Disk): OneDevice => ({ family: 'disks', element: 'disk', device: disk });

/** The disk as it would be on the copy, with nothing that sits above its images. */
function wishedDisk(
  disk: Disk,
  { target, below }: Extract<BlockJobRequest, { readonly kind: 'copy' }>,
): Disk {
  const {
    mirror: _mirror,
    iotune: _iotune,
    throttleFilters: _filters,
    encryption: _encryption,
    auth: _auth,
    backingStore: _below,
    ...rest
  } = disk;
  const { copyOnRead: _copyOnRead, ...driver } = disk.driver ?? {};
  return {
    ...rest,
    source: target.source,
    driver: { ...driver, type: target.format },
    ...(below !== 'own' && { backingStore: null }),
  };
}

/** The number of the image below the topmost. */
function belowOf({ backingStore }: Disk): string | null {
  return backingStore?.index === undefined ? null : formatNode(backingStore.index);
}

function highestNumber(disks: readonly Disk[], highest: number): number {
  return Math.max(highest, ...disks.flatMap((disk) => mirrorLayers(disk).map(({ index }) => index ?? 0)));
}

/** The nodes of the images alone: the guest's device is there already. */
function nodesOnly(plan: LivePlan, number: number, below: string | null): LivePlan {
  const steps = plan.steps.flatMap((step) => {
    if (step.execute !== 'blockdev-add' && step.execute !== 'object-add') return [];
    const isTop = step.arguments['node-name'] === formatNode(number);
    return [isTop && below !== null ? { ...step, arguments: { ...step.arguments, backing: below } } : step];
  });
  return { ...plan, steps };
}
