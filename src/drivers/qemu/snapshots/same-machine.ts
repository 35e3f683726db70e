/** Whether a saved state fits into a QEMU that runs: what has to be the same of two definitions. Pure. */
import { type Disk, isEmptySource } from '../../../model/domain/devices/disk.ts';
import { type DomainDef, formatDomain } from '../../../model/domain/domain.ts';

type Interface = DomainDef['devices']['interfaces'][number];

/**
 * True when nothing differs that a guest sees or QEMU keeps in memory. Names, texts and limits on the host may differ: a
 * saved state has none of them.
 */
export function isSameMachine(running: DomainDef, saved: DomainDef): boolean {
  return formOf(running) === formOf(saved);
}

/** Parts of a definition that no guest sees; how far its clock is ahead is in a saved state itself. */
const unseen: ReadonlySet<string> = new Set<keyof DomainDef>([
  'title',
  'description',
  'metadata',
  'currentMemoryKiB',
  'blkiotune',
  'memtune',
  'cputune',
  'numatune',
  'perf',
]);

/** A definition's text without what a saved state does not depend on. */
function formOf(definition: DomainDef): string {
  const seen = Object.entries(definition).filter(([part]) => !unseen.has(part));
  const { devices, clock } = definition;
  const form = {
    ...(Object.fromEntries(seen) as typeof definition),
    name: 'same',
    ...(clock && { clock: withoutAdjustment(clock) }),
    devices: { ...devices, disks: devices.disks.map(frontOf), interfaces: devices.interfaces.map(cardOf) },
  };
  return formatDomain(form, { inactive: true });
}

function withoutAdjustment({
  adjustment: _ahead,
  ...clock
}: NonNullable<DomainDef['clock']>): NonNullable<DomainDef['clock']> {
  return clock;
}

/** A disk with its image, without what lies below it and without limits. */
function frontOf(disk: Disk): Disk {
  const { backingStore: _chain, iotune: _limits, mirror: _mirror, ...rest } = disk;
  const { source } = rest;
  if (source.type === 'vhostuser' || isEmptySource(source)) return rest;
  const { index: _index, ...image } = source;
  return { ...rest, source: image };
}

/** A card without what its network or the host decides. */
function cardOf({ bandwidth: _limits, target: _dev, ...card }: Interface): Interface {
  return card;
}
