/** Snapshots inside the images of a running guest: QEMU's snapshot-save, snapshot-load and snapshot-delete. */
import { VirtError } from '../../../base/errors.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { DomainDef } from '../../../model/domain/domain.ts';
import type { InternalSnapshot } from '../../driver.ts';
import type { QemuGuest } from '../guest.ts';
import { endedJob, type JobOwner, runQmpJob } from '../qmp/job.ts';

/** Name of the job: one at a time, since the domain's own job is held meanwhile. */
const jobId = 'vireo-snapshot';

/** @throws VirtError operation.failed, qmp.* */
export async function saveSnapshot(guest: QemuGuest, { name, disks }: InternalSnapshot): Promise<void> {
  const nodes = nodesOf(guest.definition, disks);
  guest.expectStop('creating snapshot');
  const command = { tag: name, vmstate: nodes[0], devices: nodes };
  const wanted = `snapshot domain '${guest.definition.name}'`;
  await runQmpJob(ownerOf(guest, wanted), jobId, { execute: 'snapshot-save', arguments: command });
}

/** @throws VirtError operation.failed, qmp.* */
export async function loadSnapshot(guest: QemuGuest, { name, disks }: InternalSnapshot): Promise<void> {
  const nodes = nodesOf(guest.definition, disks);
  guest.expectStop('from snapshot');
  // QEMU would let a guest that ran go on by itself.
  await guest.monitorClient().execute('stop');
  guest.setState({ state: 'paused', reason: 'from snapshot' }, Date.now() / 1000);
  const command = { tag: name, vmstate: nodes[0], devices: nodes };
  const wanted = `return domain '${guest.definition.name}' to snapshot '${name}'`;
  await runQmpJob(ownerOf(guest, wanted), jobId, { execute: 'snapshot-load', arguments: command });
}

/** What became of the load that an earlier daemon began: true for one that failed. @throws VirtError qmp.* */
export async function hasFailedToLoad(guest: QemuGuest): Promise<boolean> {
  const job = await endedJob(ownerOf(guest, `look at the return of '${guest.definition.name}'`), jobId);
  return job?.type === 'snapshot-load' && job.error !== undefined;
}

/** @throws VirtError operation.failed, qmp.* */
export async function deleteSnapshot(guest: QemuGuest, { name, disks }: InternalSnapshot): Promise<void> {
  const devices = nodesOf(guest.definition, disks);
  if (devices.length === 0) return;
  const wanted = `delete snapshot '${name}' of domain '${guest.definition.name}'`;
  const command = { execute: 'snapshot-delete', arguments: { tag: name, devices } };
  await runQmpJob(ownerOf(guest, wanted), jobId, command);
}

function ownerOf(guest: QemuGuest, wanted: string): JobOwner {
  return { qmp: guest.monitorClient(), process: guest.processId, wanted };
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
