/** Snapshots inside the images of a running guest: QEMU's snapshot-save, snapshot-load and snapshot-delete. */
import { VirtError } from '../../../base/errors.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { InternalSnapshot } from '../../driver.ts';
import type { QemuGuest } from '../guest.ts';
import { endedJob, runQmpJob } from '../qmp/job.ts';

/** Name of the job: one at a time, since the domain's own job is held meanwhile. */
const jobId = 'vireo-snapshot';

/** @throws VirtError operation.failed, qmp.* */
export async function saveSnapshot(guest: QemuGuest, { name, disks }: InternalSnapshot): Promise<void> {
  const nodes = nodesOf(guest.definition, disks);
  guest.expectStop('creating snapshot');
  await runQmpJob(
    guest.monitorClient(),
    jobId,
    { execute: 'snapshot-save', arguments: { tag: name, vmstate: nodes[0], devices: nodes } },
    `snapshot domain '${guest.definition.name}'`,
  );
}

/** @throws VirtError operation.failed, qmp.* */
export async function loadSnapshot(guest: QemuGuest, { name, disks }: InternalSnapshot): Promise<void> {
  const nodes = nodesOf(guest.definition, disks);
  guest.expectStop('from snapshot');
  const qmp = guest.monitorClient();
  // QEMU would let a guest that ran go on by itself.
  await qmp.execute('stop');
  guest.setState({ state: 'paused', reason: 'from snapshot' }, Date.now() / 1000);
  await runQmpJob(
    qmp,
    jobId,
    { execute: 'snapshot-load', arguments: { tag: name, vmstate: nodes[0], devices: nodes } },
    `return domain '${guest.definition.name}' to snapshot '${name}'`,
  );
}

/** What became of the load that an earlier daemon began: true for one that failed. @throws VirtError qmp.* */
export async function hasFailedToLoad(guest: QemuGuest): Promise<boolean> {
  const job = await endedJob(guest.monitorClient(), jobId);
  return job?.type === 'snapshot-load' && job.error !== undefined;
}

/** @throws VirtError operation.failed, qmp.* */
export async function deleteSnapshot(guest: QemuGuest, { name, disks }: InternalSnapshot): Promise<void> {
  const devices = nodesOf(guest.definition, disks);
  if (devices.length === 0) return;
  await runQmpJob(
    guest.monitorClient(),
    jobId,
    { execute: 'snapshot-delete', arguments: { tag: name, devices } },
    `delete snapshot '${name}' of domain '${guest.definition.name}'`,
  );
}

/**
 * The nodes of the disks' topmost images, as the start named them. UEFI's variables need no tag, whatever image they are in:
 * they are in the memory, and QEMU writes all of them back when the guest goes on (hw/block/pflash_cfi01.c, post_load).
 */
function nodesOf(definition: DomainDef, targets: readonly string[]): string[] {
  return definition.devices.disks.filter(({ target }) => targets.includes(target.dev)).map(topNode);
}

/** The node of a disk's topmost image (argv/blockdev.ts). @throws VirtError domain.no-device for an empty drive */
export function topNode({ source, target }: Disk): string {
  const index = source.type === 'vhostuser' ? undefined : source.index;
  if (index !== undefined) return `libvirt-${index}-format`;
  throw new VirtError('domain.no-device', {
    wanted: `find the image of disk '${target.dev}'`,
    reason: 'the running guest has none there',
  });
}
