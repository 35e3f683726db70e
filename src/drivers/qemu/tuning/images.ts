/** What QEMU tells of each image of a running guest, those below the topmost one and copies in progress included. */
import * as z from 'zod';
import type { ImageCounters } from '../../live-tuning.ts';

/** qapi/block-core.json, BlockDeviceInfo of query-named-block-nodes. */
const node = z.looseObject({
  'node-name': z.string().optional(),
  write_threshold: z.number().optional(),
  image: z.looseObject({ 'virtual-size': z.number(), 'actual-size': z.number().optional() }).optional(),
});
/** qapi/block-core.json, BlockStats of query-blockstats with `query-nodes`. */
const nodeStatistics = z.looseObject({
  'node-name': z.string().optional(),
  stats: z.looseObject({ wr_highest_offset: z.number().optional() }),
});

/** Entries of another shape, and of nodes that are no images of a disk (argv/blockdev.ts), are left out. */
export function readImageCounters(nodes: unknown, statistics: unknown): ImageCounters[] {
  const thresholds = new Map<number, number>();
  const highest = new Map<number, number>();
  for (const one of entriesOf(statistics, nodeStatistics)) {
    const place = placeOf(one['node-name']);
    if (place?.part === 'format') highest.set(place.image, one.stats.wr_highest_offset ?? 0);
  }
  const known = entriesOf(nodes, node).flatMap((one) => {
    const place = placeOf(one['node-name']);
    if (place?.part === 'storage') thresholds.set(place.image, one.write_threshold ?? 0);
    return place?.part === 'format' ? [{ image: place.image, size: one.image }] : [];
  });
  return known.map(({ image, size }) => {
    const threshold = thresholds.get(image) ?? 0;
    return {
      image,
      allocationBytes: highest.get(image) ?? 0,
      ...(size !== undefined && {
        capacityBytes: size['virtual-size'],
        physicalBytes: size['actual-size'] ?? size['virtual-size'],
      }),
      ...(threshold > 0 && { thresholdBytes: threshold }),
    };
  });
}

function placeOf(name: string | undefined): { image: number; part: string } | undefined {
  const [, number, part] = /^libvirt-(\d+)-(format|storage)$/.exec(name ?? '') ?? [];
  return number === undefined || part === undefined ? undefined : { image: Number(number), part };
}

function entriesOf<T>(value: unknown, schema: z.ZodType<T>): T[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((one: unknown) => {
    const { success, data } = schema.safeParse(one);
    return success ? [data] : [];
  });
}
