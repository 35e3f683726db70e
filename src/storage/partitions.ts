/** What sfdisk(8) says of a partition table, as plain data. */
import * as z from 'zod';
import { VirtError } from '../base/errors.ts';

const schema = z.object({
  partitiontable: z.object({
    label: z.string(),
    sectorsize: z.number().optional(),
    firstlba: z.number().optional(),
    lastlba: z.number().optional(),
    partitions: z
      .array(z.object({ node: z.string(), start: z.number(), size: z.number(), type: z.string().optional() }))
      .optional(),
  }),
});

export interface Partition {
  readonly path: string;
  readonly startBytes: number;
  readonly sizeBytes: number;
  readonly type: string | undefined;
}

export interface PartitionTable {
  /** `gpt`, `dos`. */
  readonly label: string;
  readonly partitions: readonly Partition[];
}

/** Reads `sfdisk --json`. @throws VirtError pool.failed */
export function parsePartitions(stdout: string): PartitionTable {
  try {
    const { label, sectorsize = 512, partitions = [] } = schema.parse(JSON.parse(stdout)).partitiontable;
    return {
      label,
      partitions: partitions.map(({ node, start, size, type }) => ({
        path: node,
        startBytes: start * sectorsize,
        sizeBytes: size * sectorsize,
        type,
      })),
    };
  } catch (cause) {
    throw new VirtError('pool.failed', {
      wanted: 'read a partition table',
      reason: 'the report of sfdisk cannot be understood',
      cause,
    });
  }
}

/** The number at the end of a partition's path: the kernel puts a `p` before it when the disk's name ends in a digit. */
export function partitionNumber(path: string): number {
  return Number(/(\d+)$/.exec(path)?.[1] ?? 0);
}

/** The path that the next partition of a disk gets. */
export function nextPartition(disk: string, { partitions }: PartitionTable): string {
  const used = new Set(partitions.map(({ path }) => partitionNumber(path)));
  let number = 1;
  while (used.has(number)) number += 1;
  return `${disk}${/\d$/.test(disk) ? 'p' : ''}${number}`;
}
