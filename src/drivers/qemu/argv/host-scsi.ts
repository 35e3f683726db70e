/** SCSI devices of the host and of iSCSI targets, passed through command by command; and vhost-scsi targets. */
import { createHash } from 'node:crypto';
import type { Hostdev } from '../../../model/domain/devices/hostdev.ts';
import { scsiHostPlace } from '../../../model/domain/host-scsi.ts';
import { aliasOf, placement } from './address.ts';
import type { Build } from './context.ts';
import { scsiPlace } from './disk.ts';
import { iscsiNode } from './network-disk.ts';
import type { JsonObject } from './types.ts';
import { virtioDevice } from './virtio.ts';

type ScsiSource = Extract<Hostdev['source'], { type: 'scsi' }>;

/** QEMU's limit for the names of block nodes (include/block/block_int-common.h: 32 with the end of the text). */
const MAX_NODE_NAME = 31;

/** `<hostdev type='scsi'>`: a node that passes commands on, and scsi-generic in front of it. */
export function buildScsiHostdev(b: Build, hostdev: Hostdev, path: string): void {
  if (hostdev.source.type !== 'scsi') return;
  const { source, readonly, shareable, rom, display, ramfb, teaming, address } = hostdev;
  b.refuse(path, { rom, display, ramfb, teaming, model: hostdev.model }, 'is not known for scsi devices');
  refuseRights(b, hostdev, path);
  const id = aliasOf(hostdev, path);
  if (address?.type !== 'drive') {
    b.problem(`${path}.address`, "must be of type 'drive' for a scsi device");
    return;
  }
  const node = nodeName(id);
  b.json('-blockdev', {
    ...backend(b, source, { node, path: `${path}.source` }),
    'node-name': node,
    'read-only': readonly === true,
  });
  b.device(path, {
    driver: 'scsi-generic',
    ...scsiPlace(b, address, path),
    drive: node,
    'share-rw': shareable || undefined,
    id,
    bootindex: hostdev.boot?.order,
  });
}

/** What the kernel would let a program do with raw commands is the kernel's own list for programs without rights. */
function refuseRights(b: Build, { rawio, sgio }: Hostdev, path: string): void {
  b.refuse(path, { rawio: rawio || undefined }, 'would need capabilities that QEMU is never given');
  b.refuse(
    path,
    { sgio: sgio === 'unfiltered' || undefined },
    "'unfiltered' needs a switch that Linux itself never had (unpriv_sgio)",
  );
}

/** As libvirt names it; a long alias of the user's is told by its digest. */
function nodeName(alias: string): string {
  const name = `libvirt-${alias}-backend`;
  if (name.length <= MAX_NODE_NAME) return name;
  return `hostdev-${createHash('sha256').update(alias).digest('hex').slice(0, 20)}`;
}

function backend(
  b: Build,
  source: ScsiSource,
  { node, path }: { readonly node: string; readonly path: string },
): JsonObject {
  if (source.protocol === 'iscsi') return iscsi(b, source, { node, path });
  const { name, hosts, auth, initiatorIqn } = source;
  b.refuse(path, { name, host: hosts, auth, initiator: initiatorIqn }, 'is for protocol iscsi');
  const place = scsiHostPlace(source);
  if (place === undefined) {
    b.problem(`${path}.adapter.name`, "is not the name of a SCSI host like 'scsi_host2'");
    return {};
  }
  // Opened by that name, whatever the descriptor: QEMU sees by the name that it is a SCSI generic device (block/file-posix.c).
  const filename = b.context.scsiNode?.(place) ?? `/sys/bus/scsi/devices/${place}/scsi_generic`;
  return { driver: 'host_device', filename };
}

function iscsi(
  b: Build,
  source: ScsiSource,
  { node, path }: { readonly node: string; readonly path: string },
): JsonObject {
  const { adapter, address, name, hosts, auth, initiatorIqn } = source;
  b.refuse(path, { adapter, address }, 'is for devices of a host adapter');
  if (!b.hasSchema('blockdev-add/arg-type/driver/^iscsi')) b.lacks(path, "block driver 'iscsi'");
  return iscsiNode(b, { name, hosts, initiatorIqn }, { path, node, auth });
}

/** `<hostdev type='scsi_host'>`: the kernel's target serves the guest (vhost-scsi); the daemon opens the device. */
export function buildVhostScsi(b: Build, hostdev: Hostdev, path: string): void {
  if (hostdev.source.type !== 'scsi_host') return;
  const { source, readonly, shareable, rom, display, ramfb, teaming, model } = hostdev;
  const parts = { readonly, shareable, rom, display, ramfb, teaming };
  b.refuse(path, parts, 'is not known for vhost-scsi');
  b.device(path, {
    driver: virtioDevice('vhost-scsi-pci', model),
    wwpn: source.wwpn,
    vhostfd: String(b.need({ kind: 'vhost-scsi' })),
    ...placement(b, hostdev, path),
    bootindex: hostdev.boot?.order,
  });
}
